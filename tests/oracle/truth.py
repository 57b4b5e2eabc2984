"""All raw rows of every department in one DuckDB, which no city could have.

Two schemas: `published` holds the rows that stand in published cells, `raw` every row, suppressed ones too. Each row
has the start of every civil unit around it beside its time, reckoned by `civil`: DuckDB's date_trunc takes the two
hours that a clock shows alike in autumn for one."""

import csv
from decimal import Decimal
from functools import lru_cache

import duckdb

import civil
import exact

QUARTER_US = civil.HOUR // 4
# No value, in the files that DuckDB reads.
NULL = "\\N"


class Truth:
    def __init__(self, clock, folder):
        self.clock, self.folder = clock, folder
        self.base = duckdb.connect()
        self.base.execute(f"SET TimeZone = '{clock.zone}'")
        self.base.execute("SET default_null_order = 'postgres'")
        self.base.execute("SET threads = 1")
        for schema in ("published", "raw"):
            self.base.execute(f"CREATE SCHEMA {schema}")
        exact.teach(self.base)
        # clocks move by quarters of an hour at the least, and at one's edge
        self.trunc = lru_cache(maxsize=None)(lambda unit, quarter: clock.trunc(unit, quarter * QUARTER_US))

    def load(self, product, published, raw):
        """Takes rows in, each (time in microseconds, dimensions, scaled values, values that are counted distinct if any)."""
        for schema, rows in (("published", published), ("raw", raw)):
            self._load(schema, product, rows)

    def _load(self, schema, product, rows):
        units, measures = civil.HOLDS[product.grain], product.measures
        file = self.folder / f"{schema}-{product.table}.csv"
        columns = {"us": "BIGINT", "local": "TIMESTAMP"}
        columns |= {f"u_{unit}": "BIGINT" for unit in units}
        columns |= {dimension: "VARCHAR" for dimension in product.dimensions}
        columns |= {f"{measure.name}_i": "BIGINT" for measure in measures}
        columns |= {measure.name: f"DECIMAL(18, {measure.decimals})" for measure in measures}
        columns |= {name: "VARCHAR" for name in product.distinct}
        with open(file, "w", newline="", encoding="utf-8") as out:
            writer = csv.writer(out, quoting=csv.QUOTE_ALL)
            writer.writerow(columns)
            for us, dimensions, scaled, *counted in rows:
                starts = [self.trunc(unit, us // QUARTER_US) for unit in units]
                values = [
                    NULL if value is None else Decimal(value).scaleb(-measure.decimals)
                    for value, measure in zip(scaled, measures)
                ]
                scaled = [NULL if value is None else value for value in scaled]
                writer.writerow([us, self.clock.local(us), *starts, *dimensions, *scaled, *values, *sum(counted, ())])
        kinds = ", ".join(f"'{name}': '{kind}'" for name, kind in columns.items())
        times = ", ".join(
            ["make_timestamptz(us) AS time", *(f"make_timestamptz(u_{unit}) AS t_{unit}" for unit in units)]
        )
        left_out = ", ".join(["us", *(f"u_{unit}" for unit in units)])
        self.base.execute(
            f"CREATE TABLE {schema}.{product.table} AS SELECT {times}, * EXCLUDE ({left_out}) FROM read_csv('{file}',"
            f" header = true, columns = {{{kinds}}}, nullstr = '{NULL}', allow_quoted_nulls = true, quote = '\"', escape = '\"')"
        )

    def ask(self, sql):
        """The columns' types and the rows of a question in DuckDB's words."""
        result = self.base.execute(sql)
        return [column[0] for column in result.description], result.fetchall()
