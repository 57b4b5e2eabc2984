"""Rows of one product and what is asked of them: keys, conditions, aggregates, within the rule that civicmesh answers by."""

from dataclasses import replace
from datetime import timedelta

import civil
from pair import Column, Pair, Relation, Source, form, joined, quoted, same


class Rows:
    """Choices about one product at a time."""

    def __init__(self, world, dice):
        self.world, self.dice, self.clock = world, dice, world.clock
        self.products = world.products
        self.touched = set()
        self.next = 0

    # --- rows ---------------------------------------------------------------------------------------------------

    def source(self, product=None):
        dice = self.dice
        product = product or dice.pick(self.products)
        self.touched.add(product.id)
        table = Pair(product.id, f"published.{product.table}")
        names = {name: name for name in product.dimensions} | {m.name: m.name for m in product.measures}
        plain = Source(product, table, "time", names)
        way = dice.roll(12)
        if way <= 5:
            return plain
        if way == 6:
            return replace(plain, sql=table + same(" AS r"))
        if way == 7:
            return replace(plain, sql=form("(SELECT * FROM {t}{w}) AS r", t=table, w=self.where(plain)))
        if way == 8:
            return self.renamed(plain, table)
        if way == 9 and product.dimensions:
            return self.with_values(plain, table)
        if way == 10 and product.dimensions:
            return self.with_other(plain, table)
        if way == 11 and product.dimensions:
            return self.with_aggregate(plain, table)
        return plain

    def renamed(self, plain, table):
        """A subquery that gives new names, and a key or two that it makes."""
        product = plain.product
        made = [(key, kind, says) for key, kind, says in self.dice.some(self.keys(plain), 0, 2)]
        names = {name: f"{name}_r" for name in plain.names}
        columns = [same(f"{name} AS {new}") for name, new in names.items()]
        columns += [form("{k} AS made{n}", k=key, n=str(n)) for n, (key, _, _) in enumerate(made)]
        columns.append(same("time AS moment"))
        scaled = [Pair("", f", {m.name}_i AS {m.name}_r_i") for m in product.measures]
        rest = Pair("", ", local") + joined("", [Pair("", f", t_{unit}") for unit in civil.HOLDS[product.grain]])
        sql = form(
            "(SELECT {c}{s}{r} FROM {t}{w}) AS r",
            c=joined(", ", columns),
            s=joined("", scaled),
            r=rest,
            t=table,
            w=self.where(plain),
        )
        keys = [(same(f"made{n}"), kind, says) for n, (_, kind, says) in enumerate(made)]
        return Source(product, sql, "moment", names, keys)

    def with_values(self, plain, table):
        """Rows joined with a list of values, one of which is matched twice, one by nothing."""
        product, dice = plain.product, self.dice
        dimension = dice.pick(list(product.dimensions))
        values = product.dimensions[dimension]
        listed = [values[0], values[min(1, len(values) - 1)], values[0], "nowhere"]
        rows = ", ".join(f"({quoted(value)}, {n % 3}, {quoted('z' + str(n // 2))})" for n, value in enumerate(listed))
        how = dice.pick(["JOIN", "LEFT JOIN"])
        sql = form(
            "{t} AS r {how} (VALUES {rows}) AS v(code, n, zone) ON v.code = r.{d}",
            t=table,
            how=how,
            rows=rows,
            d=dimension,
        )
        return replace(plain, sql=sql, keys=[(same("n"), "int", ""), (same("zone"), "text", "")])

    def with_other(self, plain, table):
        """Rows whose dimension is among those of another question, or is not."""
        product, dice = plain.product, self.dice
        dimension = dice.pick(list(product.dimensions))
        others = [other for other in self.products if dimension in other.dimensions]
        other = dice.pick(others)
        self.touched.add(other.id)
        negated = "NOT " if dice.chance(40) else ""
        of = Source(
            other, Pair(other.id, f"published.{other.table}"), "time", {name: name for name in other.dimensions}
        )
        inner = form(
            "SELECT {d} FROM {o}{w} GROUP BY {d} HAVING count(*) > {n}",
            d=dimension,
            o=of.sql,
            w=self.where(of),
            n=str(dice.roll(100)),
        )
        sql = form("(SELECT * FROM {t} WHERE {d} {not_}IN ({i})) AS r", t=table, d=dimension, not_=negated, i=inner)
        return replace(plain, sql=sql)

    def with_aggregate(self, plain, table):
        """Rows joined with what another product says of their dimension."""
        product, dice = plain.product, self.dice
        dimension = dice.pick(list(product.dimensions))
        other = dice.pick([other for other in self.products if dimension in other.dimensions])
        self.touched.add(other.id)
        of = Source(
            other, Pair(other.id, f"published.{other.table}"), "time", {name: name for name in other.dimensions}
        )
        inner = form(
            "SELECT {d} AS code, count(*) % 5 AS n, min({d}) AS zone FROM {o}{w} GROUP BY {d}",
            d=dimension,
            o=of.sql,
            w=self.where(of),
        )
        how = dice.pick(["JOIN", "LEFT JOIN"])
        sql = form("{t} AS r {how} ({i}) AS v ON v.code = r.{d}", t=table, how=how, i=inner, d=dimension)
        return replace(plain, sql=sql, keys=[(same("n"), "int", ""), (same("zone"), "text", "")])

    # --- keys and conditions ------------------------------------------------------------------------------------

    def keys(self, source):
        """Expressions that rows may be grouped by: the expression, its kind, what it says."""
        product, time = source.product, source.time
        found = []
        for dimension in product.dimensions:
            name = source.names[dimension]
            found.append((same(name), "text", dimension))
        units = civil.HOLDS[product.grain]
        for unit in reversed(units):
            found.append((Pair(f"date_trunc('{unit}', {time})", f"t_{unit}"), "time", unit))
        if "day" in units:
            found.append((Pair(f"CAST({time} AS DATE)", "CAST(local AS DATE)"), "date", "date"))
            found.append((Pair(f"{time}::date", "local::date"), "date", "date"))
        for unit in units:
            for part in civil.FIELDS[unit]:
                call = Pair(f"extract({part} FROM {time})", f"extract({part} FROM local)")
                found.append((call, "int", part))
                found.append((Pair(f"date_part('{part}', {time})", f"date_part('{part}', local)"), "int", part))
        for minutes in civil.BINS.get(product.grain, []):
            if minutes < 60 or self.clock.zone != "Asia/Kathmandu":
                width = minutes * 60 * civil.SECOND
                bins = f"make_timestamptz(epoch_us(time_) - epoch_us(time_) % {width})".replace("time_", time)
                found.append((Pair(f"date_bin(INTERVAL '{minutes} minutes', {time})", bins), "time", f"bin{minutes}"))
        for dimension in product.dimensions:
            name, values = source.names[dimension], product.dimensions[dimension]
            a, b = quoted(values[0]), quoted(values[min(2, len(values) - 1)])
            found += [
                (same(text), kind, "")
                for text, kind in [
                    (f"upper({name})", "text"),
                    (f"CASE WHEN {name} = {a} THEN 'first' WHEN {name} IN ({b}) THEN NULL ELSE {name} END", "text"),
                    (f"CASE {name} WHEN {a} THEN 1 WHEN {b} THEN 2 ELSE 3 END", "int"),
                    (f"nullif({name}, {a})", "text"),
                    (f"coalesce(nullif({name}, {b}), 'none')", "text"),
                    (f"substr({name}, 1, 1)", "text"),
                    (f"{name} < {b}", "bool"),
                    (f"char_length({name})", "int"),
                    (f"{name} || '/' || {name}", "text"),
                ]
            ]
        return found + source.keys

    def edge(self, product):
        """A window's edge, as civicmesh may be told it and as DuckDB is."""
        dice = self.dice
        span = (product.end - product.start).days
        day = product.start + timedelta(days=dice.roll(span + 1))
        at = self.clock.edge(product.grain, day, dice.roll(20) if dice.chance(30) else 0)
        duck = f"TIMESTAMPTZ '{civil.utc(at)}'"
        local = self.clock.local(at)
        midnight, once = self.clock.day(local.date()) == at, self.clock.says_once(at)
        ways = [f"'{civil.utc(at)}'", f"TIMESTAMPTZ '{civil.utc(at)}'"]
        if once:
            ways += [
                f"'{local:%Y-%m-%d %H:%M:%S}'",
                f"TIMESTAMP '{local:%Y-%m-%d %H:%M:%S}'",
                f"'{local:%Y-%m-%d %H:%M}'",
            ]
        if midnight:
            ways = [f"'{local:%Y-%m-%d}'", f"DATE '{local:%Y-%m-%d}'"] + ways
        return Pair(dice.pick(ways), duck)

    def condition(self, source, depth=0):
        """A condition that is the same for every row of a cell."""
        dice, product, time = self.dice, source.product, source.time
        units = civil.HOLDS[product.grain]
        simple = [
            lambda: form("{t} >= {e}", t=time, e=self.edge(product)),
            lambda: form("{t} < {e}", t=time, e=self.edge(product)),
            lambda: form("{t} >= {a} AND {t} < {b}", t=time, a=self.edge(product), b=self.edge(product)),
            lambda: form("{e} <= {t}", t=time, e=self.edge(product)),
            lambda: (
                Pair(f"date_trunc('{units[-1]}', {time}) >= ", f"t_{units[-1]} >= ") + self.date_of(product, units[-1])
            ),
            lambda: (
                Pair(f"date_trunc('{units[0]}', {time}) <> ", f"t_{units[0]} <> ") + self.date_of(product, units[0])
            ),
        ]
        if "day" in units:
            simple += [
                lambda: Pair(f"extract(dow FROM {time})", "extract(dow FROM local)") + same(" IN (0, 6, 3)"),
                lambda: (
                    Pair(f"CAST({time} AS DATE)", "CAST(local AS DATE)")
                    + same(f" {dice.pick(['>=', '<', '=', '<>'])} DATE '{self.some_day(product)}'")
                ),
            ]
        if "month" in units:
            simple.append(lambda: Pair(f"extract(month FROM {time})", "extract(month FROM local)") + same(" % 2 = 0"))
        if product.dimensions:
            dimension = lambda: dice.pick(list(product.dimensions))
            value = lambda name: quoted(dice.pick(product.dimensions[name]))

            def of_dimension():
                name = dimension()
                called = source.names[name]
                return same(
                    dice.pick(
                        [
                            f"{called} = {value(name)}",
                            f"{called} <> {value(name)}",
                            f"{called} IN ({value(name)}, {value(name)}, 'nowhere')",
                            f"{called} NOT IN ({value(name)})",
                            f"{called} LIKE {dice.pick([quoted('n%'), quoted('%o%'), quoted('_'), quoted('%')])}",
                            f"{called} >= {value(name)}",
                            f"{called} BETWEEN {value(name)} AND {value(name)}",
                            f"{called} IS NOT NULL",
                            f"lower({called}) = {value(name)}",
                            f"CASE WHEN {called} = {value(name)} THEN NULL ELSE true END",
                            f"({called} IS DISTINCT FROM {value(name)})",
                        ]
                    )
                )

            simple = [of_dimension] * 6 + simple
        if depth < 2 and dice.chance(20):
            left, right = self.condition(source, depth + 1), self.condition(source, depth + 1)
            return form(
                dice.pick(["({l} AND {r})", "({l} OR {r})", "NOT ({l})", "(NOT ({l}) OR {r})", "({l}) IS NOT TRUE"]),
                l=left,
                r=right,
            )
        return dice.pick(simple)()

    def some_day(self, product):
        return product.start + timedelta(days=self.dice.roll((product.end - product.start).days))

    def date_of(self, product, unit):
        """The start of a unit, told as a date."""
        start = self.clock.trunc(unit, self.clock.day(self.some_day(product)))
        local = self.clock.local(start)
        ways = [f"'{local:%Y-%m-%d}'", f"DATE '{local:%Y-%m-%d}'"]
        if local.hour:  # the Azores have a day without a midnight
            ways = [f"'{civil.utc(start)}'"]
        return Pair(self.dice.pick(ways), f"TIMESTAMPTZ '{civil.utc(start)}'")

    def where(self, source, more=()):
        found = list(more) + [self.condition(source) for _ in range(self.dice.pick([0, 0, 1, 1, 2]))]
        return same(" WHERE ") + joined(" AND ", found) if found else same("")

    # --- aggregates ---------------------------------------------------------------------------------------------

    def whole(self, source):
        """A whole number, or none, that a cell shares."""
        product = source.product
        listed = [key for key, kind, _ in source.keys if key.civic == "n"]
        if listed and self.dice.chance(50):
            return listed[0]
        if not product.dimensions:
            return same("3")
        name = self.dice.pick(list(product.dimensions))
        values, called = product.dimensions[name], source.names[name]
        a, b = quoted(values[0]), quoted(values[min(1, len(values) - 1)])
        return same(
            self.dice.pick(
                [
                    f"CASE WHEN {called} = {a} THEN 1 ELSE 0 END",
                    f"CASE WHEN {called} = {a} THEN 3 WHEN {called} = {b} THEN NULL ELSE -1 END",
                    f"CASE {called} WHEN {b} THEN 1000000 END",
                ]
            )
        )

    def aggregate(self, source, kinds=None):
        """One aggregate: its text, its kind."""
        dice, product = self.dice, source.product
        filtered = form(" FILTER (WHERE {c})", c=self.condition(source)) if dice.chance(25) else same("")
        measure = dice.pick(product.measures)
        name, d, publish = source.names[measure.name], str(measure.decimals), measure.publish
        scaled = f"{name}_i"
        plain = lambda text, kind: (same(text) + filtered, kind)

        def summed(of, scale):
            """DuckDB's sums of which a mean or a deviation is made: of squares, of values, their count and decimals."""
            total = f"CAST(sum({of}){filtered.duck} AS HUGEINT)"
            squares = f"CAST(sum(CAST({of} AS HUGEINT) * {of}){filtered.duck} AS HUGEINT)"
            return total, squares, f"count({of}){filtered.duck}, {scale}"

        def mean(civic, of, scale):
            total, _, rest = summed(of, scale)
            return Pair(civic + filtered.civic, f"exact_mean({total}, {rest})"), "double"

        def spread(civic, function, of, sample, scale):
            return Pair(civic + filtered.civic, f"{function}({', '.join(summed(of, scale))}, {sample})"), "double"

        ways = [lambda: plain("count(*)", "int"), lambda: plain(f"count({name})", "int")]
        if "sum" in publish and not measure.gauge:
            ways += [lambda: plain(f"sum({name})", "dec")] * 3
        ways += [lambda: plain("sum(1)", "int"), lambda: plain("count(1)", "int")]
        if "min" in publish:
            ways += [lambda: plain(f"min({name})", "dec"), lambda: plain(f"max({name})", "dec")]
            ways += [lambda: plain(f"min(DISTINCT {name})", "dec")]
        if "sum" in publish:
            ways += [lambda: mean(f"avg({name})", scaled, d)] * 2 + [lambda: mean(f"mean({name})", scaled, d)]
        if "sum_squares" in publish:
            ways += [lambda: self.deviation(spread, name, scaled, d)] * 2
        if product.dimensions:
            dimension = source.names[dice.pick(list(product.dimensions))]
            ways += [
                lambda: plain(f"count(DISTINCT {dimension})", "int"),
                lambda: plain(f"max({dimension})", "text"),
                lambda: plain(f"min({dimension})", "text"),
                lambda: plain(f"count({dimension})", "int"),
                lambda: plain(
                    f"count(nullif({dimension}, {quoted(next(iter(product.dimensions.values()))[0])}))", "int"
                ),
                lambda: plain(f"bool_or({dimension} LIKE 'n%')", "bool"),
                lambda: plain(f"bool_and({dimension} <> 'north')", "bool"),
            ]
        ways += [lambda: self.of_whole(source, plain, mean, spread)] * 2
        unit = civil.HOLDS[product.grain][0]
        for function in ("count(DISTINCT {})", "min({})", "max({})"):
            kind = "int" if "count" in function else "time"
            text = Pair(function.format(f"date_trunc('{unit}', {source.time})"), function.format(f"t_{unit}"))
            ways.append(lambda text=text, kind=kind: (text + filtered, kind))
        if kinds:
            ways = [lambda: plain("count(*)", "int"), lambda: plain(f"count({name})", "int")]
        return dice.pick(ways)()

    def deviation(self, spread, name, of, scale):
        call, function, sample = self.dice.pick(
            [
                ("stddev", "exact_deviation", "1"),
                ("stddev_samp", "exact_deviation", "1"),
                ("stddev_pop", "exact_deviation", "0"),
                ("var", "exact_variance", "1"),
                ("var_samp", "exact_variance", "1"),
                ("var_pop", "exact_variance", "0"),
            ]
        )
        return spread(f"{call}({name})", function, of, sample, scale)

    def of_whole(self, source, plain, mean, spread):
        whole = self.whole(source).civic
        way = self.dice.roll(6)
        if way <= 2:
            return plain(f"{['sum', 'count', 'max'][way]}({whole})", "int")
        if way <= 4:
            return mean(f"avg({whole})", whole, "0")
        return self.deviation(spread, whole, whole, "0")

    # --- blocks: one product, aggregated ------------------------------------------------------------------------

    def block(self, product=None, keys=None, prefix="a", kinds=None, least=1, sets=True):
        """SELECT keys, aggregates FROM rows WHERE … GROUP BY … HAVING …; `keys` says which ones it must have."""
        dice = self.dice
        source = self.source(product)
        possible = self.keys(source)
        if keys is None:
            chosen = dice.some(possible, 0, 3) if dice.chance(80) else dice.some(possible[:3], 0, 2)
            # the same thing said twice is one key to some engines and two to others
            said = [says for _, _, says in chosen]
            chosen = [key for n, key in enumerate(chosen) if not key[2] or key[2] not in said[:n]]
        else:
            chosen = [next(key for key in possible if key[2] == says) for says in keys]
        aggregates = [self.aggregate(source, kinds) for _ in range(least + dice.pick([0, 0, 1, 1, 2, 3]) * (not kinds))]
        columns = [Column(f"k{n}", kind, says) for n, (_, kind, says) in enumerate(chosen)]
        grouping, group = None, same("")
        if chosen:
            way = dice.roll(8) if sets else 0
            exprs = [key for key, _, _ in chosen]
            every = joined(", ", exprs)
            group = form(" GROUP BY {e}", e=every)
            if way == 5:
                group = form(" GROUP BY ROLLUP ({e})", e=every)
            elif way == 6:
                group = form(" GROUP BY CUBE ({e})", e=every)
            elif way == 7:
                sets_ = [form("({e})", e=every), form("({e})", e=exprs[-1]), same("()")]
                group = form(" GROUP BY GROUPING SETS ({s})", s=joined(", ", [sets_[0], *dice.some(sets_[1:], 0, 2)]))
            elif way == 4:
                group = same(" GROUP BY " + ", ".join(str(n + 1) for n in range(len(exprs))))
            if way >= 5 and dice.chance(40):
                grouping = form("grouping({e})", e=exprs[dice.roll(len(exprs))])
        items = [form("{e} AS {n}", e=key, n=column.name) for (key, _, _), column in zip(chosen, columns)]
        for n, (text, kind) in enumerate(aggregates):
            columns.append(Column(f"{prefix}{n}", kind))
            items.append(form("{e} AS {n}", e=text, n=columns[-1].name))
        if grouping:
            columns.append(Column(f"{prefix}g", "int"))
            items.append(form("{e} AS {n}", e=grouping, n=columns[-1].name))
        having = same("")
        if dice.chance(20):
            having = same(" HAVING ") + self.having(source)
        sql = form(
            "SELECT {i} FROM {s}{w}{g}{h}", i=joined(", ", items), s=source.sql, w=self.where(source), g=group, h=having
        )
        return Relation(sql, columns)

    def having(self, source):
        dice, product = self.dice, source.product
        measure = dice.pick(product.measures)
        name = source.names[measure.name]
        ways = [same(f"count(*) > {dice.roll(30)}"), same(f"count({name}) BETWEEN 2 AND 40")]
        if "sum" in measure.publish:
            mean = Pair(
                f"avg({name})", f"exact_mean(CAST(sum({name}_i) AS HUGEINT), count({name}_i), {measure.decimals})"
            )
            ways.append(mean + same(f" > {dice.roll(measure.typical)}"))
            if not measure.gauge:
                ways.append(same(f"sum({name}) >= {dice.roll(measure.typical)} OR count(*) = 1"))
        if "max" in measure.publish:
            ways.append(same(f"max({name}) > {dice.roll(measure.typical)}"))
        return dice.pick(ways)
