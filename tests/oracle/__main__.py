"""The oracle: asks a city and DuckDB the same generated questions, and says where they differ.

It talks with a driver (tests/integration/oracle.rs) in JSON lines: one on stdout says what is to be done, one on stdin
what came of it. The driver knows how to run a city; what is asked, and what is true, is decided here."""

import argparse
import json
import re
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import compare  # noqa: E402
import outside  # noqa: E402
import pinned  # noqa: E402
import sketched  # noqa: E402
from dice import Dice, shrink  # noqa: E402
from grammar import Grammar  # noqa: E402
from made import Made  # noqa: E402
from newyork import NewYork  # noqa: E402
from pair import Pair, Relation  # noqa: E402
from truth import Truth  # noqa: E402

# Questions that a made city is asked at most, and the real one, before the next seed's turn.
MADE_MAX, REAL_MAX = 400, 200
# Of a hundred questions, how many lie outside the rule, and how those may be refused.
OUTSIDE, OUTSIDE_CODE = 6, "ERROR_CODE_QUERY_REFUSED"
# Seconds that releases may take to arrive everywhere.
PATIENCE = 90
# Disagreements after which a world is left.
FAILURES_MAX = 5


def do(order):
    """Has the driver do something."""
    print(json.dumps(order), flush=True)
    line = sys.stdin.readline()
    if not line:
        raise SystemExit("the driver has gone")
    return json.loads(line)


class Trial:
    """One world and what is asked of it."""

    def __init__(self, name, seed, folder):
        self.name, self.seed = name, seed
        folder.mkdir(parents=True)
        self.world = {"made": Made, "newyork": NewYork}[name](Dice(f"{name} {seed}"), folder)
        self.truth = Truth(self.world.clock, folder)
        for product, published, raw in self.world.tables:
            self.truth.load(product, published, raw)
        self.domains = list(self.world.domains())
        self.rows = self.refused = self.claims = 0
        self.asked_us = 0

    def open(self):
        """Founds the city, lets the departments deliver, and waits until every node knows all there is to know."""
        do({"do": "found", "zone": self.world.clock.zone, "domains": self.world.domains()})
        for turn in self.world.turns():
            for step in turn:
                do(step)
        waited = time.monotonic()
        for node in self.domains:
            for product, published, _ in self.world.tables:
                self.settle(node, product, waited + PATIENCE)

    def settle(self, node, product, deadline):
        """Waits until a node counts what is published of a product."""
        measures = [m for m in product.measures if "sum" in m.publish and not m.gauge]
        columns = ["count(*)"] + [f"{function}({m.name})" for m in measures for function in ("count", "sum")]
        select = f"SELECT {', '.join(f'{column} AS c{n}' for n, column in enumerate(columns))} FROM "
        relation = Relation(Pair(select + product.id, f"{select}published.{product.table}"), [])
        while True:
            said = self.disagreement(node, relation, {product.id})
            if said is None:
                return
            if time.monotonic() > deadline:
                raise SystemExit(f"{self.name} {self.seed}: {node} never knew all of {product.id}: {said}")
            time.sleep(0.1)

    def disagreement(self, node, relation, touched, refusal=None):
        """How civicmesh and DuckDB differ over a question; None where they do not, nor where it is refused with the
        code that is allowed."""
        begun = time.monotonic()
        answer = do({"do": "ask", "node": node, "sql": relation.sql.civic})
        self.asked_us += int((time.monotonic() - begun) * 1e6)
        if "refused" in answer:
            self.refused += 1
            suppressed = answer["code"] == "ERROR_CODE_ALL_SUPPRESSED" and any(
                p.threshold and p.id in touched for p in self.world.products
            )
            if suppressed or answer["code"] == refusal:
                return None
            return f"refused: {answer['code']}: {answer['refused']}"
        try:
            _, true = self.truth.ask(relation.sql.duck)
        except Exception as error:
            return f"answered, and DuckDB says {error}" if refusal else f"DuckDB: {error}"
        self.rows += len(true)
        near = {n for n, column in enumerate(relation.columns) if column.near}
        said = compare.differs(answer["kinds"], answer["rows"], true, near, relation.order)
        if said is None and touched:
            said = self.claim(answer, relation, near)
        return said

    def claim(self, answer, relation, near):
        """What is wrong with what the answer says of its own exactness; None where nothing is.

        What is called exact is what every raw row says, those in suppressed cells too. Of an answer that lacks
        something rows may be missing; but in a column that is not marked stands what every raw row says."""
        whole = [column for column, lacks in enumerate(answer["lacks"]) if not lacks]
        if not whole:
            return None
        self.claims += 1
        _, true = self.truth.ask(relation.sql.duck.replace("published.", "raw."))
        if answer["exact"]:
            said = compare.differs(answer["kinds"], answer["rows"], true, near, relation.order)
            return said and f"called exact, but with suppressed rows: {said}"
        columns = [column for column in whole if column not in near]
        # where rows are missing, others come within a LIMIT
        duck = re.sub(r" LIMIT \d+( OFFSET \d+)?$", "", relation.sql.duck.replace("published.", "raw."))
        if " LIMIT " in duck:
            return None
        _, true = self.truth.ask(duck)
        said = compare.strays(answer["kinds"], answer["rows"], true, columns)
        return said and f"columns {columns} are not said to lack anything, but of all raw rows comes no {said}"

    def question(self, dice):
        """A question made of these choices, what it touches, and how it may be refused: not at all within the rule."""
        grammar = Grammar(self.world, dice)
        if dice.chance(OUTSIDE):
            return outside.question(grammar), grammar.touched, OUTSIDE_CODE
        return grammar.question(), grammar.touched, None

    def trial(self, number):
        """Asks the question of this number; a report where there is a disagreement."""
        node = self.domains[number % len(self.domains)]
        dice = Dice(f"{self.name} {self.seed} {number}")
        relation, touched, refusal = self.question(dice)
        said = self.disagreement(node, relation, touched, refusal)
        where = f"world {self.name}, seed {self.seed}, question {number}, asked of {node}"
        if said is None:
            return None
        if said.startswith("DuckDB:"):
            return report(where, said, relation)

        def fails(choices):
            replay = Dice(replay=choices)
            relation, touched, refusal = self.question(replay)
            said = self.disagreement(node, relation, touched, refusal)
            return None if said is None else replay.choices

        relation, touched, refusal = self.question(Dice(replay=shrink(dice.choices, fails)))
        return report(where, self.disagreement(node, relation, touched, refusal), relation)

    def sketched(self):
        """Asks what sketches answer, of every node in turn."""
        reports = []
        questions = sketched.of(self.world, Dice(f"sketched {self.name} {self.seed}"))
        for number, (product, sql, count, check) in enumerate(questions):
            node = self.domains[number % len(self.domains)]
            answer = do({"do": "ask", "node": node, "sql": sql.civic})
            if "refused" in answer:
                suppressed = product.threshold and answer["code"] == "ERROR_CODE_ALL_SUPPRESSED"
                said = None if suppressed else f"refused: {answer['code']}: {answer['refused']}"
            else:
                _, true = self.truth.ask(sql.duck)
                self.rows += len(true)
                said = sketched.disagreement(answer, true, count, check)
            if said:
                where = f"world {self.name}, seed {self.seed}, sketched {number}, asked of {node}"
                reports.append(report(where, said, Relation(sql, [])))
        return reports

    def pinned(self):
        """Asks what was once answered wrongly."""
        reports = []
        for name, order, refusal, civic, duck in pinned.of(self.world):
            relation = Relation(Pair(civic, duck), [], order)
            touched = {p.id for p in self.world.products if p.id in civic}
            said = self.disagreement(self.domains[0], relation, touched, refusal)
            if said:
                reports.append(report(f"world {self.name}, seed {self.seed}, pinned: {name}", said, relation))
        return reports


