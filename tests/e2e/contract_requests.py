# SPDX-License-Identifier: Apache-2.0
"""shop/API.md from its beginning to the end of the table, in its order."""

import json
import os
import re
import time

from contract_kit import (
    GBP,
    PASSWORD,
    TRACE,
    Stream,
    base64url,
    equal,
    es256_valid,
    money,
    problem,
    says,
    segment,
    true,
)
from shop import DECLINED, ROOT, SLOW, wait_for

HOME_S_MAX = 2.0
# For the way to us and for a busy machine, which the promise does not count.
SLACK_S = 1.0

# ---- the beginning of the page ----


@says("What a client sees at the gateway (`http://127.0.0.1:8080` by default).")
def default_address(w):
    with open(os.path.join(ROOT, "shop/ficus.yaml"), encoding="utf-8") as f:
        true(re.search(r"^  listen: 127\.0\.0\.1:8080$", f.read(), re.M), "the default in shop/ficus.yaml")


@says("JSON in UTF-8;")
def json_in_utf8(w):
    name = "Zo\u00eb \u6f22\u5b57 \U0001f994"
    body = {"email": "zoe@example.org", "name": name, "password": PASSWORD}
    raw = json.dumps(body, ensure_ascii=False).encode("utf-8")
    answer = w.ask("POST", "/api/v1/users", raw, headers={"Content-Type": "application/json"})
    equal((answer.status, answer.json["name"]), (201, name))
    equal(answer.headers.get_content_type(), "application/json")
    problem(
        w.ask("POST", "/api/v1/users", raw.replace(b"\xc3", b"\xff"), headers={"Content-Type": "application/json"}), 400
    )
    problem(w.ask("POST", "/api/v1/users", b"{", headers={"Content-Type": "application/json"}), 400)


@says(
    "times RFC 3339 UTC with milliseconds; ids are opaque strings;",
    'money is `{"amount": 1275, "currency": "GBP"}` in minor units, integers only.',
)
def times_ids_money(w):
    # Every answer of this whole test is looked through for "at", ids and money as well (contract_kit.values).
    order = w.ended(w.place())
    true(order["history"] and all("at" in h for h in order["history"]), "times in the history")
    equal(order["total"], money(250))
    for price in ({"amount": 1.5, "currency": GBP}, {"amount": "1", "currency": GBP}, 1275, money(-1)):
        problem(w.ask("PUT", "/api/v1/products/bad", {"name": "N", "price": price}, w.admin), 400, "/price")
    problem(
        w.ask("PUT", "/api/v1/products/bad", {"name": "N", "price": {"amount": 1, "currency": "EUR"}}, w.admin), 400
    )


@says(
    "Errors are `application/problem+json` (RFC 9457) with `type`, `title`, `status`, `detail`, `instance`",
    'and, for invalid input, `errors: [{ "pointer": "/items/0/quantity", "detail": "\u2026" }]`;',
)
def problems(w):
    answer = problem(w.ask("GET", "/api/v1/products/none"), 404)
    equal(answer.json["instance"], "/api/v1/products/none")
    items = [{"product_id": "plenty", "quantity": 0}, {"product_id": 5, "quantity": 1}]
    answer = w.post({"items": items, "payment": {}})
    for pointer in ("/items/0/quantity", "/items/1/product_id", "/payment/card_number"):
        problem(answer, 400, pointer)


@says("an unknown path under `/api/` too.")
def unknown_paths(w):
    for path in ("/api/v1/none", "/api/none", "/api/", "/api/v1/", "/api/v2/products", "/api/v1/products/a/b"):
        for token in (None, w.user):
            problem(w.ask("GET", path, token=token), 404)


@says(
    "Every answer carries `X-Request-ID` and `traceparent`;",
    "both are taken over from the request when it has valid ones.",
)
def ids_of_requests(w):
    # That they are there is looked at with every answer of this test (contract_kit.every_answer).
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    for path, token in (
        ("/api/v1/products", None),
        ("/api/v1/none", None),
        ("/health", None),
        ("/api/v1/cart", w.user),
    ):
        for given in ("req-4711", "x" * 64):
            answer = w.ask("GET", path, token=token, headers={"X-Request-ID": given, "traceparent": trace})
            equal(answer.headers["X-Request-ID"], given, path)
            equal(answer.headers["traceparent"].split("-")[1], trace.split("-")[1], path)
        other = {w.ask("GET", path, token=token).headers["X-Request-ID"] for _ in range(2)}
        equal(len(other), 2, "ids of one's own")
    for bad in (
        trace[:-1],
        trace.upper(),
        "ff" + trace[2:],
        "00-" + "0" * 32 + trace[35:],
        trace[:36] + "0" * 16 + "-01",
    ):
        answer = w.ask("GET", "/api/v1/products", headers={"traceparent": bad})
        true(TRACE.fullmatch(answer.headers["traceparent"]), "a new one")
        true(bad[3:35] not in ("", answer.headers["traceparent"].split("-")[1]), f"a new trace instead of {bad!r}")
    for bad in ("", "two words", "\u00e4".encode("latin-1"), "x" * 5000, "a\tb"):
        answer = w.ask("GET", "/api/v1/products", headers={"X-Request-ID": bad})
        true(answer.headers["X-Request-ID"] not in (bad, ""), f"a new id instead of {bad!r:.40}")


