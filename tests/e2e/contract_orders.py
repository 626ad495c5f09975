# SPDX-License-Identifier: Apache-2.0
"""shop/API.md from "Orders" to its end, in its order. The last checks look at every order that this test made."""

import concurrent.futures
import json
import os
import re
import signal
import stat
import subprocess
import sys
import threading
import time
from collections import Counter

from contract_kit import elsewhere, equal, money, problem, says, segment, true
from shop import DECLINED, FLAKY, GOOD, INSUFFICIENT, ROOT, SLOW, free_port, wait_for

CARDS = (GOOD, DECLINED, INSUFFICIENT, FLAKY, SLOW)

# ---- orders ----


@says("**Orders.** `items` may name a product twice (quantities are added);")
def product_named_twice(w):
    items = [("plenty", 2), (w.plenty["id"], 3), ("plenty", 1)]
    body = w.body()
    body["items"] = [{"product_id": p, "quantity": n} for p, n in items]
    order = w.ended(w.post(body).json["id"])
    equal([(i["sku"], i["quantity"]) for i in order["items"]], [("plenty", 6)])
    equal(order["total"], money(1500))


@says("1\u20131,000 items, quantity 1\u20131,000,000, body up to 256 KiB.")
def order_bounds(w):
    item, body = w.body()["items"][0], w.body()
    for items, pointer in (
        ([], "/items"),
        ([item] * 1001, "/items"),
        ("plenty", "/items"),
        ([dict(item, quantity=0)], "/items/0/quantity"),
        ([item, dict(item, quantity=1000001)], "/items/1/quantity"),
        ([dict(item, quantity=1.5)], "/items/0/quantity"),
        ([dict(item, quantity="1")], "/items/0/quantity"),
        ([{"quantity": 1}], "/items/0/product_id"),
    ):
        problem(w.post(dict(body, items=items)), 400, pointer)
    order = w.ended(w.post(dict(body, items=[dict(item, quantity=1000000)])).json["id"])
    equal((order["status"], order["total"]), ("confirmed", money(250 * 1000000)))
    w.ended(w.place({"plenty": 1}))
    large = json.dumps(dict(body, items=[item] * 1000)).encode()
    for size, status in ((256 * 1024, 202), (256 * 1024 + 1, 413)):
        answer = w.post(large + b" " * (size - len(large)), headers={"Content-Type": "application/json"})
        equal(answer.status, status, size)
        if status == 202:
            equal(w.ended(answer.json["id"])["total"], money(250000))


@says("The key is 1\u2013128 printable characters,", "no key \u2192 400.")
def keys(w):
    for key in ("k" * 128, "~", "a b!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}"):
        equal(w.post(w.body(), key).status, 202, key)
    for key in ("", "k" * 129, "caf\u00e9".encode("latin-1"), "a\tb"):
        problem(w.ask("POST", "/api/v1/orders", w.body(), w.user, key), 400)
    problem(w.ask("POST", "/api/v1/orders", w.body(), w.user), 400)


@says("belongs to user and route,")
def key_of_user_and_route(w):
    key = w.key()
    mine, theirs = w.post(w.body(), key), w.post(w.body(), key, w.other)
    equal((mine.status, theirs.status), (202, 202))
    true(mine.json["id"] != theirs.json["id"], "two orders")
    w.ended(mine.json["id"])
    cancels = [
        w.ask("POST", f"/api/v1/orders/{order}/cancel", token=token, key=key)
        for order, token in ((mine.json["id"], w.user), (theirs.json["id"], w.other))
    ]
    equal([c.status for c in cancels], [202, 202], "on another route")


@says(
    "and is kept at least 24 h, also over restarts:",
    "same key and body \u2192 the same answer (status, body, Location);",
)
def same_key_same_answer(w):
    elsewhere("tests/unit/service/test_tables.c", "Kept answers older than 48 h go, in small steps; younger ones stay.")
    key = w.key()
    first = w.post(w.body(), key)
    facts = lambda a: (a.status, a.raw, a.headers["Location"])
    w.ended(first.json["id"])  # the order has gone on since
    equal(facts(w.post(w.body(), key)), facts(first))
    for victim in ("orders", "gateway"):
        w.kill(victim)
        w.works("/api/v1/orders", w.user)
        equal(facts(w.post(w.body(), key)), facts(first), "after the death of " + victim)
    w.shop.run("restart", "orders")
    w.works("/api/v1/orders", w.user)
    equal(facts(w.post(w.body(), key)), facts(first), "after a restart")


