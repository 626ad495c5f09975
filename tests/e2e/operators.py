#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What an operator is shown of a running shop. Each test's docstring states what it checks.

tests/e2e/operators.py [--build FOLDER] [names of tests]
"""

import json
import os
import sys
import unittest

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


def main():
    Base.build, rest = build_folder(sys.argv[1:])
    try:
        program = unittest.main(argv=[sys.argv[0], *rest], exit=False, verbosity=1)
    finally:
        if Base.shop is not None:
            Base.shop.end()
    result = program.result
    failed = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - failed} passed, {failed} failed")
    return 0 if failed == 0 and result.testsRun > 0 else 1


if __name__ == "__main__":
    sys.exit(main())
