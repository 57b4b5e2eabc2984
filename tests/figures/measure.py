#!/usr/bin/env python3
"""Measures what README and the release notes quote, in one run on one machine, with the optimised binary.

    cargo build --release --workspace --bins --examples
    python3 tests/figures/measure.py --traffic traffic_flow_5min.csv.zst

`--traffic` is the CSV of Aarhus traffic readings of 2014 (7.1 million rows, zstd), which is not part of this repository.
DuckDB, from PyPI, writes the Parquet file that the vault's size is compared with; a virtual environment is made for it.
Prints one JSON object.
"""

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def folder_bytes(folder):
    return sum(file.stat().st_blocks * 512 for file in Path(folder).rglob("*") if file.is_file())


def resident_kib(process):
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status).group(1))


class City:
    """A city in a folder of its own, and the commands of the binary under measure."""

    def __init__(self, binary, folder, zone="Europe/Copenhagen"):
        self.binary, self.folder, self.nodes, self.listens = str(binary), Path(folder), {}, []
        self.run("city", "init", self.folder / "office", "--name", "Aarhus", "--timezone", zone)

    def run(self, *arguments):
        done = subprocess.run([self.binary, *map(str, arguments)], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"civicmesh {' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}")
        return done.stdout

    def start(self, domain, contracts=(), amend=None):
        """Enrolls and runs a node; `amend` is given the text of its node.toml, and gives another."""
        home, listen = self.folder / domain, f"127.0.0.1:{free_port()}"
        seeds = [word for seed in self.listens for word in ("--seed", seed)]
        self.run("city", "enroll", self.folder / "office", "--domain", domain, "--listen", listen,
                 "--department", f"127.0.0.1:{free_port()}", *seeds, "--out", home)
        self.listens.append(listen)
        for contract in contracts:
            shutil.copy(contract, home / "contracts")
        if amend:
            (home / "node.toml").write_text(amend((home / "node.toml").read_text()))
        log = open(home / "node.log", "w")
        self.nodes[domain] = subprocess.Popen([self.binary, "node", "run", str(home)], stdout=log, stderr=log)
        self.wait(lambda: subprocess.run([self.binary, "status", "--node", str(home)], capture_output=True).returncode == 0)
        return home

    def status(self, domain):
        return json.loads(self.run("status", "--node", self.folder / domain, "--format", "json"))

    @staticmethod
    def wait(ready):
        until = time.monotonic() + 120
        while not ready():
            if time.monotonic() > until:
                sys.exit("waited in vain")
            time.sleep(0.05)

    def stop(self):
        for process in self.nodes.values():
            process.terminate()
        for process in self.nodes.values():
            process.wait()


def ingest(binary, traffic, folder):
    """Rows a second from file to durable and released; bytes on disk and between nodes; resident memory."""
    city = City(binary, folder)
    figures = {}
    try:
        home = city.start("traffic", [Path(__file__).parent / "flow.yaml"])
        city.start("reader")
        time.sleep(5)
        figures["idle_node_resident_mib"] = round(resident_kib(city.nodes["reader"]) / 1024, 1)
        begun = time.monotonic()
        summary = json.loads(city.run("ingest", "--node", home, "--dataset", "flow", "--complete=2014-10-01",
                                      "--format", "json", traffic))[0]
        seconds = time.monotonic() - begun
        rows = summary["accepted"] + summary["duplicate"]
        entries = next(p["entries"] for p in city.status("traffic")["products"])
        city.wait(lambda: any(p["entries"] == entries for p in city.status("reader")["products"]))
        reader = next(d for d in city.status("reader")["domains"] if d["domain"] == "traffic")
        figures |= {
            "rows": rows, "rows_seen_before": summary["duplicate"], "log_entries": entries,
            "csv_to_released_seconds": round(seconds, 1), "rows_a_second": round(rows / seconds),
            "owner_resident_mib_after": round(resident_kib(city.nodes["traffic"]) / 1024, 1),
            "received_by_a_peer_bytes": reader["received_bytes"], "sent_by_a_peer_bytes": reader["sent_bytes"],
            "vault_bytes": folder_bytes(home / "vault"), "ledger_bytes": folder_bytes(home / "ledger"),
        }
    finally:
        city.stop()
    return figures


def parquet(traffic, folder):
    """The same rows and columns as zstd Parquet."""
    venv = Path(folder) / "venv"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    subprocess.run([venv / "bin/pip", "install", "-q", "--disable-pip-version-check", "duckdb"], check=True)
    out = Path(folder) / "rows.parquet"
    script = (
        "import duckdb, sys; duckdb.sql(f\"copy (select TIMESTAMP, REPORT_ID, avgSpeed, vehicleCount from "
        "read_csv('{sys.argv[1]}')) to '{sys.argv[2]}' (format parquet, compression zstd)\")"
    )
    subprocess.run([venv / "bin/python", "-c", script, str(traffic), str(out)], check=True)
    return {"parquet_zstd_bytes": out.stat().st_size}


def demo(binary):
    """How long the demonstration takes, and its question at each node."""
    begun = time.monotonic()
    done = subprocess.run([str(binary), "demo", "--files", str(ROOT / "deploy/demo")], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(done.stderr)
    answers = dict(re.findall(r"✓ (\w+) gives this table in (\d+) ms", done.stdout))
    return {"demo_seconds": round(time.monotonic() - begun, 1), "question_ms": {k: int(v) for k, v in answers.items()}}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--traffic", required=True, type=Path)
    parser.add_argument("--binary", type=Path, default=ROOT / "target/release/civicmesh")
    arguments = parser.parse_args()
    figures = {"cores": os.cpu_count(), "binary_mib": round(arguments.binary.stat().st_size / 2**20, 1)}
    with tempfile.TemporaryDirectory() as folder:
        figures |= ingest(arguments.binary, arguments.traffic, folder)
        figures |= parquet(arguments.traffic, folder)
    figures |= demo(arguments.binary)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