@says("Skus are case-sensitive, 1\u201364 characters, percent-encoded in paths.")
def skus(w):
    for sku in ("aB", "ab", "50% off", "\u00e4 \u20ac", "?#&+", "a/b", "...", "a;b=c", "\u6f22" * 64, "x" * 64, "~"):
        path = "/api/v1/products/" + segment(sku)
        made = w.ask("PUT", path, {"name": "N " + sku[:9], "price": money(5)}, w.admin)
        equal((made.status, made.json and made.json.get("sku")), (201, sku), sku)
        equal(w.get(path)["sku"], sku)
        stock = w.ask("PUT", "/api/v1/stock/" + segment(sku), {"on_hand": 7}, w.admin)
        equal((stock.status, stock.json), (200, {"sku": sku, "on_hand": 7, "reserved": 0, "available": 7}), sku)
        equal(w.get("/api/v1/stock/" + segment(sku), w.admin)["sku"], sku)
        w.stock[sku] = 7
    problem(w.ask("GET", "/api/v1/products/AB"), 404)
    for sku in (".", "..", "%2E%2E"):  # no segment of a path (RFC 3986 section 3.3), however it is encoded
        problem(w.ask("PUT", "/api/v1/products/" + sku, {"name": "x", "price": money(1)}, w.admin), 400)
    for size in (65, 200):
        problem(w.ask("PUT", "/api/v1/products/" + "x" * size, {"name": "x", "price": money(1)}, w.admin), 400)


@says(
    "Lists: `limit` 1\u2013100 (default 20, else 400), `after` an opaque cursor (a broken one is 400), "
    "`next` a cursor or null."
)
def lists(w):
    reader = w.sign_up("reader")
    for i in range(23):
        w.product(f"list-{i}", 1)
    orders = [w.place(token=reader) for _ in range(21)]
    for order in orders:
        w.ended(order, reader)
    wait_for("21 notifications", lambda: len(w.walk("/api/v1/notifications", reader)) == 21)
    for path, token, key in (
        ("/api/v1/products", None, "id"),
        ("/api/v1/stock-movements", w.admin, "id"),
        ("/api/v1/orders", reader, "id"),
        ("/api/v1/orders", w.admin, "id"),
        ("/api/v1/payments", w.admin, "id"),
        ("/api/v1/bank/ledger", w.admin, "id"),
        ("/api/v1/notifications", reader, "id"),
    ):
        for query in ("limit=0", "limit=101", "limit=x", "limit=", "limit=-1", "limit=1.5", "after=", "after=nonsense"):
            problem(w.ask("GET", f"{path}?{query}", token=token), 400)
        equal(len(w.get(path, token)["items"]), 20, "the default limit of " + path)
        every = [item[key] for item in w.walk(path, token)]
        equal([item[key] for item in w.walk(path, token, 7)], every, f"{path} in small pages")
        equal(len(set(every)), len(every), f"each item of {path} once")
        equal(w.get(path + "?limit=1", token)["next"] is None, False, "the cursor of a first page")


# ---- the table ----


@says("| `POST /api/v1/users` `{email, name, password}` | anyone | 201 `{id, email, name}`;")
def users_post(w):
    body = {"email": "carl@example.org", "name": "Carl \u00d6", "password": PASSWORD}
    answer = w.ask("POST", "/api/v1/users", body)
    equal((answer.status, set(answer.json)), (201, {"id", "email", "name"}))
    equal((answer.json["email"], answer.json["name"]), (body["email"], body["name"]))
    answer = w.ask("POST", "/api/v1/users", {"email": "none", "password": 5})
    for pointer in ("/email", "/name", "/password"):
        problem(answer, 400, pointer)


@says("409 if the email is taken;")
def users_taken(w):
    for email in ("ann@example.org", "ANN@example.org", w.admin_file["email"]):
        problem(w.ask("POST", "/api/v1/users", {"email": email, "name": "A", "password": PASSWORD}), 409)


