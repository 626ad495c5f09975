#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The shop's API seen from outside, row by row, against a fresh shop. Each test's docstring states what it checks.

tests/e2e/basic.py [--build FOLDER] [names of tests]
"""

import base64
import concurrent.futures
import json
import os
import re
import signal
import stat
import sys
import unittest
import urllib.parse

from shop import DECLINED, FLAKY, GOOD, INSUFFICIENT, SLOW, Shop, build_folder, wait_for

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
TRACE = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
GBP = "GBP"


def money(amount):
    return {"amount": amount, "currency": GBP}


def segment(text):
    return urllib.parse.quote(text, safe="")


class Base(unittest.TestCase):
    shop = None
    build = None

    @classmethod
    def setUpClass(cls):
        if Base.shop is None:
            Base.shop = Shop(Base.build, "basic")
            Base.shop.up()
            Base.admin = Base.shop.admin()
            Base.user = Base.shop.user("ann@example.org")
            Base.other = Base.shop.user("bob@example.org")
            Base.shop.product(Base.admin, "plenty", 250, 1000000)

    def check_problem(self, answer, status, pointer=None):
        """RFC 9457 with the fields that the API promises; for invalid input the pointer of the fault."""
        self.assertEqual(answer.status, status, answer)
        self.assertEqual(answer.headers.get_content_type(), "application/problem+json", answer)
        self.assertEqual(answer.json["status"], status)
        for name in ("type", "title", "detail", "instance"):
            self.assertIsInstance(answer.json.get(name), str, (name, answer))
        if pointer is not None:
            self.assertIn(pointer, [e["pointer"] for e in answer.json["errors"]], answer)
            self.assertTrue(all(e["detail"] for e in answer.json["errors"]))

    def place(self, items, card=GOOD, token=None):
        answer = self.shop.order(token or self.user, items, card)
        self.assertEqual(answer.status, 202, answer)
        return answer.json["id"]

    def admin_items(self, path):
        answer = self.shop.request("GET", path, token=self.admin)
        self.assertEqual(answer.status, 200, answer)
        return answer.json["items"]


class Answers(Base):
    def test_request_id_and_trace_are_on_every_answer(self):
        """Every answer, a refused one too, carries X-Request-ID and traceparent."""
        for path in (
            "/health",
            "/alive",
            "/api/v1/products",
            "/api/v1/none",
            "/api/v1/orders",
            "/.well-known/jwks.json",
        ):
            answer = self.shop.request("GET", path)
            self.assertTrue(answer.headers["X-Request-ID"], path)
            self.assertRegex(answer.headers["traceparent"], TRACE, path)

    def test_valid_ids_are_taken_over(self):
        """X-Request-ID and the trace id come from the request when they are valid, else they are new."""
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        answer = self.shop.request(
            "GET", "/api/v1/products", headers={"X-Request-ID": "req-4711", "traceparent": trace}
        )
        self.assertEqual(answer.headers["X-Request-ID"], "req-4711")
        self.assertEqual(answer.headers["traceparent"].split("-")[1], trace.split("-")[1])
        bad = "00-00000000000000000000000000000000-b7ad6b7169203331-01"
        answer = self.shop.request(
            "GET", "/api/v1/products", headers={"X-Request-ID": "bad id \u00e4".encode("latin-1"), "traceparent": bad}
        )
        self.assertNotIn("bad id", answer.headers["X-Request-ID"])
        self.assertRegex(answer.headers["traceparent"], TRACE)
        self.assertNotIn("0" * 32, answer.headers["traceparent"])

    def test_unknown_paths_are_problems(self):
        """An unknown path under /api/ is a 404 problem."""
        self.check_problem(self.shop.request("GET", "/api/v1/none"), 404)
        self.check_problem(self.shop.request("GET", "/api/none", token=self.user), 404)

    def test_gateway_health(self):
        """/health and /alive answer 200 to anyone."""
        self.assertEqual([self.shop.request("GET", path).status for path in ("/health", "/alive")], [200, 200])

    def test_broken_json_is_400(self):
        """A body that is no JSON is a 400 problem."""
        answer = self.shop.request("POST", "/api/v1/users", b"{", headers={"Content-Type": "application/json"})
        self.check_problem(answer, 400)


class Users(Base):
    def test_register_and_me(self):
        """POST users gives 201 {id, email, name}; GET me gives the same to the signed-in user."""
        answer = self.shop.request(
            "POST", "/api/v1/users", {"email": "carl@example.org", "name": "Carl \u00d6", "password": "x" * 10}
        )
        self.assertEqual(answer.status, 201, answer)
        self.assertEqual(set(answer.json), {"id", "email", "name"})
        self.assertEqual((answer.json["email"], answer.json["name"]), ("carl@example.org", "Carl \u00d6"))
        me = self.shop.request("GET", "/api/v1/users/me", token=self.shop.sign_in("carl@example.org", "x" * 10))
        self.assertEqual((me.status, me.json), (200, answer.json))

    def test_taken_email_is_409(self):
        """A second account with the same email is refused."""
        answer = self.shop.request(
            "POST", "/api/v1/users", {"email": "ann@example.org", "name": "A", "password": "y" * 12}
        )
        self.check_problem(answer, 409)

    def test_password_bounds(self):
        """Passwords have 10 to 200 characters."""
        for size, status in ((9, 400), (10, 201), (200, 201), (201, 400)):
            answer = self.shop.request(
                "POST", "/api/v1/users", {"email": f"p{size}@example.org", "name": "P", "password": "\u00e4" * size}
            )
            self.assertEqual(answer.status, status, (size, answer))
            if status == 400:
                self.check_problem(answer, 400, "/password")

    def test_all_faults_at_once(self):
        """Invalid input names every fault with its pointer."""
        answer = self.shop.request("POST", "/api/v1/users", {"email": "none", "password": 5})
        for pointer in ("/email", "/name", "/password"):
            self.check_problem(answer, 400, pointer)

    def test_session(self):
        """POST sessions gives a bearer JWT signed with ES256 by a key of the JWKS."""
        answer = self.shop.request(
            "POST", "/api/v1/sessions", {"email": "ann@example.org", "password": "a good password"}
        )
        self.assertEqual(answer.status, 201, answer)
        self.assertEqual(answer.json["token_type"], "Bearer")
        self.assertIsInstance(answer.json["expires_in"], int)
        head = answer.json["token"].split(".")[0]
        header = json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))
        self.assertEqual(header["alg"], "ES256")
        keys = self.shop.request("GET", "/.well-known/jwks.json").json["keys"]
        self.assertIn(header["kid"], [key["kid"] for key in keys])
        self.assertFalse(any("d" in key for key in keys), "a private key is shown")

    def test_wrong_credentials_look_alike(self):
        """A wrong password and an unknown email get the same 401."""
        wrong = self.shop.request(
            "POST", "/api/v1/sessions", {"email": "ann@example.org", "password": "not the password"}
        )
        unknown = self.shop.request(
            "POST", "/api/v1/sessions", {"email": "nobody@example.org", "password": "not the password"}
        )
        self.check_problem(wrong, 401)
        self.check_problem(unknown, 401)
        self.assertEqual(
            {k: wrong.json[k] for k in ("type", "title", "detail")},
            {k: unknown.json[k] for k in ("type", "title", "detail")},
        )

    def test_bad_tokens_are_401(self):
        """No token, rubbish, a changed payload and alg none are refused."""
        head, payload, signature = self.user.split(".")
        none = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').decode().rstrip("=")
        for token in (None, "x", f"{head}.{payload[:-2]}AA.{signature}", f"{none}.{payload}."):
            self.check_problem(self.shop.request("GET", "/api/v1/users/me", token=token), 401)

    def test_admin_file(self):
        """admin.json is private and its password signs in as admin."""
        path = os.path.join(self.shop.state, "admin.json")
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o600)
        self.assertEqual(self.shop.request("GET", "/api/v1/payments", token=self.shop.admin()).status, 200)


class Products(Base):
    def test_put_creates_then_changes(self):
        """The first PUT is 201, the next 200; GET by sku and by id show the last one."""
        path = "/api/v1/products/put-1"
        first = self.shop.request("PUT", path, {"name": "One", "price": money(1275)}, self.admin)
        second = self.shop.request("PUT", path, {"name": "Two", "price": money(1300)}, self.admin)
        self.assertEqual((first.status, second.status), (201, 200))
        by_sku = self.shop.request("GET", path)
        by_id = self.shop.request("GET", "/api/v1/products/" + by_sku.json["id"])
        self.assertEqual(by_sku.json, by_id.json)
        self.assertEqual((by_sku.json["sku"], by_sku.json["name"], by_sku.json["price"]), ("put-1", "Two", money(1300)))
        self.assertIsNone(by_sku.json["available"])

    def test_only_admins_put(self):
        """Anonymous 401, a user 403."""
        for path, body in (
            ("/api/v1/products/p", {"name": "P", "price": money(1)}),
            ("/api/v1/stock/p", {"on_hand": 1}),
        ):
            self.check_problem(self.shop.request("PUT", path, body), 401)
            self.check_problem(self.shop.request("PUT", path, body, self.user), 403)
            self.assertEqual(self.shop.request("GET", "/api/v1/products/p").status, 404)

    def test_skus_are_any_text(self):
        """Skus are case-sensitive and may hold any character, percent-encoded."""
        for sku in ("aB", "ab", "50% off", "\u00e4 \u20ac", "?#&+", "x" * 64):
            self.shop.product(self.admin, sku, 5, 7)
            answer = self.shop.request("GET", "/api/v1/products/" + segment(sku))
            self.assertEqual((answer.status, answer.json and answer.json["sku"]), (200, sku))
            stock = self.shop.request("GET", "/api/v1/stock/" + segment(sku), token=self.admin)
            self.assertEqual(stock.json, {"sku": sku, "on_hand": 7, "reserved": 0, "available": 7})
        self.check_problem(self.shop.request("GET", "/api/v1/products/AB"), 404)
        answer = self.shop.request("PUT", "/api/v1/products/" + "x" * 65, {"name": "x", "price": money(1)}, self.admin)
        self.check_problem(answer, 400)

    def test_skus_may_hold_a_slash(self):
        """A percent-encoded slash is a character of the sku, not a separator of the path."""
        self.shop.product(self.admin, "a/b", 5, 7)
        answer = self.shop.request("GET", "/api/v1/products/a%2Fb")
        self.assertEqual((answer.status, answer.json and answer.json["sku"]), (200, "a/b"))

    def test_bad_products_are_400(self):
        """Prices are integers in pence of GBP, names are there."""
        for body, pointer in (
            ({"name": "N", "price": {"amount": 1.5, "currency": GBP}}, "/price"),
            ({"name": "N", "price": money(-1)}, "/price"),
            ({"name": "N", "price": {"amount": 1, "currency": "EUR"}}, "/price"),
            ({"price": money(1)}, "/name"),
        ):
            self.check_problem(self.shop.request("PUT", "/api/v1/products/bad", body, self.admin), 400, pointer)

    def test_list_pages(self):
        """Pages of a list hold each product once, also with the default limit of 20."""
        for i in range(25):
            self.shop.product(self.admin, f"page-{i}")
        seen, after = [], ""
        while after is not None:
            page = self.shop.request("GET", "/api/v1/products?limit=10" + after).json
            self.assertLessEqual(len(page["items"]), 10)
            seen += [item["sku"] for item in page["items"]]
            after = None if page["next"] is None else "&after=" + segment(page["next"])
        self.assertEqual(len(seen), len(set(seen)))
        self.assertTrue({f"page-{i}" for i in range(25)} <= set(seen))
        self.assertEqual(len(self.shop.request("GET", "/api/v1/products").json["items"]), 20)

    def test_bad_pages_are_400(self):
        """limit is 1..100; a broken cursor is refused."""
        for query in ("limit=0", "limit=101", "limit=x", "limit=", "after=nonsense", "after="):
            self.check_problem(self.shop.request("GET", "/api/v1/products?" + query), 400)
        self.assertEqual(self.shop.request("GET", "/api/v1/products?limit=100").status, 200)

    def test_available_follows_stock(self):
        """available becomes what the stock says within seconds."""
        self.shop.product(self.admin, "avail", 5, 33)
        wait_for("available 33", lambda: self.shop.request("GET", "/api/v1/products/avail").json["available"] == 33, 10)


class Stock(Base):
    def test_put_and_get(self):
        """PUT and GET of a stock give {sku, on_hand, reserved, available}; an unknown sku is 404, a user 403."""
        wanted = {"sku": "s1", "on_hand": 9, "reserved": 0, "available": 9}
        answer = self.shop.request("PUT", "/api/v1/stock/s1", {"on_hand": 9}, self.admin)
        self.assertEqual((answer.status, answer.json), (200, wanted))
        self.assertEqual(self.shop.request("GET", "/api/v1/stock/s1", token=self.admin).json, wanted)
        self.check_problem(self.shop.request("GET", "/api/v1/stock/none", token=self.admin), 404)
        self.check_problem(self.shop.request("GET", "/api/v1/stock/s1", token=self.user), 403)
        self.check_problem(self.shop.request("PUT", "/api/v1/stock/s1", {"on_hand": -1}, self.admin), 400, "/on_hand")

    def test_below_reserved_is_409(self):
        """on_hand cannot go below what orders hold. A slow card holds it for a while."""
        self.shop.product(self.admin, "held", 5, 10)
        order = self.place({"held": 6}, SLOW)
        wait_for(
            "6 reserved",
            lambda: self.shop.request("GET", "/api/v1/stock/held", token=self.admin).json["reserved"] == 6,
            10,
        )
        self.check_problem(self.shop.request("PUT", "/api/v1/stock/held", {"on_hand": 5}, self.admin), 409)
        self.assertEqual(self.shop.ended(self.user, order)["status"], "confirmed")

    def test_movements(self):
        """Movements can be asked for by order and by sku, and only by admins."""
        self.shop.product(self.admin, "moved", 5, 10)
        order = self.place({"moved": 2, "plenty": 1})
        self.shop.ended(self.user, order)
        wait_for("taken", lambda: len(self.admin_items("/api/v1/stock-movements?order_id=" + order)) == 4, 10)
        moves = self.admin_items("/api/v1/stock-movements?sku=moved")
        self.assertEqual(
            [(m["order_id"], m["quantity"], m["kind"]) for m in moves], [(order, 2, "reserved"), (order, 2, "taken")]
        )
        for m in moves:
            self.assertEqual(set(m), {"id", "order_id", "sku", "quantity", "kind", "at"})
            self.assertRegex(m["at"], TIME)
        self.assertEqual(len(self.admin_items(f"/api/v1/stock-movements?sku=moved&order_id={order}")), 2)
        self.check_problem(self.shop.request("GET", "/api/v1/stock-movements", token=self.user), 403)


class Orders(Base):
    def test_good_order(self):
        """202 with Location and the pending order; it ends confirmed with one payment and one line at the bank."""
        answer = self.shop.order(self.user, {"plenty": 3})
        self.assertEqual((answer.status, answer.json["status"]), (202, "pending"), answer)
        self.assertTrue(answer.headers["Location"].endswith("/api/v1/orders/" + answer.json["id"]))
        order = self.shop.ended(self.user, answer.json["id"])
        self.assertEqual((order["status"], order["reason"], order["total"]), ("confirmed", None, money(750)))
        self.assertEqual([h["status"] for h in order["history"]], ["pending", "confirmed"])
        self.assertTrue(all(TIME.fullmatch(h["at"]) for h in order["history"]))
        item = order["items"][0]
        self.assertEqual(
            (item["sku"], item["name"], item["quantity"], item["price"]), ("plenty", "plenty", 3, money(250))
        )
        self.assertIn("product_id", item)
        (payment,) = self.admin_items("/api/v1/payments?order_id=" + order["id"])
        self.assertEqual((payment["status"], payment["amount"]), ("captured", money(750)))
        (line,) = self.admin_items("/api/v1/bank/ledger?order_id=" + order["id"])
        self.assertEqual((line["kind"], line["amount"]), ("capture", money(750)))

    def test_cards(self):
        """The test cards end as their numbers say."""
        for card, outcome in (
            (DECLINED, ("cancelled", "payment_declined")),
            (INSUFFICIENT, ("cancelled", "payment_declined")),
            (FLAKY, ("confirmed", None)),
            (SLOW, ("confirmed", None)),
        ):
            order_id = self.place({"plenty": 1}, card)
            order = self.shop.ended(self.user, order_id)
            self.assertEqual((order["status"], order["reason"]), outcome, card)
            ledger = [line["kind"] for line in self.admin_items("/api/v1/bank/ledger?order_id=" + order_id)]
            self.assertEqual(ledger, ["capture"] if outcome[0] == "confirmed" else [], card)
            (payment,) = self.admin_items("/api/v1/payments?order_id=" + order_id)
            self.assertEqual(payment["status"], "captured" if outcome[0] == "confirmed" else "declined", card)

    def test_out_of_stock(self):
        """An order for more than there is ends out_of_stock and holds nothing; one for the rest is confirmed."""
        self.shop.product(self.admin, "few", 5, 3)
        self.assertEqual(self.shop.ended(self.user, self.place({"few": 4, "plenty": 1}))["reason"], "out_of_stock")
        self.assertEqual(self.shop.ended(self.user, self.place({"few": 3}))["status"], "confirmed")
        wait_for(
            "none left",
            lambda: self.shop.request("GET", "/api/v1/stock/few", token=self.admin).json
            == {"sku": "few", "on_hand": 0, "reserved": 0, "available": 0},
            10,
        )
        self.assertEqual(self.shop.ended(self.user, self.place({"few": 1}))["reason"], "out_of_stock")

    def test_product_named_twice(self):
        """A product named twice, by sku and by id, is one item with the sum."""
        product_id = self.shop.request("GET", "/api/v1/products/plenty").json["id"]
        body = {
            "items": [
                {"product_id": "plenty", "quantity": 2},
                {"product_id": product_id, "quantity": 3},
                {"product_id": "plenty", "quantity": 1},
            ],
            "payment": {"card_number": GOOD},
        }
        answer = self.shop.request("POST", "/api/v1/orders", body, self.user, "twice-1")
        order = self.shop.ended(self.user, answer.json["id"])
        self.assertEqual([(i["sku"], i["quantity"]) for i in order["items"]], [("plenty", 6)])
        self.assertEqual(order["total"], money(1500))

    def test_unknown_product(self):
        """An unknown product is 422 at once, or ends cancelled for that reason."""
        answer = self.shop.order(self.user, {"no such thing": 1})
        if answer.status == 202:
            self.assertEqual(self.shop.ended(self.user, answer.json["id"])["reason"], "unknown_product")
        else:
            self.check_problem(answer, 422)

    def test_bad_orders_are_400(self):
        """Bounds of items, quantity and card, each with its pointer."""
        item, pay = {"product_id": "plenty", "quantity": 1}, {"card_number": GOOD}
        for body, pointer in (
            ({"items": [], "payment": pay}, "/items"),
            ({"items": [item] * 1001, "payment": pay}, "/items"),
            ({"payment": pay}, "/items"),
            ({"items": [dict(item, quantity=0)], "payment": pay}, "/items/0/quantity"),
            ({"items": [item, dict(item, quantity=1000001)], "payment": pay}, "/items/1/quantity"),
            ({"items": [dict(item, quantity=1.5)], "payment": pay}, "/items/0/quantity"),
            ({"items": [{"quantity": 1}], "payment": pay}, "/items/0/product_id"),
            ({"items": [item], "payment": {"card_number": "4242424242424241"}}, "/payment/card_number"),
            ({"items": [item]}, "/payment/card_number"),
        ):
            self.check_problem(
                self.shop.request("POST", "/api/v1/orders", body, self.user, os.urandom(4).hex()), 400, pointer
            )

    def test_large_orders(self):
        """1,000 items pass; a body over 256 KiB is 413."""
        items = [{"product_id": "plenty", "quantity": 1}] * 1000
        answer = self.shop.request(
            "POST", "/api/v1/orders", {"items": items, "payment": {"card_number": GOOD}}, self.user, "large-1"
        )
        self.assertEqual(answer.status, 202, answer)
        self.assertEqual(self.shop.ended(self.user, answer.json["id"])["total"], money(250000))
        body = json.dumps({"items": items, "payment": {"card_number": GOOD}, "note": "x" * 262144}).encode()
        answer = self.shop.request(
            "POST", "/api/v1/orders", body, self.user, "large-2", {"Content-Type": "application/json"}
        )
        self.check_problem(answer, 413)

    def test_who_sees_an_order(self):
        """Its user and admins; for others it is not there."""
        order = self.place({"plenty": 1})
        path = "/api/v1/orders/" + order
        self.assertEqual(
            [self.shop.request("GET", path, token=t).status for t in (self.user, self.admin, self.other, None)],
            [200, 200, 404, 401],
        )
        self.check_problem(self.shop.request("POST", path + "/cancel", token=self.other), 404)
        self.check_problem(self.shop.request("GET", "/api/v1/orders/none", token=self.user), 404)

    def test_lists(self):
        """A user's list is his own, newest first, by status too; an admin's has all."""
        user = self.shop.user("lister@example.org")
        first, second = self.place({"plenty": 1}, token=user), self.place({"plenty": 1}, DECLINED, token=user)
        self.shop.ended(user, first), self.shop.ended(user, second)
        get = lambda query, token: [
            o["id"] for o in self.shop.request("GET", "/api/v1/orders" + query, token=token).json["items"]
        ]
        self.assertEqual(get("", user), [second, first])
        self.assertEqual(get("?status=cancelled", user), [second])
        self.assertEqual(get("?limit=2", self.admin), [second, first])
        page = self.shop.request("GET", "/api/v1/orders?limit=1", token=user).json
        self.assertEqual(get("?limit=1&after=" + segment(page["next"]), user), [first])
        self.assertEqual(get("", self.shop.user("empty@example.org")), [])
        for path in ("/api/v1/payments", "/api/v1/bank/ledger"):
            self.check_problem(self.shop.request("GET", path, token=user), 403)
            self.check_problem(self.shop.request("GET", path), 401)
            self.check_problem(self.shop.request("GET", path + "?after=zz", token=self.admin), 400)


class Keys(Base):
    def body(self, quantity=1):
        return {"items": [{"product_id": "plenty", "quantity": quantity}], "payment": {"card_number": GOOD}}

    def post(self, key, body, token=None):
        return self.shop.request("POST", "/api/v1/orders", body, token or self.user, key)

    def test_same_key_same_answer(self):
        """Same key and body: same status, body and Location, also after the order moved on and a kill."""
        first = self.post("same-1", self.body())
        self.shop.ended(self.user, first.json["id"])
        self.check_same(first, self.post("same-1", self.body()))
        os.kill(self.shop.pids()["orders"], signal.SIGKILL)
        wait_for(
            "orders to be back", lambda: self.shop.request("GET", "/api/v1/orders", token=self.user).status == 200, 30
        )
        self.check_same(first, self.post("same-1", self.body()))

    def check_same(self, first, again):
        self.assertEqual(
            (again.status, again.raw, again.headers["Location"]), (first.status, first.raw, first.headers["Location"])
        )

    def test_other_body_is_422(self):
        """Same key, other body."""
        self.assertEqual(self.post("other-1", self.body()).status, 202)
        self.check_problem(self.post("other-1", self.body(2)), 422)

    def test_missing_and_bad_keys_are_400(self):
        """A key is needed: 1 to 128 printable characters."""
        self.check_problem(self.post(None, self.body()), 400)
        self.check_problem(self.post("k" * 129, self.body()), 400)
        self.check_problem(self.post("caf\u00e9", self.body()), 400)
        self.assertEqual(self.post("k" * 128, self.body()).status, 202)

    def test_keys_belong_to_users(self):
        """Two users with the same key have two orders."""
        mine, theirs = self.post("shared-1", self.body()), self.post("shared-1", self.body(), self.other)
        self.assertEqual((mine.status, theirs.status), (202, 202))
        self.assertNotEqual(mine.json["id"], theirs.json["id"])

    def test_refused_requests_are_not_remembered(self):
        """After a refusal the corrected request may use the same key."""
        self.check_problem(self.post("again-1", self.body(0)), 400)
        self.assertEqual(self.post("again-1", self.body()).status, 202)

    def test_at_once(self):
        """Many at once with one key are one order; who does not get it is told when to try again."""
        with concurrent.futures.ThreadPoolExecutor(12) as pool:
            answers = list(pool.map(lambda _: self.post("race-1", self.body()), range(12)))
        ids = {a.json["id"] for a in answers if a.status == 202}
        self.assertEqual(len(ids), 1, answers)
        for answer in answers:
            self.assertTrue(answer.status == 202 or (answer.status == 409 and answer.headers["Retry-After"]), answer)


class Cancels(Base):
    def cancel(self, order, token=None):
        return self.shop.request("POST", f"/api/v1/orders/{order}/cancel", token=token or self.user)

    def cancelled(self, order):
        look = lambda: self.shop.request("GET", "/api/v1/orders/" + order, token=self.user).json
        return wait_for("cancelled", lambda: look()["status"] == "cancelled" and look(), 30)

    def test_pending(self):
        """A cancel of a pending order is 202 and ends by_customer, with the money back."""
        order = self.place({"plenty": 1}, SLOW)
        self.assertEqual([self.cancel(order).status, self.cancel(order).status], [202, 202])
        ended = self.cancelled(order)
        self.assertEqual(ended["reason"], "by_customer")
        self.assertEqual([h["status"] for h in ended["history"]], ["pending", "cancelled"])
        kinds = lambda: [line["kind"] for line in self.admin_items("/api/v1/bank/ledger?order_id=" + order)]
        self.assertIn(kinds(), ([], ["capture", "refund"]))

    def test_confirmed(self):
        """A cancel of a confirmed order is 202; money and stock come back; another cancel is 409."""
        self.shop.product(self.admin, "back", 5, 4)
        order = self.place({"back": 4})
        self.assertEqual(self.shop.ended(self.user, order)["status"], "confirmed")
        self.assertEqual(self.cancel(order).status, 202)
        ended = self.cancelled(order)
        self.assertEqual(
            (ended["reason"], [h["status"] for h in ended["history"]]),
            ("by_customer", ["pending", "confirmed", "cancelled"]),
        )
        (payment,) = self.admin_items("/api/v1/payments?order_id=" + order)
        self.assertEqual(payment["status"], "refunded")
        self.assertEqual(
            [line["kind"] for line in self.admin_items("/api/v1/bank/ledger?order_id=" + order)], ["capture", "refund"]
        )
        self.assertEqual(self.shop.request("GET", "/api/v1/stock/back", token=self.admin).json["available"], 4)
        self.check_problem(self.cancel(order), 409)

    def test_by_admin(self):
        """An admin's cancel says so."""
        order = self.place({"plenty": 1})
        self.shop.ended(self.user, order)
        self.assertEqual(self.cancel(order, self.admin).status, 202)
        self.assertEqual(self.cancelled(order)["reason"], "by_admin")

    def test_after_a_failure(self):
        """A cancel of a declined order is 409."""
        order = self.place({"plenty": 1}, DECLINED)
        self.shop.ended(self.user, order)
        self.check_problem(self.cancel(order), 409)


