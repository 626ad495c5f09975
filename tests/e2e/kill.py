#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The kill test: SIGKILL, again and again, to every process of a shop that is taking orders; afterwards nothing may be
lost, doubled or half done.

    tests/e2e/kill.py [--seconds 120] [--rate 40] [--seed N] [--invoices N] [--short] [--build FOLDER]

The plan of kills is made from the seed before anything starts. A kill while nothing is in flight does not count, so
there are a few more in it than must count.
"""

import argparse
import datetime
import glob
import json
import math
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time

from shop import DATA, ROOT, Shop, build_folder, wait_for

sys.path.insert(0, os.path.join(ROOT, "shop/replay"))
from api import Api  # noqa: E402

TARGETS = [
    "supervisor",
    "hub",
    "gateway",
    "identity",
    "catalog",
    "inventory",
    "payments",
    "orders",
    "notifications",
    "bank",
]
GAP_S = (0.5, 3.0)
BUSY_WAIT_S = 3
BACK_S_MAX = 30
SPARE = 1
SHORT_INVOICES = 130


def make_plan(seed, seconds, singles, pairs):
    """[(pause before, targets)]: each target so often alone, so many pairs, more until the seconds are full."""
    draw = random.Random(seed)
    kills = [[target] for target in TARGETS for _ in range(singles)] + [draw.sample(TARGETS, 2) for _ in range(pairs)]
    draw.shuffle(kills)
    plan = [(draw.uniform(*GAP_S), targets) for targets in kills]
    while sum(pause for pause, _ in plan) < seconds:
        plan.append((draw.uniform(*GAP_S), [draw.choice(TARGETS)]))
    return plan


class Killer:
    def __init__(self, shop, replay):
        self.shop, self.replay = shop, replay
        self.begun = time.monotonic()
        self.kills = []  # (wall time in ms, targets)

    def something_under_way(self):
        status = self.shop.replay_status() or {"open": 0}
        if status["open"] > 0:
            return True
        done = self.shop.run("saga", "list", "--state", "running", "--json")
        return done.returncode == 0 and bool(json.loads(done.stdout)["sagas"])

    def wait_busy(self):
        """Best is a moment in which something is under way."""
        deadline = time.monotonic() + BUSY_WAIT_S
        while not self.something_under_way() and time.monotonic() < deadline:
            time.sleep(0.01)

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

    def execute(self, plan):
        for pause, targets in plan:
            time.sleep(pause)
            if self.replay.poll() is not None:
                raise AssertionError("the replay ended before the kills:\n" + self.shop.replay_report())
            self.kill(targets)


def lives(pid):
    """SIGKILL takes effect a moment after kill() returns."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            return f.read().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


def milliseconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000


class Flight:
    """Afterwards, from what clients and shop wrote down: what was in flight at a moment."""

    def __init__(self, shop):
        with open(shop.run_file, encoding="utf-8") as f:
            jobs = [job for job in json.load(f)["orders"] if job["sent_at"]]
        self.requests = [(job["sent_at"], job["accepted_at"]) for job in jobs]
        self.requests += [(j["cancel"]["asked_at"], j["cancel"]["answered_at"]) for j in jobs if j.get("cancel")]
        api = Api(shop.url, "Bearer " + shop.admin())
        orders = api.items("/api/v1/orders", limit=50)
        self.sagas = [(o["history"][0]["at"], o["history"][-1]["at"]) for o in orders]
        self.requests, self.sagas = map(self.spans, (self.requests, self.sagas))

    @staticmethod
    def spans(pairs):
        return [(milliseconds(begin), milliseconds(end) if end else math.inf) for begin, end in pairs]

    def at(self, moment):
        """(requests without a final answer, orders without a final status)"""
        return tuple(sum(begin <= moment < end for begin, end in spans) for spans in (self.requests, self.sagas))


def report_kills(shop, killer):
    """What was in flight at each kill; returns the targets of those that count."""
    flight, counted = Flight(shop), []
    print("in flight at each kill: requests without an answer, orders on their way between 202 and their end")
    for number, (moment, targets) in enumerate(killer.kills, 1):
        requests, orders = flight.at(moment)
        rest = requests == 0 and orders == 0
        print(
            f"  {number:4} {' + '.join(targets):28} {requests:4} requests {orders:4} orders{'  at rest: does not count' * rest}"
        )
        if not rest:
            counted.append(targets)
    return counted


