#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""ficus events verify: the orders of a running shop, of one whose orders are stopped, and of one that is down are as they were stored; and whatever
is done to them is found and named, running or not.

    tests/e2e/verify.py [--build FOLDER]
"""

import json
import os
import re
import shutil
import sqlite3
import sys

from checks import run_checked
from shop import Shop, build_folder, wait_for

SHIFT = "UPDATE ficus_store SET position = -position WHERE position >= 4; UPDATE ficus_store SET position = 1 - position WHERE position < 0;"
INSERT = "INSERT INTO ficus_store SELECT 4, 'order-forged', 1, type, schema, time, data, metadata, randomblob(32) FROM ficus_store WHERE position = 1"
SWAP = "UPDATE ficus_store SET position = -1 WHERE position = 3; UPDATE ficus_store SET position = 3 WHERE position = 5; UPDATE ficus_store SET position = 5 WHERE position = -1"
CUT = ("DELETE FROM ficus_store WHERE position = (SELECT max(position) FROM ficus_store);"
       "UPDATE ficus_store_head SET position = position - 1, hash = (SELECT hash FROM ficus_store ORDER BY position DESC LIMIT 1)")
# What somebody does to the file, and the faults that have to be named: kind and position.
TAMPERINGS = {
    "data": ("UPDATE ficus_store SET data = replace(data, 'by_', 'By_') WHERE position = (SELECT min(position) FROM ficus_store WHERE type = 'cancel_asked')", "changed"),
    "time": ("UPDATE ficus_store SET time = time - 1 WHERE position = 3", [("changed", 3)]),
    "type": ("UPDATE ficus_store SET type = 'Placed' WHERE position = 1", [("changed", 1)]),
    "metadata": ("UPDATE ficus_store SET metadata = replace(metadata, 'gateway', 'gatewax') WHERE position = 1", [("changed", 1)]),
    "hash": ("UPDATE ficus_store SET hash = randomblob(32) WHERE position = 4", [("changed", 4)]),
    "a row deleted": ("DELETE FROM ficus_store WHERE position = 4", [("missing", 4)]),
    "two exchanged": (SWAP, [("reordered", 3), ("reordered", 5)]),
    "one inserted": (SHIFT + INSERT, [("inserted", 4)]),
    "the tail cut off": ("DELETE FROM ficus_store WHERE position > 4", [("truncated", 5)]),
}


def verify(shop, *args):
    """(exit code, the document)"""
    done = shop.run("events", "verify", "--json", *args)
    try:
        return done.returncode, json.loads(done.stdout)
    except ValueError:
        return done.returncode, {"said": done.stdout + done.stderr}


def orders_of(document):
    return next((s for s in document.get("services", []) if s["service"] == "orders"), {})


class Tampering:
    """The file of a shop that is down; each change is undone."""

    def __init__(self, shop):
        self.file = os.path.join(shop.state, "data", "orders.db")
        self.kept = self.file + ".kept"
        shutil.copyfile(self.file, self.kept)

    def run(self, sql):
        shutil.copyfile(self.kept, self.file)
        db = sqlite3.connect(self.file)
        db.executescript(sql)
        rows = dict(db.execute("SELECT position, stream || '/' || version FROM ficus_store").fetchall())
        asked = db.execute("SELECT min(position) FROM ficus_store WHERE type = 'cancel_asked'").fetchone()[0]
        db.commit()
        db.close()
        return rows, asked

    def undo(self):
        shutil.copyfile(self.kept, self.file)
        os.remove(self.kept)


def fill(shop):
    """Orders in all states; returns how many events there must be."""
    admin, user = shop.admin(), shop.user("ann@example.org")
    shop.product(admin, "plenty", 250, 1000000)
    ids = [shop.order(user, {"plenty": 1}).json["id"] for _ in range(4)]
    for order in ids:
        shop.ended(user, order)
    answer = shop.request("POST", f"/api/v1/orders/{ids[0]}/cancel", token=user)
    assert answer.status == 202, answer

    def cancelled():
        return shop.request("GET", f"/api/v1/orders/{ids[0]}", token=user).json["status"] == "cancelled"

    wait_for("the cancellation", cancelled, 30)
    return 4 * 2 + 2


def check_intact(shop, checks, events):
    code, running = verify(shop)
    one = orders_of(running)
    checks.check("a running shop is intact", (code, running.get("intact"), one.get("events"), one.get("findings")) == (0, True, events, []), str(running))
    head = one.get("head", "")
    checks.check("its head is printed", re.fullmatch(rf"{events}:[0-9a-f]{{64}}", head) is not None, head)
    said = shop.run("events", "verify", "orders")
    checks.check("in words, too", (said.returncode, said.stdout) == (0, f"orders: {events} events, intact; head {head}\n"), said.stdout + said.stderr)
    checks.check("the head is still in it", verify(shop, "orders", "--head", head)[0] == 0)
    code, other = verify(shop, "orders", "--head", f"{events}:{'0' * 64}")
    checks.check("another head is not", code == 1 and [f["fault"] for f in orders_of(other)["findings"]] == ["head"], str(other))
    code, later = verify(shop, "orders", "--head", f"{events + 5}:{'0' * 64}")
    checks.check("nor is one of events that are gone", code == 1 and [f["fault"] for f in orders_of(later)["findings"]] == ["truncated"], str(later))
    shop.run("stop", "orders")
    wait_for("orders to stop", lambda: "orders" not in shop.pids(), 30)
    code, stopped = verify(shop, "orders")
    checks.check("a stopped service's file is read", code == 0 and orders_of(stopped) == one, str(stopped))
    shop.down()
    code, down = verify(shop)
    checks.check("and that of a shop that is down", code == 0 and orders_of(down) == one, str(down))
    return head


def check_tampering(shop, checks, head):
    tampering = Tampering(shop)
    for name, (sql, expected) in TAMPERINGS.items():
        rows, asked = tampering.run(sql)
        expected = [(expected, asked)] if isinstance(expected, str) else expected
        code, document = verify(shop, "orders")
        found = orders_of(document).get("findings", [])
        checks.check(f"{name}: found", code == 1 and [(f["fault"], f["position"]) for f in found] == expected, f"{code} {document}")
        named = [f["stream"] and f"{f['stream']}/{f['version']}" for f in found if f["fault"] in ("changed", "reordered", "inserted")]
        checks.check(f"{name}: named", named == [rows[p] for k, p in expected if k in ("changed", "reordered", "inserted")], str(found))
    tampering.run(CUT)
    checks.check("a tail cut off with its head is not seen by itself", verify(shop, "orders")[0] == 0)
    code, document = verify(shop, "orders", "--head", head)
    checks.check("but by the head that was written down", code == 1 and orders_of(document)["findings"][0]["fault"] == "truncated", str(document))
    tampering.run(TAMPERINGS["one inserted"][0])
    shop.up()
    code, document = verify(shop)
    found = orders_of(document).get("findings", [])
    checks.check("a running service finds it, too", code == 1 and [(f["fault"], f["position"]) for f in found] == [("inserted", 4)], str(document))
    said = shop.run("events", "verify", "orders")
    checks.check("in words", said.returncode == 1 and "orders: position 4, stream order-forged, version 1: inserted: " in said.stdout, said.stdout + said.stderr)
    shop.down()
    tampering.undo()


def check_usage(shop, checks):
    for args, says in (
        (("nobody",), "no service"), (("search",), "no store of its own"), (("--head", "x", "orders"), "is no head"),
        (("--head", "1:" + "0" * 64), "name it"),
    ):
        done = shop.run("events", "verify", *args)
        checks.check(f"{args} is wrong usage", done.returncode == 2 and says in done.stderr, f"{done.returncode} {done.stderr}")
    os.rename(os.path.join(shop.state, "data", "orders.db"), os.path.join(shop.state, "data", "away"))
    code, _ = verify(shop, "orders")
    checks.check("a store that is gone is no empty one", code == 1)
    os.rename(os.path.join(shop.state, "data", "away"), os.path.join(shop.state, "data", "orders.db"))


def run(shop, checks):
    shop.up()
    head = check_intact(shop, checks, fill(shop))
    check_tampering(shop, checks, head)
    check_usage(shop, checks)
    code, document = verify(shop)
    checks.check("at the end all is as it was", code == 0 and orders_of(document)["head"] == head, str(document))


def main():
    build, rest = build_folder(sys.argv[1:])
    if rest:
        print(__doc__, file=sys.stderr)
        return 2
    return run_checked(Shop(build, "verify"), run)


if __name__ == "__main__":
    sys.exit(main())