@says("password 10\u2013200 characters |")
def users_password(w):
    for letter in "x\u00e4":
        for size, status in ((9, 400), (10, 201), (200, 201), (201, 400)):
            email = f"p{size}-{ord(letter)}@example.org"
            answer = w.ask("POST", "/api/v1/users", {"email": email, "name": "P", "password": letter * size})
            equal(answer.status, status, (size, letter))
            if status == 400:
                problem(answer, 400, "/password")
    true(w.shop.sign_in("p200-228@example.org", "\u00e4" * 200), "signed in with all 200")
    answer = w.ask("POST", "/api/v1/sessions", {"email": "p200-228@example.org", "password": "\u00e4" * 199})
    problem(answer, 401)


@says(
    '| `POST /api/v1/sessions` `{email, password}` | anyone | 201 `{token, token_type: "Bearer", expires_in}`:',
    "a JWT (ES256), keys at `/.well-known/jwks.json`;",
)
def sessions(w):
    answer = w.ask("POST", "/api/v1/sessions", {"email": "ann@example.org", "password": PASSWORD})
    equal((answer.status, answer.json["token_type"]), (201, "Bearer"))
    equal((type(answer.json["expires_in"]), answer.json["expires_in"] > 0), (int, True))
    head, payload, signature = answer.json["token"].split(".")
    header, claims = json.loads(base64url(head)), json.loads(base64url(payload))
    equal(header["alg"], "ES256")
    true(abs(claims["exp"] - time.time() - answer.json["expires_in"]) < 60, "exp as expires_in says")
    keys = w.get("/.well-known/jwks.json")["keys"]
    (key,) = [key for key in keys if key["kid"] == header["kid"]]
    equal((key["kty"], key["crv"]), ("EC", "P-256"))
    true(not any("d" in key for key in keys), "public keys only")
    true(es256_valid(key, f"{head}.{payload}".encode(), base64url(signature)), "a valid signature")
    true(
        not es256_valid(key, f"{head}.{payload}x".encode(), base64url(signature)),
        "a check that can fail",
    )


@says("401, the same for an unknown email |")
def sessions_refused(w):
    answers = [
        problem(w.ask("POST", "/api/v1/sessions", {"email": email, "password": "not the password"}), 401)
        for email in ("ann@example.org", "nobody@example.org")
    ]
    equal(answers[0].json, answers[1].json)


@says("| `GET /api/v1/users/me` | user | 200 `{id, email, name}` |")
def users_me(w):
    me = w.get("/api/v1/users/me", w.user)
    equal((set(me), me["email"]), ({"id", "email", "name"}, "ann@example.org"))
    head, payload, signature = w.user.split(".")
    for token in (None, "x", f"{head}.{payload[:-2]}AA.{signature}", f"{head}.{payload}."):
        problem(w.ask("GET", "/api/v1/users/me", token=token), 401)


@says(
    "| `GET /api/v1/products?limit=&after=` | anyone | 200 `{items: [{id, sku, name, price, available}], next}`;",
    "`available` an integer that may lag by seconds, or null |",
)
def products(w):
    page = w.get("/api/v1/products?limit=100")
    equal(set(page), {"items", "next"})
    true(all(set(item) == {"id", "sku", "name", "price", "available"} for item in page["items"]), "these fields")
    w.product("unset", 5)
    equal(w.get("/api/v1/products/unset")["available"], None)
    w.product("avail", 5, 33)
    wait_for("available 33", lambda: w.get("/api/v1/products/avail")["available"] == 33, 10)
    w.ended(w.place({"avail": 3}))
    wait_for("available 30", lambda: w.get("/api/v1/products/avail")["available"] == 30, 10)


@says("| `GET /api/v1/products/{id}` | anyone | 200; 404. `{id}` may be the id or the sku |")
def product(w):
    by_sku = w.get("/api/v1/products/plenty")
    equal(w.get("/api/v1/products/" + by_sku["id"]), by_sku)
    equal((by_sku["sku"], by_sku["price"]), ("plenty", money(250)))
    problem(w.ask("GET", "/api/v1/products/none"), 404)


