"""Generated departments: contracts, files of several formats, sources and revisions, and the rows they must come to."""

import csv
import gzip
import json
from collections import defaultdict
from datetime import date, datetime, timedelta
from fractions import Fraction

import duckdb

import civil
import exact
from product import EVERYTHING, Measure, Product

# Zones, and a day on which their clocks change (if they do).
CITIES = [
    ("America/New_York", ["2020-03-08", "2020-11-01"]),
    ("Europe/Copenhagen", ["2020-03-29", "2020-10-25"]),
    ("Asia/Kathmandu", ["2020-06-15"]),
    ("Atlantic/Azores", ["2020-03-29", "2020-10-25"]),
]
DISTRICTS = ["north", "Øst", "O'Hare", "north side", 'say "hi"', " led", "NULL", "a,b", "🚲", "North"]
KINDS = ["car", "bus", "%_", "København Ø"]
K = 10

CONTRACT = """apiVersion: v3.1.0
kind: DataContract
id: {id}
version: 1.0.0
status: active
description: {{purpose: Agree with another engine}}
schema:
- name: {name}
  properties:
  - {{name: time, logicalType: timestamp}}
{properties}
customProperties:
- property: civicmesh.terms
  value:
    windows: {{grain: {grain}, start: {start}, end: {end}, lateness: {lateness}, empty: zero}}
    measures:
{measures}
    distinct: [{distinct}]
    disclosure: {{{disclosure}, approver: the test}}
    audience: city
    retention: {{raw: 30 years, releases: 30 years}}
- property: civicmesh.dataset
  value:
    name: {name}_rows
    time: {{column: at, zone: {zone}}}
    columns:
      at: timestamp
{columns}
    rejects_max: 20%
{reading}
"""