@says("same key, other body \u2192 422;")
def same_key_other_body(w):
    key = w.key()
    first = w.post(w.body(), key)
    for body in (w.body({"plenty": 2}), w.body(card=DECLINED)):
        problem(w.post(body, key), 422)
    equal(w.post(w.body(), key).raw, first.raw, "still the first one's")


@says("Only a request that took effect is remembered: one refused may be corrected and sent again.")
def refused_is_not_remembered(w):
    for bad, status in (
        (w.body({"plenty": 0}), 400),
        (w.body(card="4242424242424241"), 400),
        (w.body({"no such thing": 1}), 422),
        (w.body({"plenty": 1, "x" * 65: 1}), 400),
    ):
        key = w.key()
        problem(w.post(bad, key), status)
        equal(w.post(w.body(), key).status, 202)


@says(
    "While the first is running a second waits for it, at most its deadline, then 409 with `Retry-After`.",
)
def second_waits(w):
    key = w.key()
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda _: w.post(w.body(), key), range(12)))
        equal(len({a.json["id"] for a in answers if a.status == 202}), 1, answers)
        for answer in answers:
            true(answer.status == 202 or (answer.status == 409 and answer.headers["Retry-After"]), answer)
        key = w.key()
        with w.stopped("catalog"):  # the first one runs as long as this
            first = pool.submit(w.post, w.body(), key)
            time.sleep(0.2)
            patient = pool.submit(w.post, w.body(), key)
            hasty = w.post(w.body(), key, headers={"Ficus-Timeout-Ms": "500"})
            problem(hasty, 409)
            true(hasty.headers["Retry-After"], "Retry-After")
        equal((first.result().status, patient.result().status), (202, 202))
        equal(first.result().raw, patient.result().raw)


# ---- status ----


@says(
    "Status: `pending \u2192 confirmed`, `pending \u2192 cancelled`, `confirmed \u2192 cancelled` "
    "(by `cancel`; money refunded, stock back)."
)
def statuses(w):
    w.product("back", 5, 4)
    order = w.place({"back": 4})
    equal(w.ended(order)["status"], "confirmed")
    stock = lambda: w.get("/api/v1/stock/back", w.admin)
    wait_for("stock taken", lambda: stock() == {"sku": "back", "on_hand": 0, "reserved": 0, "available": 0})
    w.cancel(order)
    equal([h["status"] for h in w.cancelled(order)["history"]], ["pending", "confirmed", "cancelled"])
    equal([p["status"] for p in w.payments(order)], ["refunded"])
    equal([e["kind"] for e in w.ledger(order)], ["capture", "refund"])
    equal(stock(), {"sku": "back", "on_hand": 4, "reserved": 0, "available": 4})


@says("Between a cancel's 202 and its effect the old status shows.")
def old_status_shows(w):
    confirmed, pending = w.place(), w.place(card=SLOW)
    w.ended(confirmed)
    with w.stopped("payments"):
        answers = [w.cancel(order) for order in (confirmed, pending)]
        equal([a.status for a in answers], [202, 202])
        equal([w.order(order)["status"] for order in (confirmed, pending)], ["confirmed", "pending"])
    w.cancelled(confirmed), w.cancelled(pending)


@says("`reason` of a cancelled one: `out_of_stock`,")
def out_of_stock(w):
    w.product("few", 5, 3)
    equal(w.ended(w.place({"few": 4, "plenty": 1}))["reason"], "out_of_stock")
    equal(w.ended(w.place({"few": 3}))["status"], "confirmed")
    equal(w.ended(w.place({"few": 1}))["reason"], "out_of_stock")
    w.product("never stocked", 5)
    equal(w.ended(w.place({"never stocked": 1}))["reason"], "out_of_stock")


@says("`payment_declined`,")
def payment_declined(w):
    order = w.ended(w.place(card=DECLINED))
    equal((order["status"], order["reason"]), ("cancelled", "payment_declined"))
    equal([h["reason"] for h in order["history"]], [None, "payment_declined"])


@says("`payment_unavailable` (only after minutes of trying),")
def payment_unavailable(w):
    elsewhere("shop/services/orders/service.yaml", "timeout: 8s, give_up: 10m, code: payment_unavailable")
    elsewhere("tests/sim/shop_world.c", "give_up")  # the simulator gives up in seconds
    order = w.place(card=SLOW)
    with w.stopped("payments"):
        time.sleep(3)
        equal(w.order(order)["status"], "pending", "not given up after seconds")
    equal(w.ended(order)["status"], "confirmed")