def report(where, said, relation):
    return f"{where}\n  {said}\n  civicmesh: {relation.sql.civic}\n  DuckDB:    {relation.sql.duck}"


def run(questions, seed, folder):
    """Asks so many questions of as many worlds as they need; gives the reports and the figures."""
    reports, figures, plan = [], [], []
    while questions > 0:
        # one question in three is about the real city
        for name, count in (
            ("made", min(MADE_MAX, -(-questions * 2 // 3))),
            ("newyork", min(REAL_MAX, questions // 3)),
        ):
            plan += [(name, seed, count)] if count else []
            questions -= count
        seed += 1
    for name, seed, count in plan:
        trial = Trial(name, seed, folder / f"{name}-{seed}")
        begun = time.monotonic()
        trial.open()
        opened = time.monotonic()
        reports += trial.pinned() + trial.sketched()
        found = 0
        for number in range(count):
            said = trial.trial(number)
            if said:
                reports.append(said)
                print(said, file=sys.stderr, flush=True)
                found += 1
            if found == FAILURES_MAX:
                break
        figures.append(
            f"{name} {seed} in {trial.world.clock.zone}: {count} questions, {trial.rows} rows compared, {trial.refused} refused,"
            f" {trial.claims} said to lack nothing and found so; opened in {opened - begun:.1f} s, asked in"
            f" {time.monotonic() - opened:.1f} s, of it civicmesh {trial.asked_us / 1e6:.1f} s"
        )
        print(figures[-1], file=sys.stderr, flush=True)
        do({"do": "close"})
    return reports, figures


if __name__ == "__main__":
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--questions", type=int, required=True)
    arguments.add_argument("--seed", type=int, required=True)
    arguments.add_argument("--folder", type=Path, required=True)
    arguments = arguments.parse_args()
    reports, figures = run(arguments.questions, arguments.seed, arguments.folder)
    print(json.dumps({"do": "end", "reports": reports, "figures": figures}), flush=True)
