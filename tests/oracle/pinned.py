"""Questions that were once answered wrongly, or refused without need: asked again in every run over made departments.

Each is written in civicmesh's dialect; where DuckDB's differs, `{civicmesh|DuckDB}` holds both. `{domain.product}` is a
product's rows. The numbers say which columns the rows are ordered by, the code how it may be refused."""

import re

QUESTIONS = [
    (
        "IS DISTINCT FROM binds tighter than AND",
        [],
        "ERROR_CODE_SQL",
        "SELECT count(*) AS a FROM {traffic.flows} WHERE district IS DISTINCT FROM 'north' AND kind = 'bus'",
    ),
    (
        "IS NOT DISTINCT FROM of conditions binds tighter than AND and OR",
        [],
        "ERROR_CODE_SQL",
        "SELECT count(*) AS a FROM {traffic.flows} WHERE (district = 'north') IS DISTINCT FROM true AND kind = 'bus'"
        " OR (kind = 'car') IS NOT DISTINCT FROM false AND district = 'north'",
    ),
    (
        "ranks are whole numbers with a sign",
        [0],
        None,
        "SELECT r - 1 - 2 * r AS a, {r / 2|r // 2} AS b, -d AS c, n - 3 AS d FROM (SELECT row_number() OVER (ORDER BY k) AS r,"
        " dense_rank() OVER (ORDER BY k) AS d, ntile(3) OVER (ORDER BY k) AS n"
        " FROM (SELECT district AS k, count(*) AS n FROM {traffic.flows} GROUP BY 1) AS x) AS y ORDER BY 1 DESC",
    ),
    (
        "a subquery without a row is null",
        [],
        None,
        "SELECT (SELECT count(*) AS n FROM {traffic.flows} HAVING count(*) > 1000000000) AS a",
    ),
    (
        "a day leaves its hours in order",
        [0],
        None,
        "SELECT {date_trunc('hour', time)|t_hour} AS h, count(*) AS n FROM {traffic.flows}"
        " WHERE CAST({time|local} AS DATE) = {day} GROUP BY 1 ORDER BY h DESC LIMIT 3",
    ),
    (
        "a whole quotient names no number",
        [0],
        None,
        "SELECT n FROM (SELECT district AS k, count(*) AS n FROM {traffic.flows} GROUP BY 1) AS x"
        " WHERE {n / 1000|n // 1000} = 0 ORDER BY n DESC LIMIT 5",
    ),
    (
        "a cast that rounds names no number",
        [0],
        None,
        "SELECT s FROM (SELECT district AS k, kind AS l, sum(speed) AS s FROM {traffic.flows} GROUP BY 1, 2) AS x"
        " WHERE {CAST(s AS BIGINT) / 100000|CAST(s AS BIGINT) // 100000} = 0 ORDER BY s DESC LIMIT 5",
    ),
    (
        "a filter made of a join stays with its own side",
        [],
        None,
        "SELECT aq.k AS ak, bq.k AS bk, a, b, c"
        " FROM (SELECT district AS k, count(*) AS a FROM {traffic.flows} GROUP BY 1) AS aq"
        " LEFT JOIN (SELECT district AS k, count(*) AS b FROM {air.noise} WHERE district <> 'north' GROUP BY 1) AS bq ON aq.k = bq.k"
        " JOIN (SELECT district AS k, count(*) AS c FROM {water.usage} GROUP BY 1) AS cq ON aq.k = cq.k ORDER BY b",
    ),
    (
        "zeros of both signs are one group",
        [],
        None,
        "SELECT count(*) AS a FROM (SELECT round((extract(dow FROM {time|local}) - 3) / 10.0) AS z, count(*) AS n"
        " FROM {traffic.flows} GROUP BY 1) AS x",
    ),
    (
        "of a window without a row that is asked for no function is computed",
        [],
        None,
        "SELECT {60 / extract(hour FROM time)|60 // extract(hour FROM local)} AS a, count(*) AS n FROM {traffic.flows}"
        " WHERE district = 'nowhere' GROUP BY 1",
    ),
]


def of(world):
    """The name, the columns in order, the lawful refusal, civicmesh's question and DuckDB's, of each that is about products of this world."""
    tables = {product.id: product for product in world.products}
    for name, order, refusal, text in QUESTIONS:
        needs = set(re.findall(r"\{(\w+\.\w+)\}", text))
        if not needs <= tables.keys():
            continue
        text = text.replace("{day}", f"DATE '{world.busy[0]}'")

        def written(side):
            def part(found):
                product = tables.get(found[1])
                if product:
                    return (product.id, f"published.{product.table}")[side]
                return found[1].split("|")[side]

            return re.sub(r"\{([^{}]*)\}", part, text)

        yield name, order, refusal, written(0), written(1)