@says("| `GET /api/v1/search?q=&limit=` | anyone | 200 `{items: [\u2026as products\u2026], total}`;")
def search(w):
    for i in range(3):
        w.product(f"find-{i}", 5, name=f"Heliotrope vase no {i}")
    look = lambda: w.get("/api/v1/search?q=heliotrope")
    wait_for("three vases", lambda: look()["total"] == 3, 10)
    found = look()
    equal(set(found), {"items", "total"})
    for item in found["items"]:
        shown = w.get("/api/v1/products/" + segment(item["sku"]))
        equal({k: item[k] for k in shown if k != "available"}, {k: shown[k] for k in shown if k != "available"})
        equal(set(item) >= set(shown), True)
    page = w.get("/api/v1/search?q=heliotrope&limit=2")
    equal((len(page["items"]), page["total"]), (2, 3))
    equal(w.get("/api/v1/search?q=" + segment("zzyzx qqfwfq")), {"items": [], "total": 0})
    for query in ("limit=0", "limit=101", "limit=x"):
        problem(w.ask("GET", "/api/v1/search?q=vase&" + query), 400)
    for odd in ('"', "'; --", "* OR NEAR(", "\u6f22", "a" * 200, "(", "-", "sku:x"):
        equal(w.ask("GET", "/api/v1/search?q=" + segment(odd)).status, 200, odd)


@says("best match first;")
def search_order(w):
    w.product("best-1", 5, name="A long name in which somewhere stands marmalade among many other words of no use")
    w.product("best-2", 5, name="Marmalade")
    w.product("best-3", 5, name="Marmalade spoon, and other things for the table")
    items = wait_for("three", lambda: len(f := w.get("/api/v1/search?q=marmalade")["items"]) == 3 and f, 10)
    equal(items[0]["sku"], "best-2")


@says("a new product is found within 5 s |")
def search_new(w):
    word = "xanthic" + os.urandom(3).hex()
    w.product("new-" + word, 5, name="A " + word)
    begun = time.monotonic()
    wait_for("the new product", lambda: w.get("/api/v1/search?q=" + word)["total"] == 1, 10)
    true(time.monotonic() - begun <= 5, f"within 5 s: {time.monotonic() - begun:.1f} s")


@says("| `PUT /api/v1/products/{sku}` `{name, price}` | admin | 200 or 201 |")
def product_put(w):
    path = "/api/v1/products/put-1"
    first = w.ask("PUT", path, {"name": "One", "price": money(1275)}, w.admin)
    second = w.ask("PUT", path, {"name": "Two", "price": money(1300)}, w.admin)
    equal((first.status, second.status), (201, 200))
    shown = w.get(path)
    equal((shown["id"], shown["name"], shown["price"]), (first.json["id"], "Two", money(1300)))
    problem(w.ask("PUT", "/api/v1/products/put-2", {"price": money(1)}, w.admin), 400, "/name")
    problem(w.ask("PUT", "/api/v1/products/put-2", {"name": "P", "price": money(1)}), 401)
    problem(w.ask("PUT", "/api/v1/products/put-2", {"name": "P", "price": money(1)}, w.user), 403)
    problem(w.ask("GET", "/api/v1/products/put-2"), 404)


@says(
    "| `PUT /api/v1/stock/{sku}` `{on_hand}` | admin | 200 `{sku, on_hand, reserved, available}`;",
    "409 when below `reserved` |",
)
def stock_put(w):
    w.product("held", 5, 10)
    path = "/api/v1/stock/held"
    order = w.place({"held": 6}, SLOW)  # holds for three seconds
    wait_for("6 reserved", lambda: w.get(path, w.admin)["reserved"] == 6, 10)
    equal(w.get(path, w.admin), {"sku": "held", "on_hand": 10, "reserved": 6, "available": 4})
    problem(w.ask("PUT", path, {"on_hand": 5}, w.admin), 409)
    answer = w.ask("PUT", path, {"on_hand": 6}, w.admin)
    equal((answer.status, answer.json), (200, {"sku": "held", "on_hand": 6, "reserved": 6, "available": 0}))
    w.stock["held"] = 6
    equal(w.ended(order)["status"], "confirmed")
    for body in ({"on_hand": -1}, {"on_hand": 1.5}, {}):
        problem(w.ask("PUT", path, body, w.admin), 400, "/on_hand")
    problem(w.ask("PUT", path, {"on_hand": 1}), 401)
    problem(w.ask("PUT", path, {"on_hand": 1}, w.user), 403)


@says("| `GET /api/v1/stock/{sku}` | admin | 200; 404 |")
def stock_get(w):
    w.product("s1", 5, 9)
    equal(w.get("/api/v1/stock/s1", w.admin), {"sku": "s1", "on_hand": 9, "reserved": 0, "available": 9})
    problem(w.ask("GET", "/api/v1/stock/none", token=w.admin), 404)
    problem(w.ask("GET", "/api/v1/stock/s1", token=w.user), 403)
    problem(w.ask("GET", "/api/v1/stock/s1"), 401)


