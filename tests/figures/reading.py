#!/usr/bin/env python3
"""Measures how fast a ledger is read, beside DuckDB over the same cells and over the raw rows, in one run on one machine.

    cargo build --profile figures -p civicmesh-query --bench reading
    python3 tests/figures/reading.py target/figures/deps/reading-…

The bench (crates/query/benches/reading.rs) draws rows, releases them, merges and asks; DuckDB, from PyPI, in a virtual
environment that is made for it, asks the same of its own tables, in one local database file. Every answer is compared.
Prints one JSON object: times are medians in milliseconds, of one client that asks again and again.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

RIVAL = """
import duckdb, json, statistics, sys, time
folder, kind = sys.argv[1:]
db = duckdb.connect(f"{folder}/rival.duckdb")
def median(sql):
    times = []
    for _ in range(9):
        begun = time.perf_counter()
        rows = db.execute(sql).fetchall()
        times.append((time.perf_counter() - begun) * 1000)
    return statistics.median(times), rows
if kind == "year":
    db.execute(f"create table cells as select * from read_csv('{folder}/cells.csv')")
    db.execute(f"copy cells to '{folder}/cells.parquet' (format parquet, compression zstd)")
    ms, rows = median("select date_trunc('month', time) as month, district, sum(speed_sum) / 10 / sum(speed_count) "
                      "from cells group by 1, 2 order by 1, 2")
else:
    for table in ("traffic", "requests", "air"):
        db.execute(f"create table {table} as select * from read_csv('{folder}/{table}.csv')")
    ms, rows = median('''
        with speed as (select district, date_trunc('hour', time) as hour, avg(speed) as speed from traffic group by 1, 2),
        calls as (select district, date_trunc('hour', time) as hour, count(*) as calls from requests group by 1, 2),
        pm as (select district, date_trunc('hour', time) as hour, max(pm) as pm from air group by 1, 2)
        select district, hour, speed, calls, pm from speed join calls using (district, hour)
        join pm using (district, hour) order by 1, 2''')
print(json.dumps({"ms": ms, "rows": [[str(value) for value in row] for row in rows]}))
"""


def environment(folder):
    """A Python with DuckDB in it."""
    venv = Path(folder) / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    subprocess.run([venv / "bin/pip", "install", "-q", "--disable-pip-version-check", "duckdb"], check=True)
    return venv / "bin/python"


def rival(python, folder, kind):
    done = subprocess.run([python, "-c", RIVAL, folder, kind], capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def bench(binary, *arguments):
    done = subprocess.run([binary, *map(str, arguments)], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def same(table, rows):
    """Whether the printed table and the rival's rows say the same."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")]
    ours = lines[1:]
    if len(ours) != len(rows):
        sys.exit(f"{len(ours)} rows here, {len(rows)} there")
    for here, there in zip(ours, rows):
        for a, b in zip(here, there):
            try:
                equal = abs(float(a) - float(b)) <= 1e-9 * max(1.0, abs(float(b)))
            except ValueError:
                equal = a.replace("T", " ").rstrip("Z")[:10] == b.replace("T", " ").rstrip("Z")[:10]
            if not equal:
                sys.exit(f"{here} here, {there} there")
    return True


def folder_bytes(folder):
    return sum(file.stat().st_blocks * 512 for file in Path(folder).rglob("*") if file.is_file())


def year(binary, python, days):
    with tempfile.TemporaryDirectory() as folder:
        ours = bench(binary, "year", folder, days)
        theirs = rival(python, folder, "year")
        same((Path(folder) / "month.txt").read_text(), theirs["rows"])
        parquet = (Path(folder) / "cells.parquet").stat().st_size
        ledger = folder_bytes(Path(folder) / "ledger")
        return ours | {"ledger_folder_bytes": ledger, "parquet_zstd_bytes": parquet, "ledger_to_parquet": round(ledger / parquet, 3),
                       "duckdb_month_ms": round(theirs["ms"], 2), "times_duckdb": round(theirs["ms"] / ours["month_ms"], 2)}


def city(binary, python, days):
    with tempfile.TemporaryDirectory() as folder:
        ours = bench(binary, "city", folder, days, 1)
        theirs = rival(python, folder, "city")
        same((Path(folder) / "join.txt").read_text(), theirs["rows"])
    with tempfile.TemporaryDirectory() as folder:
        tenfold = bench(binary, "city", folder, days, 10)
    return ours | {"duckdb_join_ms": round(theirs["ms"], 2), "times_duckdb": round(theirs["ms"] / ours["join_ms"], 2),
                   "join_ms_of_ten_times_the_rows": tenfold["join_ms"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=Path)
    parser.add_argument("--days", type=int, default=365, help="days of one-minute windows")
    parser.add_argument("--city-days", type=int, default=30)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        python = environment(folder)
        figures = {"cores": os.cpu_count(), "load_before": os.getloadavg()[0]}
        figures["year"] = year(arguments.binary, python, arguments.days)
        figures["city"] = city(arguments.binary, python, arguments.city_days)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
