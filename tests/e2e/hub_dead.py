#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Without the hub nothing that needs no hub fails: products are found, carts filled, orders taken; they wait, their
event streams stay open, and all is finished and told when it is back.

    tests/e2e/hub_dead.py [--rate 40] [--seed N] [--invoices N] [--short] [--build FOLDER]

The hub is stopped (SIGSTOP) for half of the time, then killed while it stands, and its successors are stopped at once
for the other half.
"""

import collections
import math
import os
import signal
import sys
import threading
import time

from shop import GOOD, wait_for
from under_load import (
    SHORT_INVOICES,
    Api,
    arguments,
    check_afterwards,
    end_replay,
    first,
    orders_in_file,
    stop_replay,
    test,
)


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
        items = [{"product_id": "22423", "quantity": 1}]
        order = {"items": items, "payment": {"card_number": GOOD}}
        while not self.ending.wait(0.2):
            self.probe("products", "GET", "/api/v1/products?limit=3", 200)
            self.probe("me", "GET", "/api/v1/users/me", 200, token=self.token)
            self.probe("orders", "GET", "/api/v1/orders?limit=3", 200, token=self.token)
            self.probe("notifications", "GET", "/api/v1/notifications", 200, token=self.token)
            self.probe("search", "GET", "/api/v1/search?q=cakestand", 200)
            self.probe("cart put", "PUT", "/api/v1/cart", 200, token=self.token, body={"items": items})
            self.probe("cart", "GET", "/api/v1/cart", 200, token=self.token)
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


def troubles(before, now):
    """What went wrong in the replay between two looks at its status."""
    names = ("failed", "errands_failed", "wrong", "streams_broken")
    return {name: now[name] - before[name] for name in names if now[name] != before[name]}


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
        checks.check(
            f"{after['streams']} event streams are open, none broke, nothing that was read was wrong",
            after["streams"] > 0.8 * args.rate * dead_s and not troubles(before, after),
            f"{before} {after}",
        )
        waiting = [o["id"] for o in pending(shop, admin)]
        begun = time.monotonic()
        wait_for("the orders that waited", lambda: final(shop, admin, waiting), 60)
        checks.check(
            f"{len(waiting)} orders that waited are final {time.monotonic() - begun:.1f} s after the hub's return",
            len(waiting) > 0,
        )
        begun = time.monotonic()
        told = after["streams_ended"] + after["streams"]
        wait_for("the streams that waited", lambda: shop.replay_status()["streams_ended"] >= told, 60)
        checks.check(
            f"as many streams as were open have told their final status {time.monotonic() - begun:.1f} s later, "
            "none broken",
            not troubles(before, shop.replay_status()),
            f"{before} {shop.replay_status()}",
        )
        time.sleep(after_s)
        checks.check(
            f"nothing failed in the {after_s} s after",
            not prober.failures and not troubles(before, shop.replay_status()),
            f"{prober.failures[:10]} {before} {shop.replay_status()}",
        )
        checks.check("the supervisor did not mind", shop.pids()["supervisor"] == supervisor)
        prober.end()
        code = stop_replay(shop, replay)
    finally:
        prober.ending.set()
        end_replay(replay)
    print(shop.replay_report(), flush=True)
    check_afterwards(shop, checks, code)


def main():
    build, args = arguments(__doc__, f"6 s instead of 30, {SHORT_INVOICES} invoices")
    return test("hub-dead", build, args, run)


if __name__ == "__main__":
    sys.exit(main())