class Notifications(Base):
    def test_one_for_each_final_status(self):
        """Exactly one notification for each final status, newest first, with the count of unread ones."""
        user = self.shop.user("told@example.org")
        order = self.place({"plenty": 1}, token=user)
        self.shop.ended(user, order)
        self.shop.request("POST", f"/api/v1/orders/{order}/cancel", token=user)
        look = lambda: self.shop.request("GET", "/api/v1/notifications", token=user).json
        wait_for("two notifications", lambda: len(look()["items"]) == 2, 30)
        page = look()
        self.assertEqual(
            [(n["kind"], n["order_id"]) for n in page["items"]],
            [("order.cancelled", order), ("order.confirmed", order)],
        )
        self.assertEqual((page["unread"], page["next"]), (2, None))
        for n in page["items"]:
            self.assertEqual(set(n), {"id", "kind", "order_id", "text", "at", "read"})
            self.assertFalse(n["read"])
        first = self.shop.request("GET", "/api/v1/notifications?limit=1", token=user).json
        second = self.shop.request(
            "GET", "/api/v1/notifications?limit=1&after=" + segment(first["next"]), token=user
        ).json
        self.assertEqual([n["kind"] for n in first["items"] + second["items"]], ["order.cancelled", "order.confirmed"])
        self.check_problem(self.shop.request("GET", "/api/v1/notifications"), 401)


class Operators(Base):
    def test_status(self):
        """status --json names every process with what the operator needs."""
        status = self.shop.json("status")
        self.assertEqual(status["system"], "shop")
        self.assertEqual(status["gateway"]["url"], self.shop.url)
        names = {s["name"] for s in status["services"]}
        self.assertLessEqual({"identity", "catalog", "inventory", "payments", "orders", "notifications", "bank", "search"}, names)
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
        wanted = {"gateway", "orders", "hub", "inventory", "payments", "notifications"}

        def services():
            lines = self.shop.run("logs", "--trace", trace, "--json").stdout.splitlines()
            return {json.loads(line)["service"] for line in lines if line.startswith("{")}

        wait_for(f"{wanted} in the story", lambda: wanted <= services(), 15, 0.5)

    def test_nothing_is_stuck_or_dead(self):
        """After all that: no stuck saga, no dead letter."""
        self.assertNotRegex(self.shop.run("saga", "list", "--stuck", "--json").stdout, r'"id"')
        self.assertNotRegex(self.shop.run("events", "dead", "--json").stdout, r'"id"')


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