@says(
    "| `GET /api/v1/stock-movements?order_id=&sku=&limit=&after=` | admin | "
    '200 `{items: [{id, order_id, sku, quantity, kind: "reserved" \\| "taken" \\| "released" \\| "returned", at}], '
    "next}` |"
)
def stock_movements(w):
    w.product("moved", 5, 10)
    w.product("moved-2", 5, 10)
    taken, released = w.place({"moved": 2, "moved-2": 1}), w.place({"moved": 3}, DECLINED)
    w.ended(taken), w.ended(released)
    wait_for("taken", lambda: len(w.moves(taken)) == 4, 10)
    w.cancel(taken), w.cancelled(taken)
    kinds = lambda query: [(m["kind"], m["quantity"]) for m in w.items("/api/v1/stock-movements?" + query)]
    wanted = [("reserved", 2), ("taken", 2), ("returned", 2)]
    equal(kinds(f"sku=moved&order_id={taken}"), wanted)
    equal(kinds(f"order_id={released}"), [("reserved", 3), ("released", 3)])
    equal(len(kinds("sku=moved")), 5)
    for m in w.items("/api/v1/stock-movements?sku=moved"):
        equal(set(m), {"id", "order_id", "sku", "quantity", "kind", "at"})
    equal(kinds("order_id=none"), [])
    problem(w.ask("GET", "/api/v1/stock-movements", token=w.user), 403)
    problem(w.ask("GET", "/api/v1/stock-movements"), 401)


@says(
    "| `GET /api/v1/cart`, `PUT /api/v1/cart` `{items: [{product_id, quantity}]}` | user | 200 `{items, total}`;",
)
def cart(w):
    user = w.sign_up("carter")
    path, empty = "/api/v1/cart", {"items": [], "total": money(0)}
    equal(w.get(path, user), empty)
    w.product("cup", 900)
    items = [
        {"product_id": "plenty", "quantity": 2},
        {"product_id": w.plenty["id"], "quantity": 1},
        {"product_id": "cup", "quantity": 1},
    ]
    answer = w.ask("PUT", path, {"items": items}, user)
    wanted = {
        "items": [
            {"product_id": w.plenty["id"], "sku": "plenty", "name": "plenty", "quantity": 3, "price": money(250)},
            {
                "product_id": w.get("/api/v1/products/cup")["id"],
                "sku": "cup",
                "name": "cup",
                "quantity": 1,
                "price": money(900),
            },
        ],
        "total": money(1650),
    }
    equal((answer.status, answer.json), (200, wanted))
    equal(w.get(path, user), wanted)
    equal(w.get(path, w.other), empty)
    w.product("cup", 1000)
    wait_for("the new price", lambda: w.get(path, user)["total"] == money(1750), 10)
    with w.stopped("catalog"):
        equal(w.get(path, user)["total"], money(1750), "a look without the catalog")
        refused = problem(w.ask("PUT", path, {"items": [{"product_id": "nobody knows", "quantity": 1}]}, user), 503)
        true(refused.headers["Retry-After"], "Retry-After")
    for body, pointer in (
        ({}, "/items"),
        ({"items": [dict(items[0], quantity=0)]}, "/items/0/quantity"),
        ({"items": [items[0], dict(items[0], quantity=1000001)]}, "/items/1/quantity"),
        ({"items": [{"quantity": 1}]}, "/items/0/product_id"),
        ({"items": items[:1] * 1001}, "/items"),
    ):
        problem(w.ask("PUT", path, body, user), 400, pointer)
    unknown = problem(
        w.ask("PUT", path, {"items": [{"product_id": "none", "quantity": 1}]}, user), 422, "/items/0/product_id"
    )
    equal(unknown.json["code"], "unknown_product")
    equal(w.ask("PUT", path, {"items": items[:1] * 1000}, user).json["total"], money(2000 * 250))
    equal(w.ask("PUT", path, {"items": []}, user).json, empty)
    problem(w.ask("GET", path), 401)
    problem(w.ask("PUT", path, {"items": []}), 401)


