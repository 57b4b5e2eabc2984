#!/usr/bin/env python3
"""Measures how fast a ledger is read, beside DuckDB over the same cells and over the raw rows, and beside three PostgreSQL
servers joined by postgres_fdw, in one run on one machine.

    cargo build --profile figures --workspace --bins --benches
    python3 tests/figures/reading.py --json figures.json

The bench (crates/query/benches/reading.rs) draws rows, releases them, merges and asks within its own process. A year by
month is asked in two ways: anew (`month_ms`), each time of an engine that kept nothing of an earlier answer, which is what
DuckDB's figure is set beside, as DuckDB keeps no answers; and again (`month_again_ms`), of one that may use what it merged
before. The same load of 64 clients is also asked of a running node over PostgreSQL's wire with TLS, from a process of its
own on the same cores (tests/figures/wire.rs). DuckDB, from PyPI, in a virtual environment that is made for it, asks the same of its own tables, in one local
database file; PostgreSQL, where Debian's is installed, has each domain's raw rows on a server of its own, and the one with
the fewest asks. Every answer is compared with DuckDB's. Times are medians in milliseconds of one client that asks again
and again; `first` is the first answer after the ledger was opened anew, `cpu` the processor time of one answer.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from pathlib import Path

from measure import City, free_port

ROOT = Path(__file__).resolve().parents[2]
JOIN = """
    with speed as (select district, date_trunc('hour', time) as hour, avg(speed) as speed from traffic group by 1, 2),
    calls as (select district, date_trunc('hour', time) as hour, count(*) as calls from requests group by 1, 2),
    pm as (select district, date_trunc('hour', time) as hour, max(pm) as pm from air group by 1, 2)
    select district, hour, speed, calls, pm from speed join calls using (district, hour)
    join pm using (district, hour) order by 1, 2"""
RIVAL = """
import duckdb, json, resource, statistics, sys, time
folder, kind, join = sys.argv[1:]
db = duckdb.connect(f"{folder}/rival.duckdb")
def median(sql):
    db.execute("set enable_progress_bar = false")
    times, before = [], resource.getrusage(resource.RUSAGE_SELF)
    for _ in range(9):
        begun = time.perf_counter()
        answer = db.execute(sql)
        times.append((time.perf_counter() - begun) * 1000)
        # what Python makes of the answer is not DuckDB's time
        rows = answer.fetchall()
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) * 1000 / 9
    return {"first": times[0], "ms": statistics.median(times), "cpu": cpu,
            "rows": [[str(value) for value in row] for row in rows]}
if kind == "year":
    db.execute(f"create table cells as select * from read_csv('{folder}/cells.csv')")
    db.execute(f"copy cells to '{folder}/cells.parquet' (format parquet, compression zstd)")
    db.close()
    db = duckdb.connect(f"{folder}/rival.duckdb")
    told = median("select date_trunc('month', time) as month, district, sum(speed_sum) / 10 / sum(speed_count) "
                  "from cells group by 1, 2 order by 1, 2")
else:
    for table in ("traffic", "requests", "air"):
        db.execute(f"create table {table} as select * from read_csv('{folder}/{table}.csv')")
    db.close()
    db = duckdb.connect(f"{folder}/rival.duckdb")
    told = median(join)
