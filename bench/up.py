#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""How long the shop takes to start, and what it costs while it does nothing.

bench/up.py [BUILD] [--starts N] [--idle SECONDS]

Each start is from nothing (no databases) and then again over what it left. Prints the targets beside the figures and
asserts nothing. The idle shop holds no products.
"""

import argparse
import statistics
import time

from system import System, cpu_ns, machine, pss_bytes, wakeups

SETTLE_S = 5    # after the start, before idling is measured


def print_starts(name, seconds):
    print(f"{name:<28} median {statistics.median(seconds):6.2f} s   worst {max(seconds):6.2f} s   target <= 2 s")


def measure_starts(system, count):
    """Leaves the last one running."""
    fresh, again = [], []
    for i in range(count):
        if i > 0:
            system.down()
        fresh.append(system.up())
        system.run("down")
        again.append(system.up())
    print_starts(f"up, from nothing ({count})", fresh)
    print_starts(f"up, with databases ({count})", again)


def measure_idle(system, seconds):
    pids = {name: p["pid"] for name, p in system.processes().items()}
    time.sleep(SETTLE_S)
    before = {name: (cpu_ns(pid), wakeups(pid)) for name, pid in pids.items()}
    begun = time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - begun
    print(f"\nidle for {took:.0f} s\n{'process':<16}{'PSS MB':>8}{'CPU %':>9}{'wake-ups/s':>12}")
    total = [0.0, 0.0, 0.0]
    for name, pid in pids.items():
        row = (
            pss_bytes(pid) / 1e6,
            (cpu_ns(pid) - before[name][0]) / took / 1e7,
            (wakeups(pid) - before[name][1]) / took,
        )
        over = " <-- over" if row[1] >= 0.1 or row[2] > 5 else ""
        print(f"{name:<16}{row[0]:8.1f}{row[1]:9.3f}{row[2]:12.2f}{over}")
        total = [a + b for a, b in zip(total, row)]
    print(f"{'sum':<16}{total[0]:8.1f}{total[1]:9.3f}{total[2]:12.2f}")
    print(f"{'target':<16}{'<= 100':>8}{'< 0.1':>9}{'<= 5':>12}   (PSS: the sum; CPU and wake-ups: each process)")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", nargs="?", default="build")
    parser.add_argument("--starts", type=int, default=5)
    parser.add_argument("--idle", type=float, default=60.0)
    args = parser.parse_args()
    print(machine())
    with System(args.build) as system:
        measure_starts(system, args.starts)
        measure_idle(system, args.idle)


if __name__ == "__main__":
    main()
