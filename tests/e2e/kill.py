#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The kill test: SIGKILL, again and again, to every process of a shop whose customers search, fill carts, order, watch
their orders and cancel some; afterwards nothing may be lost, doubled or half done.

    tests/e2e/kill.py [--seconds 120] [--rate 40] [--seed N] [--invoices N] [--short] [--build FOLDER]

In between the next releases of orders are started, with another version of its projection beside the present one, then alone.

The plan of kills is made from the seed before anything starts. A kill while nothing was in flight, neither a request
nor a saga, does not count and is repeated.
"""

import collections
import datetime
import json
import math
import os
import random
import signal
import sys
import time

from projections import look
from releases import Releases
from shop import wait_for
from under_load import (
    BACK_S_MAX,
    PROCESSES,
    SHORT_INVOICES,
    Api,
    arguments,
    check_afterwards,
    damaged,
    end_replay,
    first,
    orders_in_file,
    stop_replay,
    test,
)

GAP_S = (0.5, 3.0)
BUNCH = 20  # customers come in bunches, so that there are moments with much under way
BUSY_REQUESTS = 5
BUSY_WAIT_S = 3
INTO_BUNCH_S = (0, 0.1)  # after the first sight of it: searches, carts, orders, sagas are hit in turn
SETTLE_S = 2
REPEATS_MAX = 3
RELEASES = 3  # at least, over the plan
RELEASE_S_MAX = 60


def make_plan(draw, seconds, singles, pairs):
    """[(pause before, targets)]: each process so often alone, so many pairs, more until the seconds are full."""
    kills = [[name] for name in PROCESSES for _ in range(singles)] + [draw.sample(PROCESSES, 2) for _ in range(pairs)]
    draw.shuffle(kills)
    plan = [(draw.uniform(*GAP_S), targets) for targets in kills]
    while sum(pause for pause, _ in plan) < seconds:
        plan.append((draw.uniform(*GAP_S), [draw.choice(PROCESSES)]))
    return plan


class Killer:
    def __init__(self, shop, replay, draw, releases):
        self.shop, self.replay, self.draw, self.releases = shop, replay, draw, releases
        self.begun = time.monotonic()
        self.kills = []  # (wall time in ms, targets)

    def wait_busy(self):
        """Best is a moment in which requests are under way."""
        deadline = time.monotonic() + BUSY_WAIT_S
        while time.monotonic() < deadline:
            status = self.shop.replay_status()
            if status and status["on_the_wire"] >= BUSY_REQUESTS:
                time.sleep(self.draw.uniform(*INTO_BUNCH_S))
                return
            time.sleep(0.002)

    def wait_alive(self, targets):
        """The pids; a target that an earlier kill took down may need a moment."""

        def look():
            pids = self.shop.pids()
            return all(t in pids for t in targets) and [pids[t] for t in targets]

        return wait_for(f"{targets} to live", look, BACK_S_MAX)

    def kill(self, targets):
        pids = self.wait_alive(targets)
        self.wait_busy()
        self.kills.append((time.time() * 1000, targets))
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # it fell with another one between look and kill
        print(f"  {time.monotonic() - self.begun:6.1f} s  {' + '.join(targets)}", flush=True)
        wait_for(f"the death of {pids}", lambda: not any(map(lives, pids)), BACK_S_MAX, 0.002)
        if "supervisor" in targets:
            self.shop.up()

    def release(self):
        """Two versions of orders at once: as an operator would, again until it is done."""
        self.wait_alive(["supervisor", "orders"])
        done = self.releases.next_version()
        wait_for(f"a release: {done}", lambda: done.returncode == 0 or self.shop.run("restart", "orders").returncode == 0, RELEASE_S_MAX, 1)
        print(f"  {time.monotonic() - self.begun:6.1f} s  orders is released with versions {self.releases.versions}", flush=True)

    def execute(self, plan):
        for number, (pause, targets) in enumerate(plan):
            if len(plan) > RELEASES and number % (len(plan) // RELEASES) == 1:
                self.release()
            time.sleep(pause)
            if self.replay.poll() is not None:
                raise AssertionError("the replay ended before the kills:\n" + self.shop.replay_report())
            self.kill(targets)

    def repeat(self):
        """Again those that hit the shop at rest."""
        judged = 0
        for _ in range(REPEATS_MAX):
            time.sleep(SETTLE_S)  # requests that the last kill hit are written down when they end
            flight = Flight(self.shop)
            at_rest = [targets for moment, targets in self.kills[judged:] if flight.at_rest(moment)]
            judged = len(self.kills)
            if not at_rest:
                return
            print(f"{len(at_rest)} kills were at rest and are repeated", flush=True)
            self.execute([(self.draw.uniform(*GAP_S), targets) for targets in at_rest])


def lives(pid):
    """SIGKILL takes effect a moment after kill() returns."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def milliseconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000


def span(begin, end):
    return milliseconds(begin), milliseconds(end) if end else math.inf