print(json.dumps(told | {"version": duckdb.__version__}))
"""


def environment(folder):
    """A Python with DuckDB in it."""
    venv = Path(folder) / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    subprocess.run([venv / "bin/pip", "install", "-q", "--disable-pip-version-check", "duckdb"], check=True)
    return venv / "bin/python"


def rival(python, folder, kind):
    done = subprocess.run([python, "-c", RIVAL, folder, kind, JOIN], capture_output=True, text=True, check=True)
    # DuckDB draws a bar while it loads
    return json.loads(done.stdout[done.stdout.index('{"first"'):])


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
                equal = a.replace("T", " ").rstrip("Z")[:16] == b.replace("T", " ").rstrip("Z")[:16]
            if not equal:
                sys.exit(f"{here} here, {there} there")


def folder_bytes(folder):
    return sum(file.stat().st_blocks * 512 for file in Path(folder).rglob("*") if file.is_file())


class Postgres:
    """A server of its own in a folder, reached through a socket in it."""

    def __init__(self, folder, number):
        self.folder, self.port = Path(folder) / f"postgres{number}", 5500 + number
        self.as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
        self.folder.mkdir()
        if self.as_user:
            shutil.chown(self.folder, "postgres")
        self.run("initdb", "-D", self.folder / "data", "-U", "postgres", "-A", "trust", "-E", "UTF8")
        options = f"-p {self.port} -c listen_addresses= -c unix_socket_directories={self.folder} -c shared_buffers=512MB -c timezone=UTC"
        self.run("pg_ctl", "-D", self.folder / "data", "-o", options, "-l", self.folder / "log", "-w", "start")

    def run(self, program, *arguments):
        found = next(iter(sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"), reverse=True)), program)
        done = subprocess.run([*self.as_user, found, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, cwd="/")
        if done.returncode != 0:
            sys.exit(f"{program}: {done.stderr}")

    def ask(self, sql, stdin=None):
        command = ["psql", "-X", "-q", "-At", "-v", "ON_ERROR_STOP=1", "-h", self.folder, "-p", str(self.port), "-U", "postgres"]
        done = subprocess.run([*command, "-c", sql], stdin=stdin, capture_output=True, text=True, check=True)
        return [line.split("|") for line in done.stdout.splitlines()]

    def load(self, table, columns, file):
        self.ask(f"create table {table} ({columns})")
        with open(file) as rows:
            self.ask(f"copy {table} from stdin (format csv, header)", rows)
        self.ask(f"vacuum analyze {table}")

    def stop(self):
        self.run("pg_ctl", "-D", self.folder / "data", "-m", "immediate", "stop")


def postgres(folder):
    """The join on the server of the fewest rows, which the other two answer through postgres_fdw."""
    tables = [("traffic", "speed"), ("requests", "delay"), ("air", "pm")]
    servers = []
    try:
        for number, (table, measure) in enumerate(tables):
            servers.append(Postgres(folder, number))
            columns = f"time timestamptz, sensor int, district text, {measure} numeric"
            servers[-1].load(table, columns, Path(folder) / f"{table}.csv")
        air = servers[2]
        air.ask("create extension postgres_fdw")
        for server, (table, _) in zip(servers[:2], tables):
            air.ask(f"create server {table}_server foreign data wrapper postgres_fdw options "
                    f"(host '{server.folder}', port '{server.port}', dbname 'postgres', fetch_size '10000')")
            air.ask(f"create user mapping for postgres server {table}_server options (user 'postgres')")
            air.ask(f"import foreign schema public limit to ({table}) from server {table}_server into public")
        times = []
        for _ in range(3):
            begun = time.perf_counter()
            rows = air.ask(JOIN)
            times.append((time.perf_counter() - begun) * 1000)
        return statistics.median(times), rows
    finally:
        for server in servers:
            server.stop()


def year(binary, python, days, where):
    with tempfile.TemporaryDirectory(dir=where) as folder:
        ours = bench(binary, "year", folder, days)
        theirs = rival(python, folder, "year")
        same((Path(folder) / "month.txt").read_text(), theirs["rows"])
        parquet = (Path(folder) / "cells.parquet").stat().st_size
        ledger = folder_bytes(Path(folder) / "ledger")
        return ours | {
            "ledger_folder_bytes": ledger, "parquet_zstd_bytes": parquet, "ledger_to_parquet": round(ledger / parquet, 3),
            "duckdb_month_first_ms": round(theirs["first"], 2), "duckdb_month_ms": round(theirs["ms"], 2),
            "duckdb_month_cpu_ms": round(theirs["cpu"], 2), "duckdb": theirs["version"],
            "month_times_duckdb": round(theirs["ms"] / ours["month_ms"], 2),
            "month_again_times_duckdb": round(theirs["ms"] / ours["month_again_ms"], 2),
        }


def city(binary, python, days, where, with_postgres):
    with tempfile.TemporaryDirectory(dir=where) as folder:
        os.chmod(folder, 0o755)
        ours = bench(binary, "city", folder, days, 1)
        theirs = rival(python, folder, "city")
        same((Path(folder) / "join.txt").read_text(), theirs["rows"])
        figures = ours | {
            "duckdb_join_first_ms": round(theirs["first"], 2), "duckdb_join_ms": round(theirs["ms"], 2),
            "duckdb_join_cpu_ms": round(theirs["cpu"], 2), "join_times_duckdb": round(theirs["ms"] / ours["join_ms"], 2),
        }
        if with_postgres:
            ms, rows = postgres(folder)
            same((Path(folder) / "join.txt").read_text(), rows)
            figures |= {"postgres_fdw_join_ms": round(ms, 1), "join_times_postgres_fdw": round(ms / ours["join_ms"], 1)}
        figures |= wire(folder, days)
    with tempfile.TemporaryDirectory(dir=where) as folder:
        tenfold = bench(binary, "city", folder, days, 10)
    return figures | {"join_ms_of_ten_times_the_rows": tenfold["join_ms"], "join_cpu_ms_of_ten_times_the_rows": tenfold["join_cpu_ms"]}


def wire(folder, days):
    """The traffic of the city at a node of its own, asked by 64 clients over PostgreSQL's wire."""
    rows, port = Path(folder) / "traffic.csv", free_port()
    listens = f'[node]\ndepartment_postgres_listen = "127.0.0.1:{port}"\n'
    city = City(ROOT / "target/figures/civicmesh", Path(folder) / "wire", "UTC")
    try:
        amend = lambda text: text.replace("[node]\n", listens, 1)
        home = city.start("traffic", [ROOT / "tests/figures/districts.yaml"], amend)
        until = date(2025, 1, 1) + timedelta(days)
        city.run("ingest", "--node", home, "--dataset", "flow", f"--complete={until}", rows)
        figures = {}
        for way in ("simple", "extended"):
            told = bench(newest("wire"), f"127.0.0.1:{port}", home, days, way)
            figures |= {f"wire_{way}_{what}": figure for what, figure in told.items()}
        return figures
    finally:
        city.stop()