@says("emptied when an order is placed |")
def cart_emptied(w):
    user = w.sign_up("buyer")
    path, items = "/api/v1/cart", [{"product_id": "plenty", "quantity": 2}]
    empty = lambda: w.get(path, user)["items"] == []
    equal(w.ask("PUT", path, {"items": items}, user).status, 200)
    equal(w.ask("PUT", path, {"items": items}, w.other).status, 200)
    w.place(token=user)
    wait_for("an empty cart", empty, 10)
    equal(len(w.get(path, w.other)["items"]), 1, "another's cart")
    # What is put after the order's 202 stays, however late the cart hears of the order.
    equal(w.ask("PUT", path, {"items": items}, user).status, 200)
    with w.stopped("hub"):
        w.place(token=user)
        equal(w.ask("PUT", path, {"items": items}, user).status, 200)
    w.ended(w.place(token=w.other), w.other)  # its event came behind the late one
    wait_for("the other's cart to be emptied", lambda: w.get(path, w.other)["items"] == [], 10)
    equal(empty(), False, "what was put after the order is gone:")


@says(
    "| `POST /api/v1/orders` `{items: [{product_id, quantity}], payment: {card_number}}`, header `Idempotency-Key` "
    "| user |",
    '202 `{id, status: "pending", \u2026}` with `Location`, without waiting for the payment',
    "|",
)
def orders_post(w):
    begun = time.monotonic()
    answer = w.post(w.body({"plenty": 3}, SLOW))
    took = time.monotonic() - begun
    equal((answer.status, answer.json["status"]), (202, "pending"))
    true(took < 3, f"an answer before the bank's 3 s: {took:.1f} s")
    equal(answer.headers["Location"], "/api/v1/orders/" + answer.json["id"])
    equal(w.order(answer.json["id"])["status"], "pending")
    equal(w.ended(answer.json["id"])["status"], "confirmed")
    problem(w.ask("POST", "/api/v1/orders", w.body(), key=w.key()), 401)


@says(
    "| `GET /api/v1/orders/{id}` | its user, admin | 200 `{id, status, "
    "items: [{product_id, sku, name, quantity, price}], total, reason, history: [{status, at, reason}]}`;"
)
def order(w):
    shown = w.ended(w.place({"plenty": 3}))
    equal(set(shown), {"id", "status", "items", "total", "reason", "history"})
    item = {"product_id": w.plenty["id"], "sku": "plenty", "name": "plenty", "quantity": 3, "price": money(250)}
    equal((shown["status"], shown["items"], shown["total"], shown["reason"]), ("confirmed", [item], money(750), None))
    equal([set(h) for h in shown["history"]], [{"status", "at", "reason"}] * 2)
    equal([h["status"] for h in shown["history"]], ["pending", "confirmed"])
    equal(w.order(shown["id"], w.admin), shown)
    problem(w.ask("GET", "/api/v1/orders/" + shown["id"]), 401)


@says("someone else's: 404 |")
def order_of_another(w):
    path = "/api/v1/orders/" + w.place()
    for method, tail in (("GET", ""), ("GET", "/events"), ("POST", "/cancel")):
        theirs = problem(w.ask(method, path + tail, token=w.other), 404)
        none = problem(w.ask(method, "/api/v1/orders/none" + tail, token=w.other), 404)
        equal({**theirs.json, "instance": ""}, {**none.json, "instance": ""}, "the same as for none")


@says("| `GET /api/v1/orders?limit=&after=&status=` | user: own; admin: all | 200 `{items, next}`, newest first |")
def orders(w):
    user = w.sign_up("lister")
    first, second = w.place(token=user), w.place(card=DECLINED, token=user)
    w.ended(first, user), w.ended(second, user)
    ids = lambda query, token: [o["id"] for o in w.get("/api/v1/orders" + query, token)["items"]]
    page = w.get("/api/v1/orders?limit=1", user)
    equal((set(page), page["items"]), ({"items", "next"}, [w.order(second, user)]))
    equal(ids("", user), [second, first])
    equal(ids("?limit=1&after=" + segment(page["next"]), user), [first])
    equal([ids("?status=" + s, user) for s in ("cancelled", "confirmed", "pending")], [[second], [first], []])
    equal(ids("?limit=2", w.admin), [second, first])
    true(all(o["status"] == "cancelled" for o in w.walk("/api/v1/orders?status=cancelled", w.admin)), "cancelled ones")
    problem(w.ask("GET", "/api/v1/orders?status=lost", token=user), 400)
    equal(ids("", w.sign_up("empty")), [])
    problem(w.ask("GET", "/api/v1/orders"), 401)


