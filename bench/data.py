#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Synced commits and events a second, beside a plain loop on SQLite in the same folder.

bench/data.py [BUILD] [--rounds N] [--seconds S]

The peer is Python's sqlite3 (the same SQLite library, WAL, synchronous=FULL, one row a commit): what a program gets
that commits for itself. The files lie in BUILD, so that they are on a real disk. What a sync costs decides all.
"""

import argparse
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

from system import machine

PARALLEL = (1, 8, 32)
ROW = '{"pad":"' + "0123456789" * 15 + '"}'


def plain(path, seconds):
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA synchronous=FULL")
    db.execute("CREATE TABLE t(id INTEGER PRIMARY KEY, text TEXT NOT NULL)")
    count, begun = 0, time.monotonic()
    while time.monotonic() < begun + seconds:
        db.execute("INSERT INTO t(text) VALUES(?)", (ROW,))
        count += 1
    took = time.monotonic() - begun
    db.close()
    return count / took


def ours(program, kind, path, seconds, parallel):
    command = [program, kind, path, str(seconds), str(parallel)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"data_bench {kind}: exit code {done.returncode}\n{done.stderr}")
    return float(done.stdout)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", nargs="?", default="build")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=3)
    args = parser.parse_args()
    program = os.path.join(os.path.abspath(args.build), "bench/data_bench")
    if not os.access(program, os.X_OK):
        sys.exit(f"{program} is missing: ninja -C {args.build} bench/data_bench")
    print(machine())
    print(f"{'a second, median of ' + str(args.rounds):<34}{'ours':>10}{'plain loop':>12}{'ratio':>8}")
    for kind in ("commits", "events"):
        for parallel in PARALLEL:
            pairs = []
            for _ in range(args.rounds):
                folder = tempfile.mkdtemp(prefix="bench-", dir=args.build)
                try:
                    peer = plain(os.path.join(folder, "plain.db"), args.seconds)
                    pairs.append((ours(program, kind, os.path.join(folder, "ours.db"), args.seconds, parallel), peer))
                finally:
                    shutil.rmtree(folder)
            a, b = (statistics.median(p[i] for p in pairs) for i in (0, 1))
            ratio = statistics.median(x / y for x, y in pairs)
            print(f"{f'{kind}, {parallel} waiting':<34}{a:10.0f}{b:12.0f}{ratio:8.2f}")


if __name__ == "__main__":
    main()
