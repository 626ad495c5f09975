#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Trouble with the disk while the shop is used: full, a database file removed, replaced, read-only, damaged.

    tests/e2e/faults.py [--build FOLDER]

Wanted each time: clients get 507 or 503 as a problem document with Retry-After, never a 2xx for what is not kept; what
only reads goes on; `ficus status` names the file and the remedy; when the trouble has passed all goes on, without a
restart where the same file can be written again. In the end every order that was ever asked for is there exactly once.

The state folder is a small tmpfs of the test's own, in a mount namespace (unshare -m, or -Urm for who is not root).
Where such a namespace cannot be made the test says so and is skipped (exit code 77).
"""

import os
import shutil
import sqlite3
import subprocess
import sys
import threading

from checks import run_checked
from shop import GOOD, Shop, build_folder, wait_for
from under_load import damaged

DISK_MIB = 64
SKIPPED = 77


class Customer(threading.Thread):
    """Orders a few times a second, each with a key of its own; remembers what was answered."""

    def __init__(self, shop, token):
        super().__init__(daemon=True)
        self.shop, self.token = shop, token
        self.answers = {}  # key to the last answer, None when there was none
        self.ending = threading.Event()

    def order(self, key=None):
        key = key or os.urandom(8).hex()
        try:
            self.answers[key] = self.shop.order(self.token, {"P": 1}, GOOD, key)
        except OSError:
            self.answers[key] = None
        return self.answers[key]

    def run(self):
        while not self.ending.wait(0.25):
            self.order()

    def end(self):
        self.ending.set()
        self.join(60)

    def settle(self):
        """Ask again for all that was not taken. The ids of all orders."""
        for key, answer in list(self.answers.items()):
            if answer is None or answer.status != 202:
                wait_for("an order to be taken in the end", lambda: self.order(key).status == 202, 20, 0.2)
        return [answer.json["id"] for answer in self.answers.values()]


class Faults:
    def __init__(self, shop, checks):
        self.shop, self.checks = shop, checks
        self.data = os.path.join(shop.state, "data")
        self.kept = os.path.join(shop.state, "kept")  # on the same disk, so that a file may go and come back
        os.mkdir(self.kept)
        self.admin = shop.admin()
        self.token = shop.user("customer@example.org")
        shop.product(self.admin, "P", 100, 1000000)
        self.customer = Customer(shop, self.token)

    def file(self, name):
        return os.path.join(self.data, name)

    def message(self, process):
        """What `ficus status` says of a process."""
        status = self.shop.json("status")
        if process in ("hub", "gateway"):
            return status[process].get("message", "")
        for service in status["services"]:
            if service["name"] == process:
                return service["instances"][0].get("message", "")
        raise AssertionError(f"no {process} in the status")

    def says(self, process, *words):
        def look():
            message = self.message(process)
            return message if all(word in message for word in words) else None

        try:
            message = wait_for(f"the status of {process} to say {words}", look, 15)
        except AssertionError:
            message = None
        self.checks.check(f"the status of {process} says {words}", message, self.message(process))

    def well(self, process):
        wait_for(f"{process} to be well", lambda: self.message(process) == "", 15)

    def refused(self, what, answer, *wanted):
        ok = (
            answer.status in wanted
            and answer.headers.get("Content-Type", "").startswith("application/problem+json")
            and answer.headers.get("Retry-After", "").isdigit()
        )
        self.checks.check(f"{what}: {answer.status} with Retry-After", ok, f"{answer} {dict(answer.headers)}")

    def answered(self, what, answer, status=200):
        self.checks.check(f"{what}: {answer.status}", answer.status == status, repr(answer))

    def reads(self, what):
        for path in ("/api/v1/products?limit=3", "/api/v1/orders?limit=3", "/api/v1/notifications"):
            self.answered(f"{what}, GET {path}", self.shop.request("GET", path, token=self.token))

    def order_ends(self, what):
        answer = wait_for(f"{what}: an order", lambda: (lambda a: a if a.status == 202 else None)(self.customer.order()), 20)
        status = self.shop.ended(self.token, answer.json["id"], 30)["status"]
        self.checks.check(f"{what}: an order is confirmed", status == "confirmed", status)

    # ---- the troubles ----

    def disk_full(self):
        pids = self.shop.pids()
        path = os.path.join(self.shop.state, "filler")
        with open(path, "wb", buffering=0) as filler:
            try:
                while filler.write(b"\0" * 65536) > 0:
                    pass
            except OSError:
                pass
            # Files have room left in their last pages, and a WAL is written over from its start after a checkpoint.
            answer = wait_for(
                "an order to be refused", lambda: (lambda a: a if a.status != 202 else None)(self.customer.order()), 30
            )
            self.refused("disk full, order", answer, 507, 503)  # 503: payments, asked first, could not keep the card
            answer = self.shop.request("PUT", "/api/v1/products/P", {"name": "P", "price": {"amount": 100, "currency": "GBP"}}, self.admin)
            if answer.status not in (200, 201):
                self.refused("disk full, product", answer, 507)
            self.reads("disk full")
            self.says("orders", self.file("orders.db"), "full", "free space")
            self.checks.check("disk full: status works", self.shop.run("status").returncode == 0)
        os.unlink(path)
        self.well("orders")
        self.well("hub")
        self.order_ends("space again")
        self.checks.check("disk full: no process was restarted", self.shop.pids() == pids, f"{pids} {self.shop.pids()}")

    def moved_away(self, name, process, refused):
        """The file goes and comes back while it is open: the same process goes on."""
        pid = self.shop.pids()[process]
        os.rename(self.file(name), os.path.join(self.kept, name))
        answer = self.customer.order()
        if refused:
            self.refused(f"{name} moved away, order", answer, 503)
        else:
            self.answered(f"{name} moved away, order", answer, 202)
        self.reads(f"{name} moved away")
        self.says(process, self.file(name), "removed or replaced")
        os.rename(os.path.join(self.kept, name), self.file(name))
        self.well(process)
        self.order_ends(f"{name} is back")
        self.checks.check(f"{name}: {process} was not restarted", self.shop.pids()[process] == pid)

    def removed(self):
        """Deleted for good, and saved out of the process that has it open, as the documentation says."""
        before = self.shop.request("GET", "/api/v1/orders?limit=50", token=self.token).json["items"]
        pid = self.shop.pids()["orders"]
        os.unlink(self.file("orders.db"))
        os.unlink(self.file("orders.db-wal"))
        self.refused("orders.db deleted, order", self.customer.order(), 503)
        self.says("orders", self.file("orders.db"), "/proc/PID/fd")
        folder = f"/proc/{pid}/fd"
        (fd,) = [fd for fd in os.listdir(folder) if os.readlink(f"{folder}/{fd}") == self.file("orders.db") + " (deleted)"]
        shutil.copyfile(f"{folder}/{fd}", self.file("orders.db"))
        self.shop.run("restart", "orders")
        self.order_ends("orders.db saved and put back")
        after = self.shop.request("GET", "/api/v1/orders?limit=50", token=self.token).json["items"]
        lost = {order["id"] for order in before} - {order["id"] for order in after}
        self.checks.check("orders.db saved: no order is lost", len(after) < 50 and not lost, f"{len(after)} {lost}")

    def gone_at_start(self, name, process):
        """Not begun anew; with the file back it starts by itself."""
        self.shop.run("stop", process)
        names = [n for n in os.listdir(self.data) if n.startswith(name)]
        for n in names:
            os.rename(self.file(n), os.path.join(self.kept, n))
        self.shop.run("start", process, "--wait", "500ms")
        self.says(process, self.file(name), "was made here before", f".{name}.made")
        self.checks.check(f"{name} gone: nothing was begun", not os.path.exists(self.file(name)))
        if process != "hub":
            answer = self.shop.request("GET", "/api/v1/orders?limit=3", token=self.token)
            self.checks.check(f"{name} gone: {answer.status}", answer.status == 503, repr(answer))
        for n in names:
            os.rename(os.path.join(self.kept, n), self.file(n))
        wait_for(f"{process} to start", lambda: self.message(process) == "", 15)
        self.order_ends(f"{name} is back")

    def read_only(self, name, process):
        """A file that may be opened for writing cannot be made read-only by mount; so while it is closed."""
        self.shop.run("stop", process)
        path = self.file(name)
        subprocess.run(["mount", "--bind", path, path], check=True)
        try:
            subprocess.run(["mount", "-o", "remount,bind,ro", path], check=True)
            self.shop.run("start", process, "--wait", "500ms")
            self.says(process, path, "read-only")
        finally:
            subprocess.run(["umount", path], check=True)
        wait_for(f"{process} to start", lambda: self.message(process) == "", 15)
        self.order_ends(f"{name} is writable")

    def damage(self):
        """Of the middle, met while it runs; then of the header, met at the start."""
        name, path = "notifications.db", self.file("notifications.db")
        self.shop.run("stop", "notifications")
        shutil.copyfile(path, os.path.join(self.kept, name))
        connection = sqlite3.connect(path)
        (page,) = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'notification'").fetchone()
        connection.close()
        with open(path, "r+b") as f:
            f.seek((page - 1) * 4096)
            f.write(b"\xff" * 512)
        self.shop.run("start", "notifications", "--wait", "500ms")
        pid = wait_for("notifications to start", lambda: self.shop.pids().get("notifications"))
        answer = wait_for(
            "an answer of notifications",
            lambda: (lambda a: a if b"storage_corrupt" in a.raw else None)(
                self.shop.request("GET", "/api/v1/notifications", token=self.token)
            ),
        )
        self.refused("damaged page, GET notifications", answer, 503)
        self.says("notifications", path, "integrity_check")
        self.checks.check("damaged page: it goes on", self.shop.pids().get("notifications") == pid)
        self.shop.run("stop", "notifications")
        with open(path, "r+b") as f:
            f.write(b"this is no database" * 10)
        self.shop.run("start", "notifications", "--wait", "500ms")
        self.says("notifications", path, "not a database", "integrity_check")
        self.answered("damaged header, an order", self.customer.order(), 202)
        shutil.copyfile(os.path.join(self.kept, name), path)
        wait_for("notifications to start", lambda: self.message("notifications") == "", 15)
        self.reads("a sound copy is back")

    # ---- the end ----

    def everything_once(self):
        self.customer.end()
        ids = self.customer.settle()
        self.checks.check("each key made one order", len(set(ids)) == len(ids), f"{len(ids)} {len(set(ids))}")
        statuses = [self.shop.ended(self.token, i, 60)["status"] for i in ids]
        self.checks.check(f"{len(ids)} orders are confirmed", set(statuses) == {"confirmed"}, str(set(statuses)))
        kinds = [
            [line["kind"] for line in self.shop.request("GET", "/api/v1/bank/ledger?order_id=" + i, token=self.admin).json["items"]]
            for i in ids
        ]
        bad = [k for k in kinds if k != ["capture"]]
        self.checks.check("each was paid once", not bad, str(bad[:5]))
        stock = self.shop.request("GET", "/api/v1/stock/P", token=self.admin).json
        self.checks.check("stock fits", (stock["on_hand"], stock["reserved"]) == (1000000 - len(ids), 0), str(stock))


def run(shop, checks):
    shop.up()
    f = Faults(shop, checks)
    f.order_ends("before")
    f.customer.start()
    f.disk_full()
    f.moved_away("orders.db", "orders", refused=True)
    f.moved_away("orders.db-wal", "orders", refused=True)
    f.moved_away("hub-log.db", "hub", refused=False)
    f.moved_away("hub-sagas.db", "hub", refused=False)
    f.removed()
    f.gone_at_start("orders.db", "orders")
    f.gone_at_start("hub-log.db", "hub")
    f.gone_at_start("hub-sagas.db", "hub")
    f.read_only("bank.db", "bank")
    f.damage()
    f.everything_once()
    shop.down()
    bad, count = damaged(f.data)
    checks.check(f"all {count} files are sound", count > 5 and not bad, str(bad))


def enter_namespace():
    """Start this program again where it may mount; returns its exit code."""
    for flags in ("-m", "-Urm"):
        if subprocess.run(["unshare", flags, "true"], capture_output=True, check=False).returncode == 0:
            return subprocess.run(
                ["unshare", flags, sys.executable, __file__, "--inside", *sys.argv[1:]], check=False
            ).returncode
    print("skipped: no mount namespace can be made here (unshare -m needs root, unshare -Urm user namespaces)")
    return SKIPPED


def main():
    if "--inside" not in sys.argv:
        return enter_namespace()
    build, _ = build_folder([a for a in sys.argv[1:] if a != "--inside"])
    shop = Shop(build, "faults")
    os.mkdir(shop.state)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=0700", "tmpfs", shop.state], check=True)
    return run_checked(shop, run)


if __name__ == "__main__":
    sys.exit(main())