class Made:
    """One world: turns for the driver, products for the questions, tables for DuckDB."""

    def __init__(self, dice, folder):
        self.dice, self.folder = dice, folder
        zone, changes = CITIES[dice.roll(len(CITIES))]
        self.clock = civil.Clock(zone)
        change = date.fromisoformat(dice.pick(changes))
        monday = change - timedelta(days=change.weekday())
        self.monday, self.end = monday - timedelta(days=14), monday + timedelta(days=21)
        # many rows at the same few days, so that cells hold several; one of them is when the clocks change
        self.busy = [change] + [self.monday + timedelta(days=dice.roll(35)) for _ in range(6)]
        self.early, self.late, self.last = [], [], []
        self.tables, self.products = [], []
        fine, coarse = dice.pick(["1 hour", "15 minutes"]), dice.pick(["1 week", "1 month"])
        districts = {"district": DISTRICTS}
        flows = self.product(
            "traffic", "flows", fine, districts | {"kind": KINDS}, [Measure("cars"), Measure("speed", 2)]
        )
        trips = self.product(
            "traffic",
            "trips",
            "1 day",
            districts,
            [Measure("km", 1, ("count", "sum", "sum_squares")), Measure("fare", 2, ("count", "sum", "sum_squares"))],
            threshold=True,
            distinct=("car",),
        )
        readings = self.product(
            "air",
            "readings",
            "15 minutes",
            {"station": ["s1", "s2", "s3", "S1"]} | districts,
            [Measure("no2", 3, (*EVERYTHING, "quantiles")), Measure("temp", 1, ("count", "sum", "min", "max"), gauge=True)],
        )
        noise = self.product(
            "air", "noise", "3 hours", districts | {"indoor": ["false", "true"]}, [Measure("level", 1)]
        )
        usage = self.product(
            "water",
            "usage",
            "1 day",
            districts | {"ward": ["1", "2", "10"]},
            [Measure("litres", 4, ("count", "sum"), typical=40_000_000), Measure("cost")],
        )
        rain = self.product("water", "rain", coarse, {}, [Measure("mm", 1)])
        for product, rows in [(flows, 2600), (readings, 2000), (noise, 1500), (usage, 1500), (rain, 200)]:
            self.open(product, rows)
        self.trips(trips)

    def product(self, domain, name, grain, dimensions, measures, threshold=False, distinct=()):
        start, end = self.monday, self.end
        if grain == "1 month":
            start, end = start.replace(day=1), (end + timedelta(days=31)).replace(day=1)
        product = Product(domain, name, grain, measures, dimensions, start, end, threshold, distinct)
        self.products.append(product)
        return product

    def turns(self):
        """What the departments do: deliver, then deliver late, then one of them restarts, and more comes late."""
        return [self.early, self.late, [{"do": "restart", "node": "traffic"}, *self.last]]

    def domains(self):
        """Each domain's contracts."""
        found = {}
        for product in self.products:
            found.setdefault(product.domain, []).append(str(self.folder / f"{product.name}.yaml"))
        return found

    def contract(self, product, reading, columns):
        logical = [f"  - {{name: {name}, logicalType: string}}" for name in [*product.dimensions, *product.distinct]]
        logical += [f"  - {{name: {measure.name}, logicalType: number}}" for measure in product.measures]
        lines = []
        for measure in product.measures:
            terms = f'unit: "1", decimals: {measure.decimals}, publish: [{", ".join(measure.publish)}]'
            terms += ", gauge: true" if measure.gauge else ""
            terms += ", min: -10000, max: 10000" if product.threshold else ""
            lines.append(f"      {measure.name}: {{{terms}}}")
        disclosure = f"method: threshold, k: {K}" if product.threshold else "method: open, reason: no person is in it"
        # the first of two files would close a threshold product's windows for good
        lateness = "100 days" if product.threshold else "1 day"
        text = CONTRACT.format(
            id=product.id,
            name=product.name,
            grain=product.grain,
            start=product.start,
            end=product.end,
            lateness=lateness,
            zone=self.clock.zone,
            properties="\n".join(logical),
            measures="\n".join(lines),
            distinct=", ".join(product.distinct),
            disclosure=disclosure,
            columns="\n".join(f"      {name}: {kind}" for name, kind in columns.items()),
            reading=reading,
        )
        (self.folder / f"{product.name}.yaml").write_text(text, encoding="utf-8")

    def instant(self, days=None):
        """A moment within the span, to the second; it may be the first of a window."""
        dice = self.dice
        day = dice.pick(days or self.busy) if dice.chance(70) else self.monday + timedelta(days=dice.roll(35))
        midnight = self.clock.day(day)
        if dice.chance(10):
            return midnight + dice.roll(23) * civil.HOUR
        # the first hours of a day, in which clocks change, more often
        return midnight + dice.roll((5 if dice.chance(30) else 22) * 3600) * civil.SECOND

    def written(self, us):
        """An instant in one of the ways that files have them."""
        way = self.dice.roll(3)
        if way == 0 and self.clock.says_once(us):
            return self.clock.local(us).strftime("%Y-%m-%d %H:%M:%S")
        if way == 1:
            at = datetime.fromtimestamp(us // civil.SECOND, self.clock.info)
            return at.isoformat()
        return civil.utc(us)

    def value(self, decimals, size=1000, nulls=12):
        """A number as a file has it, with more decimals than are kept, ties among them; or none."""
        dice = self.dice
        if dice.chance(nulls):
            return ""
        whole = dice.roll(2 * size) - size
        extra = dice.pick(["", "5", "49", "51", "500", "0"])
        text = f"{whole}.{dice.roll(10**decimals):0{decimals}d}{extra}" if decimals or dice.chance(30) else str(whole)
        if decimals == 0 and "." in text:
            text = f"{whole}.{extra or '5'}"
        return f"{text}e0" if dice.chance(5) else text

    def dimensions(self, product):
        # the first values are frequent, so that cells hold several rows
        roll = self.dice.roll
        return [values[min(roll(len(values)), roll(len(values)))] for values in product.dimensions.values()]

    def open(self, product, count):
        """An open product: early files from two sources, then late rows and corrections, a restart in between."""
        dice, keyed = self.dice, product.name != "noise"
        columns = {"id": "text"}
        columns |= {name: {"indoor": "boolean", "ward": "integer"}.get(name, "text") for name in product.dimensions}
        columns |= {measure.name: "number" for measure in product.measures}
        reading = "    key: [id]"
        if not keyed:
            columns["tenths"] = columns.pop("level")
            reading = "    derived: {level: tenths * 0.1}"
        self.contract(product, reading, columns)
        size = 10_000_000 if product.name == "usage" else 1000

        def row(identity):
            values = [self.value(measure.decimals, size) for measure in product.measures]
            return [identity, self.instant(), self.dimensions(product), values]

        def corrections(of, count):
            """Rows with the key of an earlier one, and else other values: of another window, most of them."""
            return [row(dice.pick(of)[0]) for _ in range(count if keyed else 0)]

        early = [row(f"r{n}") for n in range(count * 8 // 10)]
        for n in range(3):
            wrong = row(f"wrong{n}")
            wrong[3][0] = "x"
            early.insert(dice.roll(len(early)), wrong)
        cut = len(early) // 2 + dice.roll(len(early) // 4)
        repeated = [r for r in early[:20] if keyed]
        late = [row(f"r{n}") for n in range(count * 8 // 10, count * 9 // 10)]
        last = [row(f"r{n}") for n in range(count * 9 // 10, count)]
        correct = [r for r in early if r[3][0] != "x"]
        files = [
            (self.early, "main", dice.pick(["csv", "csv.gz"]), early[:cut]),
            (self.early, "other", dice.pick(["ndjson", "csv"]), early[cut:] + repeated),
            (self.late, "main", "csv", late + corrections(correct, 30)),
            (self.last, "late", dice.pick(["parquet", "ndjson"]), last + corrections(late, 15)),
        ]
        names = ["id", "at", *list(columns)[1:]]
        counted = {}
        for n, (turn, source, form, batch) in enumerate(files):
            self.deliver(turn, product, source, f"{n}.{form}", names, batch, complete=n == 1)
            for at, (identity, us, dimensions, values) in enumerate(batch):
                if values[0] != "x":
                    scaled = tuple(kept(product, measure, text) for measure, text in zip(product.measures, values))
                    counted[identity if keyed else (n, at)] = (us, tuple(dimensions), scaled)
        self.tables.append((product, list(counted.values()), list(counted.values())))

    def trips(self, product):
        """A threshold product: cells of fewer than K contributors, and of few values, are suppressed; late rows held."""
        dice = self.dice
        names = ["id", "at", "district", "car", "km", "fare"]
        columns = {"id": "text", "district": "text", "car": {"type": "text"}, "km": "number", "fare": "number"}
        columns = {name: kind if isinstance(kind, str) else "text" for name, kind in columns.items()}
        self.contract(product, "    key: [id]\n    contributor: {column: car}", columns)
        cells = {}

        def row(identity, day, district, nulls):
            values = [self.value(1, 150, 0), self.value(2, 200, nulls)]
            return [identity, self.instant([day]), [district, f"car{dice.roll(60)}"], values]

        early = []
        for day in [self.monday + timedelta(days=n) for n in range(35)]:
            for district in DISTRICTS[:5]:
                size = dice.pick([3, 9, 10, 12, 25, 60]) if day in self.busy or dice.chance(40) else dice.roll(4)
                nulls = dice.pick([0, 0, 0, 5, 50, 100])
                for _ in range(size):
                    made = row(f"t{len(early)}", day, district, nulls)
                    made[1] = self.clock.day(day) + dice.roll(22 * 3600) * civil.SECOND
                    early.append(made)
        dice.shuffle(early)
        half = len(early) // 2
        late = [row(f"late{n}", self.clock.local(dice.pick(early)[1]).date(), "north", 10) for n in range(40)]
        for made in late:  # in a window that was released: an empty one would be, too, but it is no matter here
            made[1] = dice.pick(early)[1]
        self.deliver(self.early, product, "main", "0.csv", names, early[:half], complete=False)
        self.deliver(self.early, product, "other", "1.ndjson", names, early[half:], complete=True)
        self.deliver(self.late, product, "main", "2.csv", names, late, complete=False)
        cells = defaultdict(list)
        for _, us, (district, car), values in early:
            scaled = tuple(kept(product, measure, text) for measure, text in zip(product.measures, values))
            cells[self.clock.local(us).date(), district].append((us, car, (district,), scaled))
        told = lambda rows: [(us, dimensions, scaled, (car,)) for us, car, dimensions, scaled in rows]
        strip = [row for rows in cells.values() for row in told(rows)]
        published = [row for rows in cells.values() if leaves(rows) for row in told(rows)]
        self.tables.append((product, published, strip))

    def deliver(self, turn, product, source, name, names, rows, complete):
        """Writes a file and has it taken in at this turn."""
        path = self.folder / f"{product.name}-{name}"
        lines = [[identity, self.written(us), *dimensions, *values] for identity, us, dimensions, values in rows]
        if name.endswith("ndjson"):
            numbers = {measure.name for measure in product.measures} | {"tenths"}
            with open(path, "w", encoding="utf-8") as out:
                for line in lines:
                    print(json.dumps({key: typed(key, text, numbers) for key, text in zip(names, line)}), file=out)
        else:
            plain = path.with_suffix(".csv") if name.endswith("parquet") else path
            with (gzip.open if name.endswith("gz") else open)(plain, "wt", newline="", encoding="utf-8") as out:
                csv.writer(out).writerows([names, *lines])
            if name.endswith("parquet"):
                doubles = ", ".join(
                    f"CAST({name} AS DOUBLE) AS {name}" for name in names[2 + len(product.dimensions) :]
                )
                duckdb.sql(
                    f"COPY (SELECT * REPLACE ({doubles}) FROM read_csv('{plain}', header = true, all_varchar = true,"
                    f" quote = '\"', escape = '\"')) TO '{path}' (FORMAT parquet)"
                )
        arguments = ["--source", source, *([f"--complete={product.end}"] if complete else [])]
        turn.append(
            {
                "do": "take_in",
                "node": product.domain,
                "dataset": f"{product.name}_rows",
                "file": str(path),
                "arguments": arguments,
            }
        )


def typed(key, text, numbers):
    """A value as JSON has it."""
    if key in numbers:
        return None if text == "" else text if text == "x" else float(text)
    return {"indoor": {"true": True, "false": False}, "ward": {"1": 1, "2": 2, "10": 10}}.get(key, {}).get(text, text)


def kept(product, measure, text):
    """The scaled value that a measure keeps of a number in a file."""
    if text == "":
        return None
    if product.name == "noise":  # derived: reckoned in doubles, of which the exact value is rounded
        return exact.half_even(float(text) * 0.1, measure.decimals)
    return exact.half_even(Fraction(text), measure.decimals)


def leaves(rows):
    """Whether a cell is published: enough contributors, behind each measure with a value too, and none lacks few."""
    if len({car for _, car, _, _ in rows}) < K:
        return False
    for measure in range(len(rows[0][3])):
        valued = {car for _, car, _, scaled in rows if scaled[measure] is not None}
        without = sum(scaled[measure] is None for _, _, _, scaled in rows)
        if valued and (len(valued) < K or 0 < without < K):
            return False
    return True
