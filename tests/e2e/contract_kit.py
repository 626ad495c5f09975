# SPDX-License-Identifier: Apache-2.0
"""What the checks of shop/API.md share: the shop, its clients, and what must hold of every answer."""

import base64
import contextlib
import http.client
import json
import os
import re
import signal
import time
import urllib.parse

import p256
from curl_connection import CurlConnection
from shop import GOOD, ROOT, Shop, wait_for
from tls_shop import TlsShop

CHECKS = []  # functions with .words, in the page's order

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
TRACE = re.compile(r"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
GBP = "GBP"
PASSWORD = "a good password"


def says(*words):
    """The check shows that these words of the page are true."""

    def mark(check):
        check.words = words
        CHECKS.append(check)
        return check

    return mark


def elsewhere(path, text):
    """The proof is another test's, which takes longer or needs another clock: it must be there."""
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        equal(text in f.read(), True, f"{path} has no longer: {text}")


def equal(found, wanted, what=""):
    if found != wanted:
        raise AssertionError(f"{what}{': ' if what else ''}found {found!r}, wanted {wanted!r}")


def true(value, what):
    if not value:
        raise AssertionError(f"not {what}")


def money(amount):
    return {"amount": amount, "currency": GBP}


def segment(text):
    return urllib.parse.quote(text, safe="")


def problem(answer, status, pointer=None):
    """RFC 9457 with the fields that the page names; for invalid input the pointer of the fault."""
    equal(answer.status, status, answer)
    equal(answer.headers.get_content_type(), "application/problem+json", answer)
    equal(answer.json["status"], status)
    for name in ("type", "title", "detail", "instance"):
        true(isinstance(answer.json.get(name), str), f"text as {name} of {answer}")
    if pointer is not None:
        true(pointer in [e["pointer"] for e in answer.json["errors"]], f"{pointer} among errors of {answer}")
        true(all(isinstance(e["detail"], str) and e["detail"] for e in answer.json["errors"]), f"details in {answer}")
    return answer


def every_answer(answer):
    """What the page promises of each one."""
    for name in ("X-Request-ID", "traceparent"):
        equal(len(answer.headers.get_all(name, [])), 1, f"{name} of {answer}")
    true(TRACE.fullmatch(answer.headers["traceparent"]), f"a traceparent: {answer.headers['traceparent']}")
    if answer.status >= 400:
        problem(answer, answer.status)
    if answer.json is not None:
        answer.raw.decode("utf-8")
        values(answer.json)


def values(v):
    """Times, money and ids look alike everywhere."""
    if isinstance(v, list):
        for item in v:
            values(item)
    elif isinstance(v, dict):
        if "amount" in v and "currency" in v:
            equal((type(v["amount"]), v["currency"], set(v)), (int, GBP, {"amount", "currency"}), "money")
        for key, value in v.items():
            if key == "at":
                true(TIME.fullmatch(value), f"a time: {value}")
            if key == "id" or key.endswith("_id"):
                true(isinstance(value, str) and value, f"an id: {value!r}")
            if key in ("price", "total") and isinstance(value, dict):
                true("amount" in value, f"money: {value}")
            values(value)


class Stream:
    """The events of one order, as they come."""

    def __init__(self, world, order_id, token=None, last_id=None, seconds=30):
        self.connection = world.shop.http_connection(seconds)
        headers = {"Authorization": "Bearer " + (token or world.user), "Accept": "text/event-stream"}
        if last_id is not None:
            headers["Last-Event-ID"] = str(last_id)
        self.begun = time.monotonic()
        self.connection.request("GET", f"/api/v1/orders/{order_id}/events", headers=headers)
        self.answer = self.connection.getresponse()
        self.status, self.headers = self.answer.status, self.answer.headers
        self.comments = 0

    def next(self, comment_too=False):
        """{"id", "event", "data"}; None at the end of the stream; {} for a comment, when it counts."""
        event = {}
        while True:
            line = self.answer.readline()
            if line == b"":
                equal(event, {}, "an event that is cut off")
                return None
            line = line.decode("utf-8").rstrip("\r\n")
            if line == "":
                if event:
                    return dict(event, data=json.loads(event["data"]))
            elif line.startswith(":"):
                self.comments += 1
                if comment_too:
                    return {}
            else:
                name, _, value = line.partition(":")
                event[name] = value.removeprefix(" ")

    def rest(self):
        """[(id, status)] until the end."""
        found = []
        while (event := self.next()) is not None:
            found.append((int(event["id"]), event["data"]["status"]))
        return found

    def close(self):
        self.connection.close()


class SecureShop(TlsShop):
    """All of whose clients speak HTTP/2 over TLS."""

    def http_connection(self, seconds):
        return CurlConnection(f"https://127.0.0.1:{self.port}", os.path.join(self.own, "one.pem"), seconds)


class World:
    def __init__(self, build, secure=False):
        self.shop = SecureShop(build, "contract-tls") if secure else Shop(build, "contract")
        self.stock = {}  # sku to what it was set to, once
        self.keys = 0

    def start(self):
        self.shop.up()
        with open(os.path.join(self.shop.state, "admin.json"), encoding="utf-8") as f:
            self.admin_file = json.load(f)
        self.admin = self.shop.admin()
        self.first_products = self.ask("GET", "/api/v1/products").json
        self.user = self.shop.user("ann@example.org", PASSWORD)
        self.other = self.shop.user("bob@example.org", PASSWORD)
        self.users = {"ann": self.user, "bob": self.other}
        self.plenty = self.product("plenty", 250, 3000000)

    # ---- requests ----

    def ask(self, method, path, body=None, token=None, key=None, headers=None):
        answer = self.shop.request(method, path, body, token, key, headers)
        every_answer(answer)
        return answer

    def get(self, path, token=None):
        answer = self.ask("GET", path, token=token)
        equal(answer.status, 200, answer)
        return answer.json

    def items(self, path):
        return self.get(path, self.admin)["items"]

    def sign_up(self, name):
        token = self.shop.user(f"{name}@example.org", PASSWORD)
        self.users[name] = token
        return token

    def product(self, sku, price=100, on_hand=None, name=None):
        made = self.shop.product(self.admin, sku, price, on_hand, name)
        if on_hand is not None:
            self.stock[sku] = on_hand
        return made

    # ---- orders ----

    def key(self):
        self.keys += 1
        return f"key-{self.keys}-{os.urandom(4).hex()}"

    def post(self, body, key=None, token=None, headers=None):
        return self.ask("POST", "/api/v1/orders", body, token or self.user, key or self.key(), headers)

    def body(self, items=None, card=GOOD):
        items = items or {"plenty": 1}
        return {
            "items": [{"product_id": sku, "quantity": n} for sku, n in items.items()],
            "payment": {"card_number": card},
        }

    def place(self, items=None, card=GOOD, token=None):
        answer = self.post(self.body(items, card), token=token)
        equal(answer.status, 202, answer)
        return answer.json["id"]

    def place_until(self, items=None, card=GOOD, seconds=20):
        """While processes are killed: 503 says that nothing was done, and the same request may come again."""
        body, key = self.body(items, card), self.key()

        def answered():
            answer = self.post(body, key)
            return answer if answer.status != 503 else None

        answer = wait_for("an answer to the order", answered, seconds)
        equal(answer.status, 202, answer)
        return answer.json["id"]

    def order(self, order_id, token=None):
        return self.get("/api/v1/orders/" + order_id, token or self.user)

    def ended(self, order_id, token=None):
        return self.shop.ended(token or self.user, order_id)

    def cancel(self, order_id, token=None):
        return self.ask("POST", f"/api/v1/orders/{order_id}/cancel", token=token or self.user)

    def cancelled(self, order_id, token=None):
        def look():
            order = self.order(order_id, token)
            return order if order["status"] == "cancelled" else None

        return wait_for(f"order {order_id} to be cancelled", look)

    def payments(self, order_id):
        return self.items("/api/v1/payments?order_id=" + order_id)

    def ledger(self, order_id):
        return self.items("/api/v1/bank/ledger?order_id=" + order_id)

    def moves(self, order_id):
        return self.items("/api/v1/stock-movements?limit=100&order_id=" + order_id)

    # ---- lists ----

    def walk(self, path, token, limit=100):
        """All items, page by page."""
        found, after = [], ""
        sign = "&" if "?" in path else "?"
        while True:
            page = self.get(f"{path}{sign}limit={limit}{after}", token)
            true(len(page["items"]) <= limit, "at most the limit")
            found += page["items"]
            if page["next"] is None:
                return found
            true(isinstance(page["next"], str) and page["next"], "a cursor")
            true(page["items"], "items on a page that is not the last")
            after = "&after=" + segment(page["next"])

    # ---- faults ----

    @contextlib.contextmanager
    def stopped(self, *names):
        """The processes stand still (SIGSTOP): they are there, and say nothing."""
        pids = [self.shop.pids()[name] for name in names]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)

    def kill(self, *names):
        pids = self.shop.pids()
        for name in names:
            os.kill(pids[name], signal.SIGKILL)

    def works(self, path, token=None, seconds=20):
        """Until it is answered again. A killed gateway refuses nobody, but resets who was being served."""

        def look():
            with contextlib.suppress(OSError, http.client.HTTPException):
                return self.shop.request("GET", path, token=token).status == 200
            return False

        wait_for(f"{path} to answer again", look, seconds)


# ---- ES256, RFC 7518 section 3.4 ----


def base64url(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def es256_valid(key, signed, signature):
    x, y = (int.from_bytes(base64url(key[name]), "big") for name in ("x", "y"))
    return p256.valid((x, y), signed, int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))
