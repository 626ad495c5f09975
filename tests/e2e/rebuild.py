#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The search's store is built anew from the log while people search: no search fails, the answers stay the same, and a
kill in the middle leaves the old one.

    tests/e2e/rebuild.py [--build FOLDER]
"""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.parse

from checks import run_checked
from shop import DATA, Shop, build_folder, wait_for

QUERIES = ("white", "heart t-light", "85123", "22423", "regency cakestand", "mug red spot", "zzz nothing has this", "set of")


def search(shop, q, limit=100):
    return shop.request("GET", f"/api/v1/search?limit={limit}&q={urllib.parse.quote(q)}", seconds=20)


def answers(shop):
    """None while search has no time for one of them: it may be behind with what was just loaded."""
    given = [search(shop, q) for q in QUERIES]
    return [a.json for a in given] if all(a.status == 200 for a in given) else None


def settled(shop):
    """The answers, when all that was loaded has come through: each product's stock was set after it was made, in order."""
    now = answers(shop)
    if now is None:
        return None
    unknown = [i["sku"] for a in now for i in a["items"] if i["available"] is None]
    return not unknown and not last_unknown(shop) and now


def last_unknown(shop):
    """Of the products of the catalogue's last page."""
    page = shop.request("GET", "/api/v1/products?limit=100").json
    while page["next"]:
        page = shop.request("GET", "/api/v1/products?limit=100&after=" + page["next"]).json
    found = {p["sku"]: search(shop, p["sku"], 1) for p in page["items"]}
    return [sku for sku, a in found.items() if a.status != 200 or a.json["items"][0]["available"] is None]


class Searcher(threading.Thread):
    """Searches all the time on connections of its own; remembers what did not go well."""

    def __init__(self, shop, wanted):
        super().__init__(daemon=True)
        self.shop, self.wanted = shop, wanted
        self.count, self.failures = 0, []
        self.ending = threading.Event()

    def run(self):
        while not self.ending.is_set():
            i = self.count % len(QUERIES)
            try:
                answer = search(self.shop, QUERIES[i])
                if answer.status != 200 or answer.json != self.wanted[i]:
                    self.failures.append((QUERIES[i], answer))
            except OSError as e:
                self.failures.append((QUERIES[i], repr(e)))
            self.count += 1

    def end(self):
        self.ending.set()
        self.join(60)


def load(shop):
    done = subprocess.run(
        [os.path.join(shop.build, "shop/replay/shop-replay"), "--load-only", "--quiet", "--url", shop.url, "--admin",
         os.path.join(shop.state, "admin.json"), "--file", DATA],
        capture_output=True, text=True, check=False,
    )
    if done.returncode != 0:
        raise AssertionError(done.stdout + done.stderr)


def all_searchable(shop):
    """Every product that the catalogue lists is found by its sku, with what inventory said of it."""
    count, path = 0, "/api/v1/products?limit=100"
    sample = None
    while path:
        page = shop.request("GET", path).json
        count += len(page["items"])
        sample = page["items"][-1] if page["items"] else sample
        path = page["next"] and "/api/v1/products?limit=100&after=" + page["next"]
    hit = search(shop, sample["sku"], 1).json
    return sample is not None and hit["items"][:1] == [sample] and count


def stores(shop):
    return sorted(name for name in os.listdir(os.path.join(shop.state, "data")) if re.fullmatch(r"search.*\.db", name))


def log_events(shop, event):
    lines = shop.run("logs", "search", "--json").stdout.splitlines()
    return [line for line in map(json.loads, lines) if line.get("event") == event]


def check_rebuild(shop, checks, wanted):
    searcher = Searcher(shop, wanted)
    searcher.start()
    done = shop.run("events", "rebuild", "search", "--wait", "90s", seconds=120)
    time.sleep(0.5)
    searcher.end()
    checks.check("a rebuild ends well", done.returncode == 0, f"{done.returncode} {done.stdout}{done.stderr}")
    checks.check(
        f"none of {searcher.count} searches meanwhile failed or found anything else", searcher.count > 5 and not searcher.failures,
        str(searcher.failures[:5]),
    )
    checks.check("the answers are the same afterwards", answers(shop) == wanted)
    wait_for("the old store to go", lambda: stores(shop) == ["search.2.db"], 40)
    checks.check("the log tells of it", len(log_events(shop, "rebuild.started")) == 1 and len(log_events(shop, "rebuild.done")) == 1)


