#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Without the hub nothing that needs no hub fails: orders are taken and wait, and all is finished when it is back.

    tests/e2e/hub_dead.py [--rate 40] [--seed N] [--invoices N] [--short] [--build FOLDER]

The hub is stopped (SIGSTOP) for half of the time, then killed while it stands, and its successors are stopped at once
for the other half.
"""

import argparse
import collections
import math
import os
import signal
import subprocess
import sys
import threading
import time

from kill import Api, SHORT_INVOICES, Checks, check_afterwards, first, orders_in_file, stop_replay
from shop import GOOD, Shop, build_folder, wait_for


class Prober(threading.Thread):
    """Requests that need no hub, several a second; remembers all that did not go well."""

    def __init__(self, shop, token):
        super().__init__(daemon=True)
        self.shop, self.token = shop, token
        self.count = collections.Counter()
        self.failures = []
        self.ending = threading.Event()

    def probe(self, name, method, path, wanted, **more):
        try:
            status = self.shop.request(method, path, seconds=20, **more).status
        except OSError as e:
            status = repr(e)
        self.count[name] += 1
        if status != wanted:
            self.failures.append((time.strftime("%H:%M:%S"), name, status))

    def run(self):
        order = {"items": [{"product_id": "22423", "quantity": 1}], "payment": {"card_number": GOOD}}
        while not self.ending.wait(0.2):
            self.probe("products", "GET", "/api/v1/products?limit=3", 200)
            self.probe("me", "GET", "/api/v1/users/me", 200, token=self.token)
            self.probe("orders", "GET", "/api/v1/orders?limit=3", 200, token=self.token)
            self.probe("notifications", "GET", "/api/v1/notifications", 200, token=self.token)
            self.probe("health", "GET", "/health", 200)
            self.probe("order", "POST", "/api/v1/orders", 202, token=self.token, body=order, key=os.urandom(8).hex())

    def end(self):
        self.ending.set()
        self.join(60)


def keep_stopped(shop, seconds, first):
    """Whatever hub the supervisor starts is stopped as soon as it is seen. Returns the pids."""
    stopped = [first]
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        pid = shop.pids().get("hub")
        if pid and pid not in stopped:
            try:
                os.kill(pid, signal.SIGSTOP)
                stopped.append(pid)
            except ProcessLookupError:
                pass
        time.sleep(0.05)
    return stopped


def hold_hub_dead(shop, seconds):
    hub = shop.pids()["hub"]
    os.kill(hub, signal.SIGSTOP)
    time.sleep(seconds / 2)
    os.kill(hub, signal.SIGKILL)
    stopped = keep_stopped(shop, seconds / 2, hub)
    for pid in stopped[1:]:
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass
    return len(stopped) - 1


def pending(shop, admin):
    """All that wait, newest first."""
    return Api(shop.url, "Bearer " + admin).items("/api/v1/orders?status=pending", limit=50)


def final(shop, admin, ids):
    """The newest come last; when they are through, look at all."""
    return all(shop.request("GET", "/api/v1/orders/" + i, token=admin).json["status"] != "pending" for i in ids)


def run(shop, args, checks):
    dead_s, after_s = (6, 10) if args.short else (30, 60)
    shop.up()
    admin, token = shop.admin(), shop.user("prober@example.org")
    print("registering users", flush=True)
    loops = math.ceil((dead_s + after_s) * 1.5 * args.rate / orders_in_file(shop, args.invoices)) + 1
    replay = shop.replay(
        "--rate", str(args.rate), "--loops", str(loops), "--seed", str(args.seed), *first(args.invoices)
    )
    prober = Prober(shop, token)
    try:
        shop.wait_orders(replay, 20)
        prober.start()
        time.sleep(3)
        checks.check("nothing fails before", not prober.failures, str(prober.failures[:10]))
        before = shop.replay_status()
        supervisor = shop.pids()["supervisor"]
        prober.failures.clear()
        begun = time.monotonic()
        successors = hold_hub_dead(shop, dead_s)
        print(
            f"the hub was dead for {time.monotonic() - begun:.1f} s; {successors} successor(s) were held as well; "
            f"probes so far {dict(prober.count)}",
            flush=True,
        )
        after = shop.replay_status()
        checks.check(
            f"no request failed meanwhile ({after['accepted'] - before['accepted']} orders got their 202)",
            not prober.failures
            and after["failed"] == 0
            and after["accepted"] - before["accepted"] > 0.8 * args.rate * dead_s,
            f"{prober.failures[:10]} {before} {after}",
        )
        waiting = [o["id"] for o in pending(shop, admin)]
        begun = time.monotonic()
        wait_for("the orders that waited", lambda: final(shop, admin, waiting), 60)
        checks.check(
            f"{len(waiting)} orders that waited are final {time.monotonic() - begun:.1f} s after the hub's return",
            len(waiting) > 0,
        )
        time.sleep(after_s)
        checks.check(
            f"nothing failed in the {after_s} s after",
            not prober.failures and shop.replay_status()["failed"] == 0,
            str(prober.failures[:10]),
        )
        checks.check("the supervisor did not mind", shop.pids()["supervisor"] == supervisor)
        prober.end()
        code = stop_replay(shop, replay)
    finally:
        prober.ending.set()
        if replay.poll() is None:
            replay.kill()
            replay.wait()
    print(shop.replay_report(), flush=True)
    check_afterwards(shop, checks, code)


def arguments():
    build, rest = build_folder(sys.argv[1:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=40)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--invoices", type=int, default=0, help="only the first so many: fewer users to register")
    parser.add_argument("--short", action="store_true", help="6 s instead of 30, 130 invoices")
    args = parser.parse_args(rest)
    args.invoices = args.invoices or (SHORT_INVOICES if args.short else 0)
    return build, args


def main():
    build, args = arguments()
    shop, checks = Shop(build, "hub-dead"), Checks()
    try:
        run(shop, args, checks)
    except (AssertionError, OSError, subprocess.SubprocessError) as e:
        checks.check("the test itself", False, f"{type(e).__name__}: {e}")
    finally:
        shop.end()
    print(f"{checks.passed} passed, {checks.failed} failed")
    return 0 if checks.failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
