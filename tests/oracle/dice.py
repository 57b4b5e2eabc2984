"""A seeded source of choices that remembers them: a question is its choices, and fewer or smaller ones make a smaller
question. The first of what is chosen among is always the simplest."""

import random


class Dice:
    def __init__(self, seed=None, replay=None):
        self.random = random.Random(seed)
        self.replay = replay
        self.choices = []

    def roll(self, sides):
        """A number below `sides`. A replay goes on with zeros where it ends."""
        if sides <= 1:
            return 0
        if self.replay is None:
            choice = self.random.randrange(sides)
        else:
            at = len(self.choices)
            choice = min(self.replay[at], sides - 1) if at < len(self.replay) else 0
        self.choices.append(choice)
        return choice

    def pick(self, among):
        return among[self.roll(len(among))]

    def chance(self, percent):
        """True in so many of a hundred cases; a zero is never one of them."""
        return self.roll(100) >= 100 - percent

    def some(self, among, least, most):
        """Some of them, each once, in their order."""
        count = min(least + self.roll(most - least + 1), len(among))
        rest, found = list(range(len(among))), []
        for _ in range(count):
            found.append(rest.pop(self.roll(len(rest))))
        return [among[at] for at in sorted(found)]

    def shuffle(self, items):
        self.random.shuffle(items)


def shrink(choices, fails, tries_max=600):
    """The smallest choices found that still fail: chunks left out, then zeros, then smaller numbers."""
    best, tries = list(choices), 0

    def attempt(candidate):
        nonlocal best, tries
        if tries >= tries_max or candidate == best:
            return False
        tries += 1
        used = fails(candidate)
        if used is None or (len(used), used) >= (len(best), best):
            return False
        best = used
        return True

    better = True
    while better and tries < tries_max:
        better = False
        for size in (16, 8, 4, 2, 1):
            at = 0
            while at < len(best) and tries < tries_max:
                if attempt(best[:at] + best[at + size :]) or attempt(best[:at] + [0] * size + best[at + size :]):
                    better = True
                else:
                    at += 1 if size < 4 else size // 2
        for at in range(len(best)):
            if at >= len(best) or best[at] == 0:
                continue
            smaller = [best[at] // 2, best[at] - 1]
            if attempt(best[:at] + [0] + best[at + 1 :]):
                better = True
                continue
            for value in smaller:
                if at < len(best) and attempt(best[:at] + [value] + best[at + 1 :]):
                    better = True
    return best