@says(
    "| `GET /api/v1/orders/{id}/events` | its user | `text/event-stream`: begins with the current status;",
    "one event per status change, `id:` is the history index,",
    "`Last-Event-ID` resumes,",
    "ends after `confirmed` or `cancelled` |",
)
def order_events(w):
    for card, last in ((SLOW, "confirmed"), (DECLINED, "cancelled")):
        order = w.place(card=card)
        stream = Stream(w, order)
        equal((stream.status, stream.headers.get_content_type()), (200, "text/event-stream"))
        every_id = (stream.headers["X-Request-ID"], stream.headers["traceparent"])
        true(all(every_id), "ids of the request")
        seen = stream.rest()  # ends by itself
        true(seen in ([(0, "pending"), (1, last)], [(1, last)]), f"pending, {last}: {seen}")
        equal(seen[0][1] == "pending" or card != SLOW, True, "the status of that moment")
        equal(Stream(w, order).rest(), [(1, last)], "a stream of an ended order")
        equal(Stream(w, order, last_id=0).rest(), [(1, last)], "resumed")
        history = [(i, h["status"]) for i, h in enumerate(w.order(order)["history"])]
        equal(history, [(0, "pending"), (1, last)])
        equal(Stream(w, order, last_id=1).rest(), [], "nothing is left")
    order = w.place()
    w.ended(order), w.cancel(order), w.cancelled(order)
    equal(Stream(w, order).rest(), [(2, "cancelled")])
    equal(Stream(w, order, last_id=0).rest(), [(1, "confirmed"), (2, "cancelled")][:2])
    equal(Stream(w, order, last_id=1).rest(), [(2, "cancelled")])
    problem(w.ask("GET", f"/api/v1/orders/{order}/events"), 401)


@says("a comment every 15 s;")
def order_events_comment(w):
    order = w.place(card=SLOW)
    with w.stopped("payments"):  # it stays pending
        stream = Stream(w, order)
        equal(stream.next()["data"]["status"], "pending")
        equal(stream.next(comment_too=True), {})
        took = time.monotonic() - stream.begun
        true(took < 15 + SLACK_S, f"within 15 s: {took:.1f} s")
    equal(stream.rest(), [(1, "confirmed")])


@says(
    "| `POST /api/v1/orders/{id}/cancel` | its user, admin | 202 when pending or confirmed "
    "(also when a cancel is already on its way);",
    "409 when `cancelled`.",
)
def order_cancel(w):
    pending = w.place(card=SLOW)
    equal([w.cancel(pending).status, w.cancel(pending).status], [202, 202])
    equal([h["status"] for h in w.cancelled(pending)["history"]], ["pending", "cancelled"])
    confirmed = w.place()
    equal(w.ended(confirmed)["status"], "confirmed")
    with w.stopped("payments"):  # it stays on its way
        equal([w.cancel(confirmed).status, w.cancel(confirmed, w.admin).status], [202, 202])
    equal(w.cancelled(confirmed)["reason"], "by_customer")
    declined = w.place(card=DECLINED)
    w.ended(declined)
    for order in (pending, confirmed, declined):
        problem(w.cancel(order), 409)
        problem(w.cancel(order, w.admin), 409)
    problem(w.ask("POST", f"/api/v1/orders/{pending}/cancel"), 401)


@says("The 202 is durable: the order will end `cancelled` |")
def order_cancel_durable(w):
    pending, confirmed = w.place(card=SLOW), w.place()
    w.ended(confirmed)
    equal([w.cancel(pending).status, w.cancel(confirmed).status], [202, 202])
    w.kill("orders", "hub")
    w.works("/api/v1/orders", w.user)
    equal([w.cancelled(order)["reason"] for order in (pending, confirmed)], ["by_customer"] * 2)


@says(
    "| `GET /api/v1/payments?order_id=&limit=&after=` | admin | "
    '200 `{items: [{id, order_id, amount, status: "captured" \\| "refunded" \\| "declined", at}], next}`;',
    "one payment per order, `status` is its present state |",
)
def payments(w):
    good, bad = w.place({"plenty": 2}), w.place(card=DECLINED)
    w.ended(good), w.ended(bad)
    (payment,) = w.payments(good)
    equal(set(payment), {"id", "order_id", "amount", "status", "at"})
    equal((payment["order_id"], payment["amount"], payment["status"]), (good, money(500), "captured"))
    equal([p["status"] for p in w.payments(bad)], ["declined"])
    w.cancel(good), w.cancelled(good)
    (refunded,) = w.payments(good)
    equal((refunded["id"], refunded["status"]), (payment["id"], "refunded"))
    equal(w.get("/api/v1/payments?order_id=none", w.admin), {"items": [], "next": None})
    problem(w.ask("GET", "/api/v1/payments", token=w.user), 403)
    problem(w.ask("GET", "/api/v1/payments"), 401)


