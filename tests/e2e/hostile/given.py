# SPDX-License-Identifier: Apache-2.0
"""The shop that the hostile set runs against: its people, orders, products; and how requests to it are written."""

import json
import os

from shop import wait_for

SKU = "S1"


class Given:
    def __init__(self, shop):
        self.shop, self.port = shop, shop.port
        self.host = b"127.0.0.1:%d" % shop.port
        self.alice = shop.user("alice@shop.example")
        self.mallory = shop.user("mallory@shop.example")
        self.admin = shop.admin()
        self.product_id = shop.product(self.admin, SKU, 100, 1_000_000)["id"]
        for i in range(100):  # so that a list is large
            shop.product(self.admin, f"L{i}", name="a long name " * 15)
        orders = [shop.order(self.alice, {SKU: 1}).json["id"] for _ in range(2)]
        for order_id in orders:
            shop.ended(self.alice, order_id)
        self.order_id = orders[0]
        self.cursor = shop.request("GET", "/api/v1/orders?limit=1", token=self.alice).json["next"]
        self.notification_id = self.first_notification()["id"]

    def first_notification(self):
        def look():
            return self.shop.request("GET", "/api/v1/notifications", token=self.alice).json["items"]

        return wait_for("a notification", look)[0]

    # ---- requests ----

    def head(self, line, *fields, host=None, version="1.1"):
        """line: method and target. fields: without their CR LF."""
        host = self.host if host is None else host
        first = line.encode("latin-1") if isinstance(line, str) else line
        lines = [first + b" HTTP/" + version.encode(), b"Host: " + host]
        lines += [field.encode("latin-1") if isinstance(field, str) else field for field in fields]
        return b"\r\n".join(lines) + b"\r\n\r\n"

    def get(self, path, *fields, token=None):
        return self.head("GET " + path, *fields, *bearer(token))

    def send(self, method, path, body, *fields, token=None):
        """body: anything for JSON, bytes as they are."""
        text = body if isinstance(body, bytes) else json.dumps(body).encode()
        return (
            self.head(
                f"{method} {path}",
                "Content-Type: application/json",
                f"Content-Length: {len(text)}",
                *bearer(token),
                *fields,
            )
            + text
        )

    def order(self, body=None, *fields, token=None, key=None):
        """Alice's order; key None: a new one."""
        key = os.urandom(8).hex() if key is None else key
        return self.send(
            "POST",
            "/api/v1/orders",
            self.order_body() if body is None else body,
            "Idempotency-Key: " + key,
            *fields,
            token=token or self.alice,
        )

    def order_body(self, **changes):
        return dict(
            {
                "items": [{"product_id": self.product_id, "quantity": 1}],
                "payment": {"card_number": "4242424242424242"},
            },
            **changes,
        )


def bearer(token):
    return () if token is None else ("Authorization: Bearer " + token,)
