#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What an operator is shown of a running shop. Each test's docstring states what it checks.

tests/e2e/operators.py [--build FOLDER] [names of tests]
"""

import base64
import json
import os
import sqlite3
import sys
import unittest

from checks import run_cases
from shop import GOOD, Shop, build_folder, wait_for

SERVICES = {"identity", "catalog", "cart", "search", "inventory", "payments", "orders", "notifications", "bank"}


class Base(unittest.TestCase):
    shop = None
    build = None

    @classmethod
    def setUpClass(cls):
        Base.shop = Shop(Base.build, "operators")
        Base.shop.up()
        Base.admin = Base.shop.admin()
        Base.user = Base.shop.user("ann@example.org")
        Base.shop.product(Base.admin, "plenty", 250, 1000000)


class Operators(Base):
    def test_status(self):
        """status --json names every process with what the operator needs."""
        status = self.shop.json("status")
        self.assertEqual(status["system"], "shop")
        self.assertEqual(status["gateway"]["url"], self.shop.url)
        names = {s["name"] for s in status["services"]}
        self.assertLessEqual(
            {"identity", "catalog", "inventory", "payments", "orders", "notifications", "bank", "search"}, names
        )
        for service in status["services"]:
            self.assertIsInstance(service["team"], str)
            for instance in service["instances"]:
                for field in ("pid", "address", "state", "restarts", "rss_bytes", "pss_bytes", "started_at"):
                    self.assertIn(field, instance)

    def test_one_orders_story(self):
        """ficus logs --trace tells one order's way through the processes that it passed."""
        trace = os.urandom(16).hex()
        body = {"items": [{"product_id": "plenty", "quantity": 1}], "payment": {"card_number": GOOD}}
        answer = self.shop.request(
            "POST", "/api/v1/orders", body, self.user, "story-1", {"traceparent": f"00-{trace}-{'1' * 16}-01"}
        )
        self.shop.ended(self.user, answer.json["id"])
        wanted = {"gateway", "orders", "hub", "inventory", "payments", "notifications", "cart"}

        def services():
            lines = self.shop.run("logs", "--trace", trace, "--json").stdout.splitlines()
            return {json.loads(line)["service"] for line in lines if line.startswith("{")}

        wait_for(f"{wanted} in the story", lambda: wanted <= services(), 15, 0.5)

    def test_hub_stopped(self):
        """Who asks a hub that was stopped is told at once, and how to start it."""
        self.assertEqual(self.shop.run("stop", "hub").returncode, 0)
        for command in (["saga", "list"], ["saga", "show", "x"], ["events", "topics"], ["events", "redrive", "--all"]):
            said = self.shop.run(*command)
            self.assertEqual((said.returncode, "ficus start hub" in said.stderr), (3, True), f"{command}: {said.stderr}")
        self.assertEqual(self.shop.run("start", "hub").returncode, 0)
        wait_for("the hub", lambda: self.shop.run("saga", "list").returncode == 0, 20)

    def test_redrive(self):
        """A dead letter is listed, redriven once however often it is said, has its effect, and is listed no more."""
        shop, payload = self.shop, self.user.split(".")[1]
        user = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["sub"]
        event = {"specversion": "1.0", "id": "lost-1", "source": "/orders", "type": "order.confirmed", "subject": "brought-back",
                 "data": {"user": user}}
        letter = {"specversion": "1.0", "id": "letter-1", "source": "/notifications", "type": "ficus.dead", "subject": "brought-back",
                  "time": "2026-01-01T00:00:00.000Z",
                  "data": {"consumer": "notifications", "reason": "by the test", "attempts": 10, "event": event}}
        self.assertEqual(shop.run("stop", "notifications").returncode, 0)
        store = sqlite3.connect(os.path.join(shop.state, "data", "notifications.db"))
        with store:
            store.execute("INSERT INTO ficus_outbox(event) VALUES(?)", (json.dumps(letter, separators=(",", ":")),))
            store.execute("INSERT INTO ficus_dead(source, id) VALUES(?, ?)", (event["source"], event["id"]))
        store.close()
        self.assertEqual(shop.run("start", "notifications").returncode, 0)

        def listed(*options):
            return shop.run("events", "dead", *options).stdout

        def seen():
            items = shop.request("GET", "/api/v1/notifications?limit=100", token=self.user).json["items"]
            return [n for n in items if n["order_id"] == "brought-back"]

        line = wait_for("the letter", lambda: [row for row in listed().splitlines() if "by the test" in row], 20)[0]
        number = line.split()[0]
        self.assertIn("order.confirmed", line)
        self.assertEqual(seen(), [])
        for arguments in ((number,), (number,), ("--consumer", "orders")):
            said = shop.run("events", "redrive", *arguments)
            self.assertEqual(said.returncode, 0, said.stderr)
        wait_for("its effect", seen, 20)
        self.assertNotIn("by the test", listed())
        self.assertRegex(listed("--all"), f"{number} .* redriven .* by the test")
        self.assertEqual(shop.run("events", "redrive", "--all").stdout, "", "nothing is left to redrive")
        self.assertEqual(shop.run("events", "drop", "1").returncode, 1)
        self.assertEqual(shop.run("events", "drop").returncode, 2)
        self.assertEqual(shop.run("restart", "notifications").returncode, 0)
        self.assertEqual(len(seen()), 1)


def end():
    if Base.shop is not None:
        Base.shop.end()


def main():
    Base.build, rest = build_folder(sys.argv[1:])
    return run_cases(rest, end)


if __name__ == "__main__":
    sys.exit(main())