def requests_file(shop):
    return os.path.join(shop.folder, "requests.txt")


class Flight:
    """What was in flight at a moment: requests by the replay's own record of each try, sagas by the times in the
    orders' histories (a checkout from placed to its end, a cancellation from its 202), streams by the run file, which
    is there only once the replay has ended."""

    def __init__(self, shop):
        with open(requests_file(shop), encoding="ascii") as f:
            lines = [line.split() for line in f if line.endswith("\n")]
        self.requests = [(int(begin), int(end), kind) for begin, end, kind, _ in lines]
        orders = Api(shop.url, "Bearer " + shop.admin()).items("/api/v1/orders", limit=50)
        self.sagas = [
            span(o["history"][0]["at"], o["history"][1]["at"] if len(o["history"]) > 1 else None) for o in orders
        ]
        self.streams = []
        if os.path.exists(shop.run_file):
            self.add_run(shop, {o["id"]: o for o in orders})

    def add_run(self, shop, orders):
        with open(shop.run_file, encoding="utf-8") as f:
            jobs = [job for job in json.load(f)["orders"] if job["id"] in orders]
        for job in jobs:
            history, cancel = orders[job["id"]]["history"], job.get("cancel") or {}
            if cancel.get("status") == 202 and len(history) == 3:
                self.sagas.append(span(cancel["answered_at"], history[2]["at"]))
            if "stream" in job:
                self.streams.append(span(job["accepted_at"], job["stream"]["ended_at"]))

    def at(self, moment):
        """(requests by kind, sagas, event streams)"""
        requests = collections.Counter(kind for begin, end, kind in self.requests if begin <= moment < end)
        return requests, *(sum(begin <= moment < end for begin, end in spans) for spans in (self.sagas, self.streams))

    def at_rest(self, moment):
        requests, sagas, _ = self.at(moment)
        return not requests and sagas == 0


def report_kills(shop, killer):
    """What was in flight at each kill; returns the targets of those that count."""
    flight, counted = Flight(shop), []
    print("in flight at each kill: requests without an answer, sagas on their way, open event streams")
    for number, (moment, targets) in enumerate(killer.kills, 1):
        rest = flight.at_rest(moment)
        requests, sagas, streams = flight.at(moment)
        print(
            f"  {number:4} {' + '.join(targets):28} {requests.total():4} requests {sagas:4} sagas {streams:4} streams"
            f"  {dict(requests) if not rest else 'at rest: does not count'}"
        )
        if not rest:
            counted.append(targets)
    return counted


def check_files(shop, checks):
    down = shop.down()
    checks.check("ficus down", down.returncode == 0, down.stdout + down.stderr)
    bad, count = damaged(shop.state)
    checks.check(f"PRAGMA integrity_check of {count} databases", not bad and count >= 10, str(bad))


def run(shop, args, checks):
    singles, pairs, seconds = (1, 2, 0) if args.short else (5, 10, args.seconds)
    draw = random.Random(args.seed)
    plan = make_plan(draw, seconds, singles, pairs)
    length_s = sum(pause for pause, _ in plan) * 1.5 + 30
    loops = math.ceil(length_s * args.rate / orders_in_file(shop, args.invoices)) + 1
    releases = Releases(shop)
    shop.up()
    print(f"seed {args.seed}: {len(plan)} kills planned; registering users", flush=True)
    replay = shop.replay(
        "--rate",
        str(args.rate),
        "--bunch",
        str(BUNCH),
        "--loops",
        str(loops),
        "--seed",
        str(args.seed),
        "--requests",
        requests_file(shop),
        *first(args.invoices),
    )
    try:
        shop.wait_orders(replay)
        killer = Killer(shop, replay, draw, releases)
        killer.execute(plan)
        killer.repeat()
        print(f"{len(killer.kills)} kills in {time.monotonic() - killer.begun:.0f} s", flush=True)
        code = stop_replay(shop, replay)
    finally:
        end_replay(replay)
    print(shop.replay_report(), flush=True)
    check_afterwards(shop, checks, code)
    counted = report_kills(shop, killer)
    times = {t: sum(t in targets for targets in counted) for t in PROCESSES}
    both = sum(len(targets) == 2 for targets in counted)
    checks.check(
        f"each at least {singles} times: {times}; two at once at least {pairs} times: {both}",
        min(times.values()) >= singles and both >= pairs,
    )
    check_files(shop, checks)
    wanted, listed, state, _, _ = look(os.path.join(shop.state, "data/orders.db"))
    checks.check(f"orders' list is what its {len(wanted)} streams add up to, in version {releases.versions[-1]}",
                 listed == wanted and state == [(releases.versions[-1], 0)], f"{state}")


def main():
    build, args = arguments(
        __doc__,
        f"each process once, {SHORT_INVOICES} invoices",
        lambda parser: parser.add_argument("--seconds", type=float, default=120),
    )
    return test("kill", build, args, run)


if __name__ == "__main__":
    sys.exit(main())