@says(
    "| `GET /api/v1/bank/ledger?order_id=&limit=&after=` | admin | "
    '200 `{items: [{id, order_id, kind: "capture" \\| "refund", amount, at}], next}`: what the outside bank says |'
)
def ledger(w):
    order = w.place({"plenty": 2})
    w.ended(order), w.cancel(order), w.cancelled(order)
    lines = w.ledger(order)
    equal(
        [(e["order_id"], e["kind"], e["amount"]) for e in lines],
        [(order, k, money(500)) for k in ("capture", "refund")],
    )
    equal([set(e) for e in lines], [{"id", "order_id", "kind", "amount", "at"}] * 2)
    problem(w.ask("GET", "/api/v1/bank/ledger", token=w.user), 403)
    problem(w.ask("GET", "/api/v1/bank/ledger"), 401)


@says(
    "| `GET /api/v1/notifications?limit=&after=` | user | "
    '200 `{items: [{id, kind: "order.confirmed" \\| "order.cancelled", order_id, text, at, read}], unread, next}` |'
)
def notifications(w):
    user = w.sign_up("told")
    order = w.place(token=user)
    w.ended(order, user), w.cancel(order, user), w.cancelled(order, user)
    look = lambda: w.get("/api/v1/notifications", user)
    wait_for("two notifications", lambda: len(look()["items"]) == 2, 10)
    page = look()
    equal((set(page), page["unread"], page["next"]), ({"items", "unread", "next"}, 2, None))
    kinds = [(n["kind"], n["order_id"], n["read"]) for n in page["items"]]
    equal(kinds, [("order.cancelled", order, False), ("order.confirmed", order, False)], "newest first")
    for n in page["items"]:
        equal(set(n), {"id", "kind", "order_id", "text", "at", "read"})
        true(isinstance(n["text"], str) and n["text"], "a text")
    path = f"/api/v1/notifications/{page['items'][0]['id']}/read"
    equal([w.ask("POST", path, token=user).status for _ in range(2)], [204, 204])
    equal((look()["unread"], [n["read"] for n in look()["items"]]), (1, [True, False]))
    problem(w.ask("POST", path, token=w.other), 404)
    problem(w.ask("GET", "/api/v1/notifications"), 401)


@says(
    "| `GET /api/v1/home` | user | 200 composed of identity, orders and notifications: "
    "`{user, orders, notifications}`;",
    "within 2 s whatever part is missing; header `Ficus-Complete: true` or, when an optional part is missing, "
    "`false` with that part `null` |",
)
def home(w):
    def look():
        begun = time.monotonic()
        answer = w.ask("GET", "/api/v1/home", token=w.user)
        took = time.monotonic() - begun
        equal((answer.status, set(answer.json)), (200, {"user", "orders", "notifications"}))
        true(took < HOME_S_MAX + SLACK_S, f"within 2 s: {took:.1f} s")
        return answer.headers["Ficus-Complete"], [part for part in sorted(answer.json) if answer.json[part] is None]

    equal(look(), ("true", []))
    whole = w.get("/api/v1/home", w.user)
    equal(whole["user"], w.get("/api/v1/users/me", w.user))
    newest = w.get("/api/v1/orders?limit=5", w.user)["items"]
    equal((whole["orders"]["items"] if isinstance(whole["orders"], dict) else whole["orders"]), newest)
    told = w.get("/api/v1/notifications?limit=5", w.user)
    equal(
        (whole["notifications"]["items"] if isinstance(whole["notifications"], dict) else whole["notifications"]),
        told["items"],
    )
    for service, part in (("identity", "user"), ("orders", "orders"), ("notifications", "notifications")):
        with w.stopped(service):
            equal(look(), ("false", [part]), service)
        wait_for("the whole again", lambda: look() == ("true", []), 20)
    with w.stopped("identity", "orders", "notifications"):
        equal(look(), ("false", ["notifications", "orders", "user"]))
    w.kill("orders")
    look()
    wait_for("the whole again", lambda: look() == ("true", []), 20)
    problem(w.ask("GET", "/api/v1/home"), 401)


@says(
    "| `GET /health`, `GET /alive` | anyone | 200 when the gateway itself can serve; it does not mirror the services |"
)
def health(w):
    look = lambda: [w.ask("GET", path).status for path in ("/health", "/alive")]
    equal(look(), [200, 200])
    with w.stopped("identity", "catalog", "orders", "hub"):
        equal(look(), [200, 200])


@says("| `GET /` | anyone | the storefront |")
def storefront(w):
    answer = w.ask("GET", "/")
    equal((answer.status, answer.headers.get_content_type()), (200, "text/html"))
    true(b"<html" in answer.raw.lower(), "a page")
