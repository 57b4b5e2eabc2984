"""Questions answered from sketches: within their bound of what all published raw rows say, and exact over few values."""

from bisect import bisect_left, bisect_right
from math import isclose

import compare
from pair import Pair, form, joined, quoted, same

# Questions a world.
COUNT = 16
# Up to so many values a sketch of quantiles keeps all, and beyond them it is off by so much of the rank: three times
# what 99 of 100 keep to.
EXACT_MAX, RANK_OFF = 200, 3 * 0.0133
# Of a count of distinct values, how many times the bound that 95 of 100 keep to.
BOUNDS = 3


def keys(dice, product):
    """Some keys to group by, in both dialects."""
    ways = [same(name) for name in product.dimensions] + [Pair("CAST(time AS DATE)", "CAST(local AS DATE)")]
    return dice.some(ways, 0, 2)


def where(dice, product):
    name = dice.pick(list(product.dimensions))
    value = quoted(dice.pick(product.dimensions[name]))
    return f" WHERE {name} {dice.pick(['=', '<>'])} {value}" if dice.chance(40) else ""


def written(dice, product, civic, duck):
    """A question of keys and aggregates in both dialects, and how many keys it has."""
    chosen = keys(dice, product)
    items = joined(", ", [form("{k} AS k{n}", k=key, n=str(n)) for n, key in enumerate(chosen)] + [Pair(civic, duck)])
    table = Pair(product.id, f"published.{product.table}")
    group = f" GROUP BY {', '.join(str(n + 1) for n in range(len(chosen)))}" if chosen else ""
    return form("SELECT {i} FROM {t}{w}{g}", i=items, t=table, w=where(dice, product), g=group), len(chosen)


def rows(answer, true, count):
    """Each row's values beside those in truth, or what is wrong with the groups."""
    kinds = answer["kinds"]
    mine = [[compare.civic_value(kind, text) for kind, text in zip(kinds, row)] for row in answer["rows"]]
    key = lambda row: tuple(compare.rank(value) for value in row[:count])
    found = {key(row): row[count:] for row in mine}
    known = {key([compare.duck_value(value) for value in row[:count]]): row[count:] for row in true}
    if found.keys() != known.keys() or len(found) != len(mine):
        return None, f"{len(mine)} groups, and {len(known)} in truth"
    return [(found[group], known[group]) for group in known], None


def quantiles(values, true, rank, decimals):
    """What is wrong with a median, a quantile, its bound and a count of these sorted scaled values."""
    middle, quantile, bound, count = values
    true = true or []
    if count != len(true):
        return f"{count} values, and {len(true)} in truth"
    if not true:
        return None if middle is quantile is bound is None else "a quantile of no values"
    off = 0 if len(true) <= EXACT_MAX else RANK_OFF

    def far(value, rank, off):
        scaled = round(float(value) * 10**decimals)
        low, high = bisect_left(true, scaled) / len(true), bisect_right(true, scaled) / len(true)
        return not low - off <= rank <= high + off

    if far(quantile, rank, off):
        return f"{quantile} has not rank {rank} of {len(true)} values"
    if off:
        return f"the median {middle}" if far(middle, 0.5, off + 1 / len(true)) else None if bound >= 0 else "its bound"
    low, high = true[(len(true) - 1) // 2], true[len(true) // 2]
    exact = int((low + high) / 2) / 10**decimals
    if bound != 0 or not isclose(float(middle), exact, abs_tol=10**-decimals / 4):
        return f"a median of {middle} ± {bound}, and {exact} in truth"
    return None


def distinct(values, true):
    """What is wrong with a count of distinct values and its bound."""
    count, bound = values
    far = abs(float(count) - true[0]) > BOUNDS * bound + 0.5
    return f"{count} ± {bound} distinct values, and {true[0]} in truth" if far else None


def of(world, dice):
    """Questions in both dialects, how many keys each has, and what says whether a group's values are right."""
    sketched = [(p, m) for p in world.products for m in p.measures if "quantiles" in m.publish]
    counted = [(p, name) for p in world.products for name in p.distinct]
    for _ in range(COUNT if sketched and counted else 0):
        if dice.chance(60):
            product, measure = dice.pick(sketched)
            name, rank = measure.name, dice.roll(101) / 100
            quantile = dice.pick(
                [f"approx_percentile_cont({name}, {rank})", f"percentile_cont({rank}) WITHIN GROUP (ORDER BY {name})"]
            )
            civic = f"median({name}) AS m, {quantile} AS q, error_bound({quantile}) AS e, count({name}) AS n"
            duck = f"list({name}_i ORDER BY {name}_i) FILTER (WHERE {name}_i IS NOT NULL) AS v"
            check = lambda mine, true, rank=rank, measure=measure: quantiles(mine, true[0], rank, measure.decimals)
        else:
            product, name = dice.pick(counted)
            civic = f"approx_distinct({name}) AS c, error_bound(approx_distinct({name})) AS e"
            duck = f"count(DISTINCT {name}) AS c"
            check = distinct
        sql, count = written(dice, product, civic, duck)
        yield product, sql, count, check


def disagreement(answer, true, count, check):
    """What is wrong with an answer; None where nothing is."""
    pairs, said = rows(answer, true, count)
    return said or next(filter(None, (check(mine, known) for mine, known in pairs)), None)
