"""Questions outside the rule: each must be refused, or answered as the raw rows answer it."""

import civil
from pair import Pair, Relation, quoted, same


def question(grammar):
    """A question that cells cannot answer, or not always; its columns are not known beforehand."""
    dice = grammar.dice
    product = dice.pick(grammar.products)
    grammar.touched.add(product.id)
    table = Pair(product.id, f"published.{product.table}")
    measure = dice.pick(product.measures)
    name = measure.name
    units = civil.HOLDS[product.grain]
    day = grammar.some_day(product)
    inside = grammar.clock.day(day) + 7 * civil.HOUR + 11 * 60 * civil.SECOND
    instant = Pair(f"'{civil.utc(inside)}'", f"TIMESTAMPTZ '{civil.utc(inside)}'")
    midnight = Pair(f"'{day}'", f"TIMESTAMPTZ '{civil.utc(grammar.clock.day(day))}'")
    ways = [
        same(f"SELECT count(*) AS a FROM {{t}} WHERE {name} > {dice.roll(100)}"),
        same(f"SELECT count(*) FILTER (WHERE {name} IS NULL) AS a FROM {{t}}"),
        same(f"SELECT sum({name} * 2) AS a FROM {{t}}"),
        same(f"SELECT count(DISTINCT {name}) AS a FROM {{t}}"),
        # where a sketch answers it, it need not be exact (see sketched)
        *([] if "quantiles" in measure.publish else [same(f"SELECT median({name}) AS a FROM {{t}}")]),
        same(f"SELECT {name} AS a, count(*) AS b FROM {{t}} GROUP BY 1"),
        same(f"SELECT {name} AS a FROM {{t}} ORDER BY 1 LIMIT 3"),
        same(f"SELECT max({name} - 1) AS a FROM {{t}}"),
        same(f"SELECT sum(CASE WHEN {name} > 0 THEN 1 ELSE 0 END) AS a FROM {{t}}"),
        same("SELECT count(*) AS a FROM {t} WHERE time >= ") + instant,
        same("SELECT count(*) AS a FROM {t} WHERE time < ") + instant,
        same("SELECT count(*) AS a FROM {t} WHERE time <= ") + midnight,
        same("SELECT count(*) AS a FROM {t} WHERE time > ") + midnight,
        same("SELECT count(*) AS a FROM {t} WHERE time = ") + midnight,
        same("SELECT count(*) AS a FROM {t} WHERE time BETWEEN ") + midnight + same(" AND ") + instant,
        same("SELECT max(time) AS a FROM {t}"),
        same("SELECT time AS a, count(*) AS b FROM {t} GROUP BY 1"),
        same("SELECT count(DISTINCT time) AS a FROM {t}"),
        Pair(
            "SELECT date_trunc('minute', time) AS a, count(*) AS b FROM {t} GROUP BY 1",
            "SELECT date_trunc('minute', time) AS a, count(*) AS b FROM {t} GROUP BY 1",
        ),
        Pair(
            "SELECT extract(minute FROM time) AS a, count(*) AS b FROM {t} GROUP BY 1",
            "SELECT extract(minute FROM local) AS a, count(*) AS b FROM {t} GROUP BY 1",
        ),
        same(f"SELECT sum(n) AS a FROM (SELECT {name} AS n FROM {{t}} LIMIT 10) AS x"),
        same(f"SELECT count(*) AS a FROM (SELECT {name} FROM {{t}} UNION ALL SELECT {name} FROM {{t}}) AS x"),
        same("SELECT count(*) AS a FROM {t} AS x JOIN {t} AS y ON x.time = y.time"),
        same(f"SELECT sum({name}) OVER () AS a FROM {{t}} LIMIT 1"),
    ]
    if "hour" not in units:
        ways.append(
            Pair(
                "SELECT extract(hour FROM time) AS a, count(*) AS b FROM {t} GROUP BY 1",
                "SELECT extract(hour FROM local) AS a, count(*) AS b FROM {t} GROUP BY 1",
            )
        )
    if "day" not in units:
        ways.append(
            Pair(
                "SELECT CAST(time AS DATE) AS a, count(*) AS b FROM {t} GROUP BY 1",
                "SELECT CAST(local AS DATE) AS a, count(*) AS b FROM {t} GROUP BY 1",
            )
        )
    if measure.gauge:
        ways.append(same(f"SELECT sum({name}) AS a FROM {{t}}"))
    for statistic, function in (("min", "min"), ("max", "max"), ("sum_squares", "stddev"), ("sum_squares", "var_pop")):
        if statistic not in measure.publish:
            ways.append(same(f"SELECT {function}({name}) AS a FROM {{t}}"))
    if product.dimensions:
        dimension = dice.pick(list(product.dimensions))
        ways += [
            same(f"SELECT {dimension} AS a FROM {{t}}"),
            same(f"SELECT string_agg({dimension}, ',') AS a FROM {{t}}"),
            same(f"SELECT DISTINCT {dimension} AS a, {name} AS b FROM {{t}}"),
            same(f"SELECT first_value({dimension}) AS a FROM {{t}}"),
            same(f"SELECT count(*) AS a FROM {{t}} WHERE {dimension} = {quoted('north')} AND {name} < 3"),
        ]
    text = dice.pick(ways)
    return Relation(Pair(text.civic.replace("{t}", table.civic), text.duck.replace("{t}", table.duck)), [])