@says("`unknown_product`,", "An unknown product may also be refused at once with 422.")
def unknown_product(w):
    answer = w.post(w.body({"no such thing": 1}))
    if answer.status == 202:
        equal(w.ended(answer.json["id"])["reason"], "unknown_product")
    else:
        problem(answer, 422, "/items/0/product_id")
        equal(answer.json["code"], "unknown_product")


@says("`by_customer`, `by_admin`.")
def by_whom(w):
    for token, reason in ((w.user, "by_customer"), (w.admin, "by_admin")):
        for card in (SLOW, GOOD):
            order = w.place(card=card)
            if card == GOOD:
                w.ended(order)
            equal(w.cancel(order, token).status, 202)
            equal(w.cancelled(order)["reason"], reason)


# ---- cards ----


@says(
    "**Cards** behave like the well-known test numbers, in the `bank`, an outside program with its own ledger: "
    "`4242424242424242` is captured;",
    "`4000000000000002` is declined;",
    "`4000000000009995` is declined (insufficient funds);",
    "`4000000000000119` fails with a processing error twice and then succeeds for the same charge;",
    "`4000000000000341` is captured, but only after 3 seconds.",
)
def cards(w):
    begun = time.monotonic()
    placed = {card: w.place({"plenty": 2}, card) for card in CARDS}
    for card, order_id in placed.items():
        order = w.ended(order_id)
        bad = card in (DECLINED, INSUFFICIENT)
        equal(
            (order["status"], order["reason"]), ("cancelled", "payment_declined") if bad else ("confirmed", None), card
        )
        equal([(e["kind"], e["amount"]) for e in w.ledger(order_id)], [] if bad else [("capture", money(500))], card)
        equal([p["status"] for p in w.payments(order_id)], ["declined" if bad else "captured"], card)
        if card == SLOW:
            true(time.monotonic() - begun >= 3, "not before 3 s")
    true("bank" in w.shop.pids(), "a program of its own")


@says("Anything that fails the Luhn check is 400.")
def luhn(w):
    for number in ("4242424242424241", "", "0", "4242 4242 4242 4242", "x", 4242424242424242, None, "42" * 50):
        problem(w.post(w.body(card=number)), 400, "/payment/card_number")
    body = w.body()
    del body["payment"]
    problem(w.post(body), 400, "/payment/card_number")