def check_kill(shop, checks, wanted):
    """The process dies while it rebuilds: its successor serves the old store and removes the unfinished one."""
    pid = shop.pids()["search"]
    watcher = subprocess.Popen(
        [shop.ficus, "events", "rebuild", "search", "--wait", "60s", "-f", shop.manifest],
        env=shop.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    wait_for("the new store", lambda: "search.3.db" in stores(shop), 20, 0.002)
    os.kill(pid, signal.SIGKILL)
    said = watcher.communicate(timeout=60)[0]
    wait_for("another process", lambda: shop.pids().get("search") not in (None, pid), 20)
    wait_for("searches", lambda: search(shop, "white").status == 200, 20)
    checks.check("whoever watched is told", watcher.returncode != 0, said)
    checks.check("after a kill in the middle the answers are the same", answers(shop) == wanted, said)
    checks.check("the unfinished store is gone", stores(shop) == ["search.2.db"], str(stores(shop)))
    checks.check("the log says that it was given up", len(log_events(shop, "rebuild.failed")) == 1)
    done = shop.run("events", "rebuild", "search", "--wait", "90s", seconds=120)
    checks.check("a rebuild after that works", done.returncode == 0, done.stdout + done.stderr)
    checks.check("and the answers are the same", answers(shop) == wanted)


def check_missing(shop, checks, wanted):
    """The file is gone: a read model is filled from the log again, and the log says why. What is asked of a stopped
    service is not done when it starts again."""
    begun = len(log_events(shop, "rebuild.started"))
    stopped = shop.run("stop", "search")
    wait_for("search to stop", lambda: "search" not in shop.pids(), 30)
    done = shop.run("events", "rebuild", "search")
    checks.check("a rebuild of a stopped service is refused", done.returncode == 1 and "nothing was begun" in done.stderr, repr(done))
    for name in stores(shop):
        os.remove(os.path.join(shop.state, "data", name))
    started = shop.run("start", "search")
    try:
        wait_for("the same answers", lambda: answers(shop) == wanted, 60)
    except AssertionError as e:
        checks.check("a store that is gone is filled again", False, f"{e} {stopped} {started}")
        return
    checks.check("a store that is gone is filled again", len(log_events(shop, "store.missing")) == 1)
    checks.check("and nothing is rebuilt that nobody waits for", len(log_events(shop, "rebuild.started")) == begun)


def check_refusals(shop, checks):
    done = shop.run("events", "rebuild", "cart")
    checks.check("a store that is no read model is not rebuilt", done.returncode == 1 and "rebuildable" in done.stderr, repr(done))
    done = shop.run("events", "rebuild", "nobody")
    checks.check("an unknown service is said", done.returncode == 1 and "nobody" in done.stderr, repr(done))
    done = shop.run("events", "rebuild", "hub")
    checks.check("what is no service is said", done.returncode == 1 and "is no service" in done.stderr, repr(done))
    checks.check("clients do not get there", shop.request("GET", "/ficus/rebuild").status == 404)


def check_news(shop, checks, admin):
    """A new product is found within 5 s, also by the store that was rebuilt."""
    shop.request("PUT", "/api/v1/products/NEW-1", {"name": "Brand new thing", "price": {"amount": 5, "currency": "GBP"}}, token=admin)
    begun = time.monotonic()
    wait_for("the new product", lambda: search(shop, "brand new th").json["total"] == 1, 10)
    checks.check(f"a new product is found ({time.monotonic() - begun:.2f} s)", time.monotonic() - begun < 5)


def run(shop, checks):
    shop.up()
    load(shop)
    count = wait_for("all products to be found", lambda: all_searchable(shop), 60)
    wanted = wait_for("all stock to be known", lambda: settled(shop), 60)
    print(f"{count} products, {[a['total'] for a in wanted]} found", flush=True)
    check_refusals(shop, checks)
    check_rebuild(shop, checks, wanted)
    check_kill(shop, checks, wanted)
    check_missing(shop, checks, wanted)
    check_news(shop, checks, shop.admin())


def main():
    build, _ = build_folder(sys.argv[1:])
    return run_checked(Shop(build, "rebuild"), run)


if __name__ == "__main__":
    sys.exit(main())
