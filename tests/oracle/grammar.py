"""The questions: what stands above the aggregates of one product, or of several, down to the order of the answer."""

from dataclasses import replace

import civil
from pair import Column, Pair, Relation, Source, form, joined, same
from rows import Rows


class Grammar(Rows):
    """Whole questions."""

    def name(self):
        self.next += 1
        return f"x{self.next}"

    def expression(self, columns, at, windows):
        """Something computed of the columns of one relation, under a name."""
        dice = self.dice
        one = dice.pick(columns)
        ways = [(same(one.name), one.kind, False)]

        def add(text, kind, near=False):
            ways.append((text if isinstance(text, Pair) else same(text), kind, near))

        numbers = [column.name for column in columns if column.kind in ("int", "dec")]
        if numbers:
            a, b = dice.pick(numbers), dice.pick(numbers)
            add(f"{a} + {b}", "dec")
            add(f"{a} - 2 * {b}", "dec")
            # of decimals of two scales DuckDB compares what it rounded to the smaller one
            exact_a, exact_b = (f"CAST({name} AS DECIMAL(38, 9))" for name in (a, b))
            case = "CASE WHEN {0} > {1} THEN 'more' WHEN {0} IS NULL THEN NULL ELSE 'less' END"
            add(Pair(case.format(a, b), case.format(exact_a, exact_b)), "text")
            add(f"coalesce({a}, 0)", "dec")
            add(f"abs({a})", "dec")
            add(f"-{a}", "dec")
            add(Pair(f"greatest({a}, {b})", f"greatest({exact_a}, {exact_b})"), "dec")
            add(f"1.0 * {a} / nullif({b}, 0)", "double", True)
            add(f"CAST({a} AS DOUBLE) / nullif({b}, 0)", "double", True)
            add(f"{a} BETWEEN -10 AND {b}", "bool")
        if one.kind == "int":
            add(Pair(f"{one.name} / 2", f"{one.name} // 2"), "int")
            add(f"{one.name} % 7", "int")
            add(f"CAST({one.name} AS VARCHAR)", "text")
        if one.kind == "double":
            add(f"{one.name} * 2", "double", True)
            add(f"{one.name} > 3", "bool")
            add(f"abs({one.name})", "double", True)
        if one.kind == "text":
            add(f"upper({one.name})", "text")
            add(f"{one.name} || '!'", "text")
            add(f"{one.name} IS NULL", "bool")
            add(f"coalesce({one.name}, 'all')", "text")
        if one.kind == "time":
            for by in ("+ INTERVAL '7 days'", "- INTERVAL '1 month'", "- INTERVAL '1 day'"):
                add(Pair(f"{one.name} {by}", civil.shifted(one.name, by)), "time")
            add(f"{one.name} + INTERVAL '36 hours'", "time")
        if one.kind == "time" and self.clock.zone != "Atlantic/Azores":  # DuckDB takes the second midnight there
            add(f"extract(month FROM {one.name})", "int")
            add(f"CAST({one.name} AS DATE)", "date")
            add(f"CAST({one.name} AS TIMESTAMP)", "local")
            add(f"date_trunc('month', {one.name})", "time")
        if windows and not any(column.near for column in columns) and dice.chance(40):
            text, kind, near = self.window(columns)
        else:
            text, kind, near = dice.pick(ways)
        return text, Column(at, kind, near=near)

    def window(self, columns):
        """A window function whose answer the order of equal rows cannot change."""
        dice = self.dice
        total = ", ".join(
            c.name + dice.pick(["", "", " DESC", " NULLS FIRST", " DESC NULLS LAST"])
            for c in dice.some(columns, len(columns), len(columns))
        )
        part = dice.pick(["", f"PARTITION BY {dice.pick(columns).name} "])
        numbers = [c for c in columns if c.kind in ("int", "dec")]
        one = dice.pick(columns)
        keep = lambda text, kind, near=False: (same(text), kind, near)
        frame = dice.pick(
            [
                "",
                " ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW",
                " ROWS BETWEEN 1 PRECEDING AND 1 FOLLOWING",
                " ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING",
                " ROWS BETWEEN 2 PRECEDING AND 1 PRECEDING",
            ]
        )
        ways = [
            lambda: keep(f"row_number() OVER ({part}ORDER BY {total})", "int"),
            lambda: keep(f"rank() OVER ({part}ORDER BY {one.name} DESC)", "int"),
            lambda: keep(f"dense_rank() OVER ({part}ORDER BY {one.name})", "int"),
            lambda: keep(f"count(*) OVER ({part}ORDER BY {one.name})", "int"),
            lambda: keep(f"lag({one.name}) OVER ({part}ORDER BY {total})", one.kind),
            lambda: keep(f"lead({one.name}, 2) OVER ({part}ORDER BY {total})", one.kind),
            lambda: keep(f"first_value({one.name}) OVER ({part}ORDER BY {total}{frame})", one.kind),
            lambda: keep(f"last_value({one.name}) OVER ({part}ORDER BY {total}{frame})", one.kind),
            lambda: keep(f"max({one.name}) OVER ({part}ORDER BY {total}{frame})", one.kind),
            lambda: keep(f"ntile(3) OVER (ORDER BY {total})", "int"),
            lambda: keep(f"percent_rank() OVER ({part}ORDER BY {one.name})", "double", True),
            lambda: keep(f"cume_dist() OVER ({part}ORDER BY {one.name})", "double", True),
        ]
        if numbers:
            number = dice.pick(numbers).name
            ways += [
                lambda: keep(f"sum({number}) OVER ({part}ORDER BY {total}{frame})", "dec"),
                lambda: keep(f"sum({number}) OVER ({part.strip()})", "dec"),
                lambda: keep(f"avg({number}) OVER ({part.strip()})", "double", True),
                lambda: keep(f"{number} - lag({number}, 1, 0) OVER ({part}ORDER BY {total})", "dec"),
            ]
        return dice.pick(ways)()

    def above(self, columns):
        """A condition over the columns of a relation."""
        dice = self.dice
        column = dice.pick(columns)
        name = column.name
        ways = [f"{name} IS NOT NULL"]
        if column.kind == "int" and dice.chance(30):
            number = dice.roll(3)
            return Pair(f"{name} / 10 = {number}", f"{name} // 10 = {number}")
        if column.kind == "dec" and dice.chance(20):
            return same(f"CAST({name} AS BIGINT) = {dice.roll(30)}")
        if column.kind in ("int", "dec", "double"):
            bound = dice.pick(["5", "0", "12", "100.5", "-3"])
            ways += [
                f"{name} > {bound}",
                f"{name} <= {bound}",
                f"{name} <> {bound}",
                f"{name} IS NULL OR {name} < {bound}",
            ]
        if column.kind == "text":
            ways += [
                f"{name} < 'n'",
                f"{name} LIKE '%o%'",
                f"{name} IN ('north', 's1', 'NULL')",
                f"NOT {name} = 'north'",
            ]
        if column.kind == "bool":
            ways += [name, f"NOT {name}", f"{name} IS NOT TRUE"]
        if column.kind == "date":
            ways += [f"{name} >= DATE '{self.some_day(dice.pick(self.products))}'"]
        if column.kind == "time":
            product = dice.pick(self.products)
            return form(
                "{n} {op} {e}",
                n=name,
                op=dice.pick([">=", "<", "=", "<>"]),
                e=self.date_of(product, civil.HOLDS[product.grain][-1]),
            )
        return same(dice.pick(ways))

    def wrapped(self, inner, depth=0):
        """SELECT expressions FROM (inner) WHERE …"""
        dice = self.dice
        columns = [c for c in inner.columns if not c.near] or inner.columns
        # one window function at most: two could count rows that are alike in two orders
        made = [self.expression(columns, f"e{depth}{n}", n == 0) for n in range(1 + dice.roll(4))]
        items = joined(", ", [form("{e} AS {n}", e=text, n=column.name) for text, column in made])
        where = form(" WHERE {c}", c=self.above(columns)) if dice.chance(30) else same("")
        distinct = "DISTINCT " if dice.chance(12) and not any(column.near for _, column in made) else ""
        sql = form("SELECT {d}{i} FROM ({s}) AS {x}{w}", d=distinct, i=items, s=inner.sql, x=self.name(), w=where)
        return Relation(sql, [column for _, column in made])

    def regrouped(self):
        """An aggregate of aggregates."""
        dice = self.dice
        inner = self.block(sets=False)
        keys = [c for c in inner.columns if c.name.startswith("k")]
        chosen = dice.some(keys, 0, 2)
        numbers = [c for c in inner.of("int", "dec")]
        made = [(same("count(*)"), "int")]
        for _ in range(1 + dice.roll(3)):
            column = dice.pick(inner.columns)
            ways = [
                (f"count({column.name})", "int"),
                (f"max({column.name})", column.kind),
                (f"min({column.name})", column.kind),
                (f"count(DISTINCT {column.name})", "int"),
            ]
            if numbers:
                number = dice.pick(numbers).name
                ways += [
                    (f"sum({number})", "dec"),
                    (f"sum({number}) FILTER (WHERE {number} > 10)", "dec"),
                    (f"avg({number})", "near"),
                ]
            text, kind = dice.pick([way for way in ways if not (way[1] == "bool")])
            made.append((same(text), kind))
        columns = [replace(c, says="") for c in chosen]
        columns += [
            Column(f"m{n}", "double" if kind == "near" else kind, near=kind == "near")
            for n, (_, kind) in enumerate(made)
        ]
        items = [same(c.name) for c in chosen] + [
            form("{e} AS m{n}", e=text, n=str(n)) for n, (text, _) in enumerate(made)
        ]
        group = same(f" GROUP BY {', '.join(c.name for c in chosen)}" if chosen else "")
        return Relation(
            form("SELECT {i} FROM ({s}) AS {x}{g}", i=joined(", ", items), s=inner.sql, x=self.name(), g=group), columns
        )

    def shared(self, products):
        """Keys that all of these products have."""
        sets = []
        for product in products:
            source = Source(
                product,
                same(""),
                "time",
                {name: name for name in product.dimensions} | {m.name: m.name for m in product.measures},
            )
            sets.append([says for _, _, says in self.keys(source) if says])
        return [says for says in dict.fromkeys(sets[0]) if all(says in others for others in sets[1:])]

    def together(self):
        """Aggregates of two or three products, joined over keys that they share."""
        dice = self.dice
        products = [dice.pick(self.products) for _ in range(2 + dice.chance(35))]
        possible = self.shared(products)
        if not possible:
            return self.block()
        keys = dice.some(possible, 1, 2)
        blocks = [self.block(p, keys, prefix, sets=dice.chance(10)) for p, prefix in zip(products, "abc")]
        named = dice.chance(40)
        with_ = joined(", ", [form("{x} AS ({s})", x=f"{p}q", s=b.sql) for b, p in zip(blocks, "abc")])
        parts = [same(f"{p}q") if named else form("({s}) AS {p}q", s=b.sql, p=p) for b, p in zip(blocks, "abc")]
        names = [column.name for column in blocks[0].columns if column.name.startswith("k")]
        using = dice.chance(60)
        sql = parts[0]
        hows = []
        for p, part in zip("bc", parts[1:]):
            # after a FULL JOIN the first side's key alone is no key of what stands there
            hows.append(
                dice.pick(
                    ["JOIN", "LEFT JOIN", "FULL JOIN", "RIGHT JOIN"] if using or p == "b" else ["JOIN", "LEFT JOIN"]
                )
            )
            on = f"USING ({', '.join(names)})" if using else "ON " + " AND ".join(f"aq.{k} = {p}q.{k}" for k in names)
            sql = form("{s} {how} {part} {on}", s=sql, how=hows[-1], part=part, on=on)
        values = [
            (f"{p}q", column) for b, p in zip(blocks, "abc") for column in b.columns if not column.name.startswith("k")
        ]
        if using:
            columns = [column for column in blocks[0].columns if column.name.startswith("k")]
            items = [column.name for column in columns]
        else:
            columns = [
                replace(column, name=f"{p}{column.name}")
                for b, p in zip(blocks, "abc")
                for column in b.columns
                if column.name.startswith("k")
            ]
            items = [f"{column.name[0]}q.{column.name[1:]} AS {column.name}" for column in columns]
        if using and dice.chance(30):
            items = ["*"]
        else:
            items += [f"{table}.{column.name}" for table, column in values]
        columns = columns + [column for _, column in values]
        where = ""
        if dice.chance(20):
            table, column = dice.pick(values)
            where = f" WHERE {table}.{column.name} IS {dice.pick(['NOT NULL', 'NULL'])}"
        sql = form("SELECT {i} FROM {s}{w}", i=", ".join(items), s=sql, w=where)
        return Relation(form("WITH {w} {s}", w=with_, s=sql) if named else sql, columns)

    def sets(self):
        """UNION, INTERSECT or EXCEPT of blocks of the same columns."""
        dice = self.dice
        products = [dice.pick(self.products) for _ in range(2 + dice.chance(25))]
        possible = self.shared(products)
        keys = dice.some(possible, 0, 2) if possible else []
        blocks = [self.block(p, keys, kinds="counts", sets=False) for p in products]
        sql = form("({s})", s=blocks[0].sql) if dice.chance(30) else blocks[0].sql
        for block in blocks[1:]:
            sql = form("{s} {op} {b}", s=sql, op=dice.pick(["UNION ALL", "UNION", "INTERSECT", "EXCEPT"]), b=block.sql)
        return Relation(sql, blocks[0].columns)

    def scalars(self):
        """Subqueries that give one number each."""
        dice, items, columns = self.dice, [], []
        for n in range(1 + dice.roll(3)):
            block = self.block(keys=[])
            inner = (
                form("SELECT {c} FROM ({s}) AS {x}", c=block.columns[0].name, s=block.sql, x=self.name())
                if dice.chance(50) or len(block.columns) > 1
                else block.sql
            )
            items.append(form("({s}) AS s{n}", s=inner, n=str(n)))
            columns.append(replace(block.columns[0], name=f"s{n}"))
        return Relation(form("SELECT {i}", i=joined(", ", items)), columns)

    def correlated(self):
        """An aggregate of one product for each value of another's."""
        dice = self.dice
        products = [p for p in self.products if p.dimensions]
        outer, inner = dice.pick(products), dice.pick(products)
        both = [name for name in outer.dimensions if name in inner.dimensions]
        if not both:
            return self.block()
        name = dice.pick(both)
        block = self.block(outer, [name], sets=False)
        self.touched.add(inner.id)
        source = Source(
            inner,
            Pair(inner.id, f"published.{inner.table}") + same(" AS i"),
            "time",
            {n: n for n in inner.dimensions} | {m.name: m.name for m in inner.measures},
        )
        count = dice.pick(["count(*)", f"count({inner.measures[0].name})"])
        sub = form("(SELECT {c} FROM {s}{w})", c=count, s=source.sql, w=self.where(source, [same(f"i.{name} = o.k0")]))
        columns = [*block.columns, Column("sub", "int")]
        return Relation(form("SELECT o.*, {q} AS sub FROM ({b}) AS o", q=sub, b=block.sql), columns)

    def among(self):
        """Groups of one product of which another has some, or none: IN, NOT IN, EXISTS of what is aggregated."""
        dice = self.dice
        products = [p for p in self.products if p.dimensions]
        outer, inner = dice.pick(products), dice.pick(products)
        both = [name for name in outer.dimensions if name in inner.dimensions]
        if not both:
            return self.block()
        name = dice.pick(both)
        block, other = self.block(outer, [name], sets=False), self.block(inner, [name], "b", kinds="counts", sets=False)
        bound = str(dice.roll(60))
        condition = dice.pick(
            [
                "o.k0 IN (SELECT k0 FROM ({i}) AS y WHERE b0 > {n})",
                "o.k0 NOT IN (SELECT k0 FROM ({i}) AS y WHERE b0 > {n} AND k0 IS NOT NULL)",
                "EXISTS (SELECT 1 FROM ({i}) AS y WHERE y.k0 = o.k0 AND y.b0 > {n})",
                "NOT EXISTS (SELECT 1 FROM ({i}) AS y WHERE y.k0 = o.k0 AND y.b0 > {n})",
                "{n} < (SELECT b0 FROM ({i}) AS y WHERE y.k0 = o.k0)",
                "o.k0 = (SELECT max(k0) FROM ({i}) AS y)",
            ]
        )
        return Relation(
            form("SELECT o.* FROM ({b}) AS o WHERE " + condition, b=block.sql, i=other.sql, n=bound), block.columns
        )

    def with_itself(self):
        """A question joined with itself, a period earlier, or by rank."""
        dice = self.dice
        products = [p for p in self.products if "week" in civil.HOLDS[p.grain]]
        product = dice.pick(products)
        unit = dice.pick([u for u in civil.HOLDS[product.grain] if u in ("week", "day", "hour")])
        block = self.block(product, [unit], sets=False)
        period = {"week": "+ INTERVAL '7 days'", "day": "+ INTERVAL '1 day'", "hour": "+ INTERVAL '7 days'"}[unit]
        how = dice.pick(["JOIN", "LEFT JOIN", "FULL JOIN"])
        earlier = [column for column in block.columns if column.name != "k0"]
        items = ["x.*", "y.k0 AS before", *(f"y.{column.name} AS {column.name}_before" for column in earlier)]
        columns = [*block.columns, Column("before", "time"), *(replace(c, name=f"{c.name}_before") for c in earlier)]
        sql = form(
            "WITH w AS ({b}) SELECT {i} FROM w AS x {how} w AS y ON {p} = x.k0",
            b=block.sql,
            i=", ".join(items),
            how=how,
            p=Pair(f"y.k0 {period}", civil.shifted("y.k0", period)),
        )
        return Relation(sql, columns)

    def calendar(self):
        """Days that a question lists, with what was observed on them, nothing included."""
        dice = self.dice
        products = [p for p in self.products if "day" in civil.HOLDS[p.grain]]
        product = dice.pick(products)
        block = self.block(product, ["date"], sets=False)
        days = sorted({self.some_day(product) for _ in range(2 + dice.roll(6))})
        listed = ", ".join(f"(DATE '{day}')" for day in days)
        values = [column for column in block.columns if column.name != "k0"]
        items = [
            f"coalesce({c.name}, 0) AS {c.name}" if c.kind in ("int", "dec") and not c.near else c.name for c in values
        ]
        sql = form(
            "SELECT d, {i} FROM (VALUES {v}) AS days(d) LEFT JOIN ({b}) AS o ON o.k0 = days.d",
            i=", ".join(items),
            v=listed,
            b=block.sql,
        )
        return Relation(sql, [Column("d", "date"), *values])

    def ranked(self):
        """The first few of each group, by a window function that is filtered."""
        dice = self.dice
        block = self.block(sets=False)
        keys = [column.name for column in block.columns if column.name.startswith("k")]
        if not keys:
            return block
        order = ", ".join(f"{column.name} DESC" for column in reversed(block.columns))
        part = f"PARTITION BY {dice.pick(keys)} " if dice.chance(60) else ""
        sql = form(
            "SELECT * FROM (SELECT *, row_number() OVER ({p}ORDER BY {o}) AS r FROM ({b}) AS {x}) AS {y} WHERE r <= {n}",
            p=part,
            o=order,
            b=block.sql,
            x=self.name(),
            y=self.name(),
            n=str(1 + dice.roll(3)),
        )
        return Relation(sql, [*block.columns, Column("r", "int")])

    def cut(self):
        """What stands above the first few rows of an order."""
        dice = self.dice
        block = self.block(sets=dice.chance(30))
        by = ", ".join(str(n + 1) + dice.pick(["", " DESC"]) for n in range(len(block.columns)))
        inner = form("{b} ORDER BY {by} LIMIT {n}", b=block.sql, by=by, n=str(1 + dice.roll(9)))
        return self.wrapped(Relation(inner, block.columns))

    def distinct(self):
        """DISTINCT over what cells share."""
        source = self.source()
        chosen = self.dice.some(self.keys(source), 1, 3)
        items = joined(", ", [form("{e} AS k{n}", e=key, n=str(n)) for n, (key, _, _) in enumerate(chosen)])
        columns = [Column(f"k{n}", kind, says) for n, (_, kind, says) in enumerate(chosen)]
        return Relation(form("SELECT DISTINCT {i} FROM {s}{w}", i=items, s=source.sql, w=self.where(source)), columns)

    def compared(self):
        """Groups of one product compared with a number of another."""
        dice = self.dice
        block, other = self.block(), self.block(keys=[], kinds="counts")
        number = dice.pick([c for c in block.columns if c.kind in ("int", "dec", "double")] or block.columns)
        if number.kind not in ("int", "dec", "double"):
            return block
        op = dice.pick([">", "<=", "<>"])
        sql = form(
            "SELECT * FROM ({b}) AS {x} WHERE {n} {op} (SELECT a0 / {by} FROM ({o}) AS {y})",
            b=block.sql,
            x=self.name(),
            n=number.name,
            op=op,
            by=Pair("7", "7"),
            o=other.sql,
            y=self.name(),
        )
        sql = Pair(sql.civic, sql.duck.replace("a0 / 7 FROM", "a0 // 7 FROM"))
        return Relation(sql, block.columns)

    def question(self):
        """A whole question."""
        dice = self.dice
        ways = [
            *[self.block] * 7,
            *[lambda: self.wrapped(self.block())] * 3,
            *[self.together] * 5,
            *[lambda: self.wrapped(self.wrapped(self.together() if dice.chance(30) else self.block()), 1)] * 2,
            self.regrouped,
            self.sets,
            self.scalars,
            self.correlated,
            self.distinct,
            self.compared,
            self.among,
            self.with_itself,
            self.calendar,
            self.ranked,
            self.cut,
            lambda: self.wrapped(self.regrouped()),
        ]
        relation = dice.pick(ways)()
        if dice.chance(10) and not relation.sql.civic.startswith("WITH"):
            name = self.name()
            relation = Relation(form("WITH {n} AS ({s}) SELECT * FROM {n}", n=name, s=relation.sql), relation.columns)
        if dice.chance(35):
            relation = self.ordered(relation)
        return relation

    def ordered(self, relation):
        """The question in an order; cut short only where that order is total."""
        dice = self.dice
        exact = [n for n, column in enumerate(relation.columns) if not column.near]
        if not exact:
            return relation
        total = len(exact) == len(relation.columns) and dice.chance(60)
        chosen = exact if total else dice.some(exact, 1, 2)
        by = [str(n + 1) + dice.pick(["", "", " DESC", " NULLS FIRST", " DESC NULLS LAST"]) for n in chosen]
        limit = dice.pick(["", " LIMIT 7", " LIMIT 5 OFFSET 2"]) if total else ""
        return Relation(relation.sql + same(f" ORDER BY {', '.join(by)}{limit}"), relation.columns, chosen)