def newest(bench):
    found = [file for file in (ROOT / "target/figures/deps").glob(f"{bench}-*") if not file.suffix and os.access(file, os.X_OK)]
    return max(found, key=lambda file: file.stat().st_mtime, default=None)


def show(figures):
    """The figures to reach, and what was reached."""
    lines = [("three-domain join by district and hour", f"{figures['city']['join_ms']} ms",
              f"{figures['city']['join_times_duckdb']} times DuckDB over raw rows (to reach: 5)")]
    if "join_times_postgres_fdw" in figures["city"]:
        lines.append(("", "", f"{figures['city']['join_times_postgres_fdw']} times postgres_fdw (to reach: 500)"))
    lines.append(("the same of ten times the rows", f"{figures['city']['join_ms_of_ten_times_the_rows']} ms", ""))
    lines.append(("a district's day, 64 clients in the process", f"{figures['city']['day_answers_a_second']} answers/s",
                  f"p99 {figures['city']['day_p99_ms']} ms (to reach: 2000, 100)"))
    for way, says in (("simple", "as text"), ("extended", "prepared, with parameters")):
        lines.append((f"the same over the wire, {says}", f"{figures['city'][f'wire_{way}_answers_a_second']} answers/s",
                      f"p99 {figures['city'][f'wire_{way}_p99_ms']} ms; the clients took "
                      f"{figures['city'][f'wire_{way}_client_cpu_seconds']} s of processor in 10 s"))
    if "year" in figures:
        found = figures["year"]
        lines.append((f"{found['cells']} one-minute cells by month", f"{found['month_ms']} ms, first {found['month_first_ms']} ms",
                      f"{found['month_times_duckdb']} times DuckDB over cells (to reach: 1)"))
        lines.append(("the same, asked again", f"{found['month_again_ms']} ms",
                      f"{found['month_again_times_duckdb']} times DuckDB, which keeps no answers"))
        lines.append(("their bytes", str(found["ledger_folder_bytes"]), f"{found['ledger_to_parquet']} of zstd Parquet (to reach: 1)"))
    for what, reached, beside in lines:
        print(f"{what:45} {reached:32} {beside}", file=sys.stderr)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("binary", type=Path, nargs="?", default=newest("reading"), help="the bench; the newest in target/figures")
    parser.add_argument("--days", type=int, default=365, help="days of one-minute windows; 0 leaves them out")
    parser.add_argument("--city-days", type=int, default=30)
    parser.add_argument("--python", type=Path, help="a Python that has duckdb")
    parser.add_argument("--folder", help="where files are made")
    parser.add_argument("--json", type=Path, help="where the figures are written")
    arguments = parser.parse_args()
    if arguments.binary is None:
        sys.exit("no bench: cargo build --profile figures --workspace --bins --benches")
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        python = arguments.python or environment(folder)
        figures = {"cores": os.cpu_count(), "load_before": os.getloadavg()[0]}
        with_postgres = bool(list(Path("/usr/lib/postgresql").glob("*/bin/initdb")))
        figures["city"] = city(arguments.binary, python, arguments.city_days, arguments.folder, with_postgres)
        if arguments.days:
            figures["year"] = year(arguments.binary, python, arguments.days, arguments.folder)
        figures["load_after"] = os.getloadavg()[0]
    show(figures)
    text = json.dumps(figures, indent=2)
    print(text)
    if arguments.json:
        arguments.json.write_text(text + "\n")


if __name__ == "__main__":
    main()
