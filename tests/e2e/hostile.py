#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The hostile set: hundreds of requests that no honest client sends, each with the answer that the RFC or the contract
(shop-api.md) asks for. They are the tables in tests/e2e/hostile/, one line each.

Then: the open descriptors of every process are as many as before, the gateway's memory is within MEMORY_MARGIN_KB of
before, and every process is still the one that it was. The median of a normal request before and after is printed and
not judged.

tests/e2e/hostile.py [--build FOLDER] [--only TEXT]

--only: the rows whose name contains TEXT.
"""

import concurrent.futures
import os
import signal
import statistics
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "hostile"))

import access
import bodies
import messages
import paths
import slow
import tokens
import wire
from given import Given
from shop import Shop, build_folder, wait_for

TABLES = (messages, paths, bodies, tokens, access)
MEMORY_MARGIN_KB = 6 * 1024
SETTLE_S = 70  # the longest that an idle connection between processes is kept is 60 s


def descriptors(pids):
    return {name: len(os.listdir(f"/proc/{pid}/fd")) for name, pid in pids.items()}


def memory_kb(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        return {line.split(":")[0]: int(line.split()[1]) for line in f if line.startswith(("Pss:", "Rss:"))}


def is_sanitized(shop):
    with open(shop.ficus, "rb") as f:
        program = f.read()
    return b"__asan_init" in program or b"__tsan_init" in program


def median_ms(g, count=200):
    times = []
    for _ in range(count):
        begin = time.perf_counter()
        answer = g.shop.request("GET", "/api/v1/products/S1")
        times.append((time.perf_counter() - begin) * 1000)
        wire.check(answer.status == 200, f"a normal request: {answer}")
    return statistics.median(times)


class Set:
    def __init__(self, g):
        self.g, self.passed, self.failed = g, 0, 0

    def note(self, name, why, wrong):
        if wrong is None:
            self.passed += 1
        else:
            self.failed += 1
            print(f"FAILED {name} ({why}): {wrong}", flush=True)

    def judge(self, name, why, function, *args):
        try:
            function(*args)
            self.note(name, why, None)
        except (AssertionError, OSError, ValueError) as e:
            self.note(name, why, f"{type(e).__name__}: {e}")

    def rows(self, only):
        for table in TABLES:
            for row in table.rows(self.g):
                if only in row.name:
                    self.judge(row.name, row.why, wire.run, row, self.g.port)

    def settled(self, before):
        """Until no process has more descriptors than before."""
        more = {}

        def look():
            now = descriptors(self.g.shop.pids())
            more.clear()
            more.update(
                {name: f"{n} instead of {before.get(name)}" for name, n in now.items() if n > before.get(name, 0)}
            )
            return not more

        try:
            wait_for("the descriptors", look, SETTLE_S, 0.5)
        except AssertionError:
            raise AssertionError(f"more open descriptors than before: {more}") from None

    def memory(self, pid, before):
        def look():
            return memory_kb(pid)["Pss"] <= before["Pss"] + MEMORY_MARGIN_KB

        try:
            wait_for("the memory", look, SETTLE_S, 0.5)
        except AssertionError:
            raise AssertionError(f"the gateway has {memory_kb(pid)} KB, before {before}") from None


WARM_PATHS = (
    "products?limit=100",
    "orders",
    "notifications",
    "cart",
    "search?q=a",
    "payments",
    "bank/ledger",
    "stock/S1",
)


def warm_up(g):
    """Every process has seen what it sees in the set, so that what is opened once, or kept for a while as connections
    between processes are, counts as before."""
    with concurrent.futures.ThreadPoolExecutor(24) as crowd:
        for path in WARM_PATHS:
            list(crowd.map(lambda _, path=path: g.shop.request("GET", "/api/v1/" + path, token=g.admin), range(48)))
        orders = list(crowd.map(lambda _: g.shop.order(g.alice, {"S1": 1}).json["id"], range(48)))
    for order_id in orders:
        g.shop.ended(g.alice, order_id)


def run(shop, only):
    shop.up()
    g = Given(shop)
    warm_up(g)
    s = Set(g)
    pids = shop.pids()
    files, memory, median = descriptors(pids), memory_kb(pids["gateway"]), median_ms(g)
    background = slow.Background(g, [case for case in slow.CASES if only in case.__name__])
    s.rows(only)
    for name, why, case in (
        ("flood", "RFC 9112 9.5", slow.flood),
        ("streams of one user", "contract", slow.streams_of_one),
    ):
        if only in name:
            s.judge(name, why, case, g)
    for result in background.join():
        s.note(*result)
    s.judge("open descriptors", "as before", s.settled, files)
    if is_sanitized(shop):
        print("the memory is not judged: a sanitizer keeps what is freed")
    else:
        s.judge("memory of the gateway", "as before", s.memory, pids["gateway"], memory)
    s.judge("processes", "none ended", lambda: wire.check(shop.pids() == pids, f"{shop.pids()} instead of {pids}"))
    print(f"gateway: {memory} KB before, {memory_kb(pids['gateway'])} after; {files['gateway']} descriptors")
    print(f"a normal request: {median:.2f} ms before, {median_ms(g):.2f} ms after (median)")
    return s


def main():
    build, rest = build_folder(sys.argv[1:])
    only = rest[rest.index("--only") + 1] if "--only" in rest else ""
    shop = Shop(build, "hostile")
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    passed, failed = 0, 1
    try:
        s = run(shop, only)
        passed, failed = s.passed, s.failed
    except AssertionError as e:
        print(f"FAILED the test itself: {e}")
    finally:
        shop.end()
    print(f"{passed} passed, {failed} failed")
    return 0 if failed == 0 and passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