class Checks:
    def __init__(self):
        self.passed = self.failed = 0

    def check(self, what, ok, detail=""):
        print(f"{'ok    ' if ok else 'FAILED'} {what}{'' if ok else ': ' + detail}", flush=True)
        if ok:
            self.passed += 1
        else:
            self.failed += 1


def damaged(folder):
    """Files that SQLite finds fault with, and how many it looked at."""
    files = sorted(glob.glob(os.path.join(folder, "**", "*.db"), recursive=True))
    bad = []
    for path in files:
        connection = sqlite3.connect(path)
        said = connection.execute("PRAGMA integrity_check").fetchall()
        connection.close()
        if said != [("ok",)]:
            bad.append((path, said[:3]))
    return bad, len(files)


def first(invoices):
    return ["--invoices", str(invoices)] if invoices else []


def orders_in_file(shop, invoices):
    command = [os.path.join(shop.build, "shop/replay/shop-replay"), "--plan", "--file", DATA, *first(invoices)]
    return len(json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["orders"])


def stop_replay(shop, replay):
    """No new orders; the ones under way are repeated until they are answered."""
    replay.send_signal(signal.SIGTERM)
    try:
        return replay.wait(timeout=180)
    except subprocess.TimeoutExpired:
        replay.kill()
        return replay.wait()


def check_afterwards(shop, checks, replay_code):
    checks.check("every request was answered in the end", replay_code == 0, shop.replay_report()[-2000:])
    wait_for("all processes after the last kill", lambda: len(shop.pids()) == len(TARGETS), BACK_S_MAX)
    code, report = shop.reconcile(60)
    print(report, flush=True)
    checks.check(
        "quiet within 60 s, 0 differences, 0 breaches (a good card with stock, not cancelled, is confirmed)",
        code == 0,
        "see the reconciliation",
    )
    for what, command in (("no stuck saga", ("saga", "list", "--stuck")), ("no dead letter", ("events", "dead"))):
        done = shop.run(*command, "--json")
        checks.check(what, done.returncode == 0 and '"id"' not in done.stdout, (done.stdout + done.stderr)[:1000])


def check_files(shop, checks):
    down = shop.down()
    checks.check("ficus down", down.returncode == 0, down.stdout + down.stderr)
    bad, count = damaged(shop.state)
    checks.check(f"PRAGMA integrity_check of {count} databases", not bad and count >= 8, str(bad))


def run(shop, args, checks):
    singles, pairs, seconds = (1, 2, 0) if args.short else (5, 10, args.seconds)
    plan = make_plan(args.seed, seconds, singles + SPARE, pairs + 2 * SPARE)
    length_s = sum(pause for pause, _ in plan) * 1.3 + 10
    loops = math.ceil(length_s * args.rate / orders_in_file(shop, args.invoices)) + 1
    shop.up()
    print(f"seed {args.seed}: {len(plan)} kills planned; registering users", flush=True)
    replay = shop.replay(
        "--rate", str(args.rate), "--loops", str(loops), "--seed", str(args.seed), *first(args.invoices)
    )
    try:
        shop.wait_orders(replay)
        killer = Killer(shop, replay)
        killer.execute(plan)
        print(f"{len(killer.kills)} kills in {time.monotonic() - killer.begun:.0f} s", flush=True)
        code = stop_replay(shop, replay)
    finally:
        if replay.poll() is None:
            replay.kill()
            replay.wait()
    print(shop.replay_report(), flush=True)
    check_afterwards(shop, checks, code)
    counted = report_kills(shop, killer)
    times = {t: sum(t in targets for targets in counted) for t in TARGETS}
    both = sum(len(targets) == 2 for targets in counted)
    checks.check(
        f"each at least {singles} times: {times}; two at once at least {pairs} times: {both}",
        min(times.values()) >= singles and both >= pairs,
    )
    check_files(shop, checks)


def arguments():
    build, rest = build_folder(sys.argv[1:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--rate", type=float, default=40)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--invoices", type=int, default=0, help="only the first so many: fewer users to register")
    parser.add_argument("--short", action="store_true", help="each process once, 130 invoices")
    args = parser.parse_args(rest)
    args.invoices = args.invoices or (SHORT_INVOICES if args.short else 0)
    return build, args


def main():
    build, args = arguments()
    shop, checks = Shop(build, "kill"), Checks()
    try:
        run(shop, args, checks)
    except (AssertionError, OSError, subprocess.SubprocessError) as e:
        checks.check("the test itself", False, f"{type(e).__name__}: {e}")
    finally:
        shop.end()
    print(f"{checks.passed} passed, {checks.failed} failed (seed {args.seed})")
    return 0 if checks.failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