@says(
    "The order service hands the card to payments inside the request, payments to the bank; "
    "from there on only the bank's token travels."
)
def only_the_token(w):
    found = []
    for folder, _, names in os.walk(w.shop.state):
        for name in names:
            path = os.path.join(folder, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                with open(path, "rb") as f:
                    data = f.read()
                found += [(path, card) for card in CARDS if card.encode() in data]
    equal(found, [], "card numbers in files")


@says("If that hand-over fails: 503 with `Retry-After`, nothing stored.")
def hand_over_fails(w):
    user = w.sign_up("stopped")
    for victim in ("payments", "bank"):
        key = w.key()
        with w.stopped(victim):
            answer = problem(w.post(w.body(), key, user), 503)
            true(re.fullmatch(r"\d+", answer.headers["Retry-After"]), "Retry-After in seconds")
            equal(w.get("/api/v1/orders", user)["items"], [], "nothing stored while " + victim + " is away")
    equal(w.get("/api/v1/orders", user)["items"], [])
    wait_for("the same request to be taken", lambda: w.post(w.body(), key, user).status == 202, 20)
    equal(len(w.get("/api/v1/orders", user)["items"]), 1)


# ---- the administrator ----


def first_start(w):
    """What `make up` does, with a state folder of its own: [what it said, its admin.json, a page of products]"""
    if hasattr(w, "first_start"):
        return w.first_start
    port, state = free_port(), os.path.join(w.shop.folder, "up")
    listen = ["--set", f"gateway.listen=127.0.0.1:{port}"]
    up = subprocess.Popen(
        [sys.executable, "-u", os.path.join(ROOT, "shop/up"), w.shop.build, w.shop.manifest, *listen],
        env=dict(os.environ, FICUS_STATE=state),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    said = []
    reader = threading.Thread(target=lambda: said.extend(up.stdout), daemon=True)
    reader.start()
    try:
        wait_for("the data", lambda: up.poll() is not None or any("data" in line for line in said), 60)
        with open(os.path.join(state, "admin.json"), encoding="utf-8") as f:
            admin = json.load(f)
        mode = stat.S_IMODE(os.stat(os.path.join(state, "admin.json")).st_mode)
        w.shop.port, before = port, w.shop.port
        try:
            page = w.get("/api/v1/products?limit=100")
            w.shop.sign_in(admin["email"], admin["password"])
        finally:
            w.shop.port = before
    finally:
        os.killpg(up.pid, signal.SIGINT)  # as Ctrl-C does
        up.wait(30)
        reader.join(10)
    w.first_start = "".join(said), admin, mode, page
    return w.first_start


@says(
    "**Administrator.** Created on first start; email and password are shown by `ficus up` and stand in `admin.json` "
    "of the state folder as `{email, password}` (mode 0600),"
)
def administrator(w):
    said, admin, mode, _ = first_start(w)
    equal((set(admin), mode), ({"email", "password"}, 0o600))
    for value in admin.values():
        true(value in said, f"{value} in what ficus up shows: {said}")
    true(admin["password"] != w.admin_file["password"], "a password of its own for each shop")
    equal(w.ask("GET", "/api/v1/payments", token=w.shop.admin()).status, 200)


@says("never in the repository.")
def password_not_in_repository(w):
    for text in (w.admin_file["password"],):
        done = subprocess.run(["git", "-C", ROOT, "grep", "-qF", text], capture_output=True, check=False)
        equal(done.returncode, 1, "git grep")


@says("`ficus up` alone starts it empty.")
def starts_empty(w):
    equal(w.first_products, {"items": [], "next": None})


@says("`make up` loads the real data's products and stock into a fresh shop;")
def make_up_loads(w):
    with open(os.path.join(ROOT, "Makefile"), encoding="utf-8") as f:
        true("shop/up" in f.read(), "make up starts shop/up")
    said, _, _, page = first_start(w)
    true("2760 products with their stock" in said, f"all products: {said}")
    equal(len(page["items"]), 100)


# ---- always true ----


@says("**Always true**, whatever was killed when, once the system is quiet:")
def quiet(w):
    elsewhere("tests/e2e/kill.py", "nothing may be")  # kills without end, then the reconciliation of every order
    pending = lambda: w.get("/api/v1/orders?status=pending", w.admin)["items"]
    wait_for("no pending order", lambda: not pending(), 60, 0.2)
    running = lambda: w.shop.lines("saga", "list", "--state", "running")
    wait_for("no running saga", lambda: not running(), 60, 0.2)
    w.all_orders = w.walk("/api/v1/orders", w.admin)
    w.all_payments = w.walk("/api/v1/payments", w.admin)
    w.all_moves = w.walk("/api/v1/stock-movements", w.admin)
    w.all_lines = w.walk("/api/v1/bank/ledger", w.admin)
    true(len(w.all_orders) >= 20, "orders to look at")
    equal(w.shop.lines("saga", "list", "--stuck"), [])
    true('"id"' not in w.shop.run("events", "dead", "--json").stdout, "no dead letter")


def of_order(items):
    found = {}
    for item in items:
        found.setdefault(item["order_id"], []).append(item)
    return found


def held(moves):
    sums = Counter()
    for m in moves:
        sums[m["sku"]] += m["quantity"] if m["kind"] == "reserved" else -m["quantity"] if m["kind"] == "released" else 0
        # "taken" turns what was reserved into what was sold; "returned" brings that back
        sums[m["sku"]] -= m["quantity"] if m["kind"] == "returned" else 0
    return {sku: n for sku, n in sums.items() if n != 0}


@says(
    "1. An order is `confirmed` exactly when it has exactly one `captured` payment of its total and its movements show "
    "each quantity reserved once, taken once and not returned."
)
def confirmed_is_paid_and_taken(w):
    payments, moves = of_order(w.all_payments), of_order(w.all_moves)
    for order in w.all_orders:
        captured = [p["amount"] for p in payments.get(order["id"], []) if p["status"] == "captured"]
        found = Counter((m["sku"], m["quantity"], m["kind"]) for m in moves.get(order["id"], []))
        wanted = Counter((i["sku"], i["quantity"], k) for i in order["items"] for k in ("reserved", "taken"))
        true((order["status"] == "confirmed") == (captured == [order["total"]] and found == wanted), order)


@says("2. A `cancelled` order has no `captured` payment, and its movements add up to nothing held.")
def cancelled_is_unpaid_and_free(w):
    payments, moves = of_order(w.all_payments), of_order(w.all_moves)
    cancelled = [order["id"] for order in w.all_orders if order["status"] == "cancelled"]
    true(len(cancelled) > 5, "cancelled ones to look at")
    for order_id in cancelled:
        true("captured" not in [p["status"] for p in payments.get(order_id, [])], f"no payment of {order_id}")
        equal(held(moves.get(order_id, [])), {}, order_id)


@says(
    "3. For each sku: stock as set \u2212 \u03a3 quantities of confirmed orders = `on_hand`, and `reserved` = 0.",
    "Never below zero at any time.",
)
def stock_adds_up(w):
    sold = Counter()
    for order in w.all_orders:
        for item in order["items"]:
            sold[item["sku"]] += item["quantity"] if order["status"] == "confirmed" else 0
    for sku, was in w.stock.items():
        left = was - sold[sku]
        wanted = {"sku": sku, "on_hand": left, "reserved": 0, "available": left}
        equal(w.get("/api/v1/stock/" + segment(sku), w.admin), wanted)
    level = Counter(w.stock)
    for m in w.all_moves:  # in the order of time
        level[m["sku"]] += {"reserved": -1, "taken": 0, "released": 1, "returned": 1}[m["kind"]] * m["quantity"]
        # "held" was set lower while something was reserved
        true(level[m["sku"]] >= 0 or m["sku"] == "held", f"never below zero: {m}")


@says("4. For each final status in an order's history there is exactly one notification of that kind.")
def one_notification_each(w):
    found = Counter()
    for token in w.users.values():
        for n in w.walk("/api/v1/notifications", token):
            found[n["order_id"], n["kind"]] += 1
    wanted = Counter(
        (order["id"], "order." + h["status"])
        for order in w.all_orders
        for h in order["history"]
        if h["status"] != "pending"
    )
    equal(found - wanted, Counter(), "too many")
    equal(wanted - found, Counter(), "missing")


@says(
    "5. Nothing that was answered 2xx is ever gone: accounts, carts and cancels as much as orders;",
    "a token issued before a kill works until it expires.",
)
def nothing_is_gone(w):
    user = w.sign_up("keeper")  # this token is used throughout
    order = w.place(token=user)
    w.ended(order, user)
    cart = w.ask("PUT", "/api/v1/cart", {"items": [{"product_id": "plenty", "quantity": 7}]}, user).json
    equal(w.cancel(order, user).status, 202)
    w.kill("identity", "cart", "orders", "catalog", "hub", "gateway")
    for path in ("/api/v1/users/me", "/api/v1/orders", "/api/v1/cart"):
        w.works(path, user)
    equal(w.get("/api/v1/cart", user), cart)
    equal(w.cancelled(order, user)["reason"], "by_customer")
    equal(w.get("/api/v1/users/me", user)["email"], "keeper@example.org")
    w.shop.sign_in("keeper@example.org", "a good password")
    equal(w.get("/api/v1/products/plenty"), w.get("/api/v1/products/" + w.plenty["id"]))


@says(
    "6. The outcome of an order depends on its items, the stock at its turn, its card and its cancel, "
    "never on what was killed:",
    "a good card with stock, not cancelled, ends `confirmed`.",
)
def outcome_is_the_same(w):
    w.product("rare", 5, 2)
    wanted = {}
    for card, items in ((GOOD, {"plenty": 1}), (DECLINED, {"plenty": 1}), (GOOD, {"rare": 3}), (FLAKY, {"rare": 2})):
        order = w.place_until(items, card)
        wanted[order] = "payment_declined" if card == DECLINED else "out_of_stock" if items == {"rare": 3} else None
        w.kill("payments", "inventory")
        w.works("/api/v1/payments", w.admin)
    gone = w.place_until(card=SLOW)
    equal(w.cancel(gone).status, 202)
    w.kill("orders", "hub", "bank", "notifications")
    w.works("/api/v1/orders", w.user)
    wanted[gone] = "by_customer"
    for order, reason in wanted.items():
        equal(
            (w.ended(order)["status"], w.order(order)["reason"]),
            ("cancelled" if reason else "confirmed", reason),
            order,
        )


@says(
    "7. The bank's ledger and `payments` agree, line by line: one capture per captured or refunded payment, "
    "one refund per refunded one."
)
def ledger_agrees(w):
    quiet(w)
    wanted = Counter()
    for p in w.all_payments:
        if p["status"] in ("captured", "refunded"):
            wanted[p["order_id"], "capture", p["amount"]["amount"]] += 1
        if p["status"] == "refunded":
            wanted[p["order_id"], "refund", p["amount"]["amount"]] += 1
    equal(Counter((e["order_id"], e["kind"], e["amount"]["amount"]) for e in w.all_lines), wanted)
    for again in (confirmed_is_paid_and_taken, cancelled_is_unpaid_and_free, stock_adds_up, one_notification_each):
        again(w)  # with the orders since
