#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Reconciliation: what the invoice file says against what the shop says, invoice by invoice and to the penny.

Reads the CSV itself (expect.py) and the run file of shop-replay for what was answered to whom; everything else comes
from the shop's API: orders, payments, the bank's ledger, movements, notifications and carts; what the event streams
told is held against the orders' histories. Ends with "N invoices, N differences"; exit code 0 only when there are none
and none of the seven statements of the shop is broken.
"""

import argparse
import collections
import datetime
import json
import math
import sys
import time
import urllib.parse

import expect
from api import Api, ApiError, in_parallel

SHOWN_MAX = 40


class Shop:
    """One reading of everything that the API shows, by order id."""

    def __init__(self, api, run, plan):
        self.orders = {o["id"]: o for o in api.items("/api/v1/orders", limit=50)}
        self.payments = by_order(api.items("/api/v1/payments"))
        self.ledger = by_order(api.items("/api/v1/bank/ledger"))
        self.movement_list = api.items("/api/v1/stock-movements")
        self.movements = by_order(self.movement_list)
        self.stock = dict(in_parallel(lambda sku: (sku, stock_of(api, sku)), plan.products))
        self.unreadable = {}  # email -> why its notifications cannot be read
        readers = [user for user in run["users"] if user["authorization"]]
        pages = in_parallel(lambda user: self.read_notifications(api, user), readers)
        self.notifications = by_order([n for page in pages for n in page])
        self.carts = dict(in_parallel(lambda user: (user["email"], self.read_cart(api, user)), readers))

    def read_notifications(self, api, user):
        try:
            return api.items("/api/v1/notifications", authorization=user["authorization"])
        except ApiError as e:
            self.unreadable[user["email"]] = str(e)
            return []


    def read_cart(self, api, user):
        """Its answer, or None."""
        try:
            return api.get("/api/v1/cart", authorization=user["authorization"])
        except ApiError as e:
            self.unreadable[user["email"]] = str(e)
            return None


def by_order(items):
    groups = collections.defaultdict(list)
    for item in items:
        groups[item["order_id"]].append(item)
    return groups


def stock_of(api, sku):
    return api.get("/api/v1/stock/" + urllib.parse.quote(sku, safe=""), absent_ok=True)


def held(movements):
    """(reserved, taken, released, returned) per sku."""
    sums = collections.defaultdict(lambda: collections.Counter())
    for m in movements:
        sums[m["sku"]][m["kind"]] += m["quantity"]
    return sums


def quantities(order):
    sums = collections.Counter()
    for item in order["items"]:
        sums[item["sku"]] += item["quantity"]
    return dict(sums)


def statuses(order):
    return [h["status"] for h in order["history"]]


class Findings:
    def __init__(self):
        self.differences = collections.defaultdict(list)  # (invoice, loop) or a word -> texts
        self.breaches = collections.defaultdict(list)  # statement -> texts

    def differ(self, where, text):
        self.differences[where].append(text)

    def breach(self, statement, text):
        self.breaches[statement].append(text)

    def count(self):
        return sum(map(len, self.differences.values())), sum(map(len, self.breaches.values()))


# ---- the seven statements, over every order that there is ----


def check_confirmed(order, payments, movements, found):
    total = order["total"]["amount"]
    if [(p["status"], p["amount"]["amount"]) for p in payments] != [("captured", total)]:
        found.breach(1, f"confirmed {order['id']}: payments {payments}, total {total}")
    sums = held(movements)
    wanted = {sku: {"reserved": n, "taken": n} for sku, n in quantities(order).items()}
    if {sku: dict(kinds) for sku, kinds in sums.items()} != wanted or len(movements) != 2 * len(wanted):
        found.breach(1, f"confirmed {order['id']}: movements {dict(sums)}, items {quantities(order)}")


def check_cancelled(order, payments, movements, found):
    if any(p["status"] == "captured" for p in payments):
        found.breach(2, f"cancelled {order['id']} has a captured payment")
    for sku, kinds in held(movements).items():
        if kinds["reserved"] != kinds["released"] + kinds["returned"] or kinds["taken"] != kinds["returned"]:
            found.breach(2, f"cancelled {order['id']} still holds {sku}: {dict(kinds)}")


def check_money(order_id, payments, ledger, found):
    """Statement 7: payments and the bank agree line by line."""
    wanted = []
    for p in payments:
        if p["status"] in ("captured", "refunded"):
            wanted.append(("capture", p["amount"]["amount"]))
        if p["status"] == "refunded":
            wanted.append(("refund", p["amount"]["amount"]))
    have = [(line["kind"], line["amount"]["amount"]) for line in ledger]
    if sorted(have) != sorted(wanted):
        found.breach(
            7, f"order {order_id}: bank {have}, payments {[(p['status'], p['amount']['amount']) for p in payments]}"
        )
    if len(payments) > 1:
        found.breach(7, f"order {order_id} has {len(payments)} payments")


def check_notifications(order, notifications, found):
    have = sorted(n["kind"] for n in notifications)
    wanted = sorted("order." + status for status in statuses(order) if status != "pending")
    if have != wanted:
        found.breach(4, f"order {order['id']} {statuses(order)}: notifications {have}")


def check_history(order, found):
    steps = statuses(order)
    if steps not in (
        ["pending"],
        ["pending", "confirmed"],
        ["pending", "cancelled"],
        ["pending", "confirmed", "cancelled"],
    ):
        found.breach(4, f"order {order['id']} has the history {steps}")
    if steps and steps[-1] != order["status"]:
        found.breach(4, f"order {order['id']} is {order['status']}, its history says {steps}")


def check_shelves(shop, plan, run, found):
    """Statement 3. Stock counts from the moment that the run had set it."""
    since = run["orders_at"]
    sold, moved = collections.Counter(), collections.Counter()
    for order in shop.orders.values():
        if order["status"] == "confirmed" and order["history"][0]["at"] >= since:
            sold.update(quantities(order))
    free = {sku: p.stock(run["loops"]) for sku, p in plan.products.items()}
    earlier = {o["id"] for o in shop.orders.values() if o["history"][0]["at"] < since}
    for m in shop.movement_list:
        if m["at"] < since or m["sku"] not in free:
            continue
        free[m["sku"]] += {"reserved": -1, "taken": 0, "released": 1, "returned": 1}[m["kind"]] * m["quantity"]
        if free[m["sku"]] < 0:
            found.breach(3, f"sku {m['sku']} was oversold by {-free[m['sku']]} at {m['at']}")
        if m["order_id"] in earlier and m["kind"] in ("taken", "returned"):
            moved[m["sku"]] += m["quantity"] * (1 if m["kind"] == "taken" else -1)
    for sku, product in plan.products.items():
        stock = shop.stock[sku]
        wanted = product.stock(run["loops"]) - sold[sku] - moved[sku]
        if stock is None or stock["on_hand"] != wanted or stock["reserved"] != 0:
            found.breach(3, f"sku {sku}: {stock}, by the orders {wanted} on hand")


def check_statements(shop, plan, run, found):
    ours = {user["email"] for user in run["users"]}
    order_emails = {job["id"]: job["email"] for job in run["orders"] if job["id"]}
    for order in shop.orders.values():
        order_id = order["id"]
        payments, movements = shop.payments.get(order_id, []), shop.movements.get(order_id, [])
        check_history(order, found)
        if order["status"] == "confirmed":
            check_confirmed(order, payments, movements, found)
        elif order["status"] == "cancelled":
            check_cancelled(order, payments, movements, found)
        else:
            found.breach(6, f"order {order_id} is still {order['status']}")
        if order_emails.get(order_id) in ours:
            check_notifications(order, shop.notifications.get(order_id, []), found)
    for order_id in shop.payments.keys() | shop.ledger.keys() | shop.orders.keys():
        check_money(order_id, shop.payments.get(order_id, []), shop.ledger.get(order_id, []), found)
    for name in ("payments", "ledger", "movements"):
        for order_id in getattr(shop, name).keys() - shop.orders.keys():
            found.breach(5, f"{name} of {order_id}, an order that is not there")
    for email, why in shop.unreadable.items():
        found.breach(5, f"the account {email} does not answer to its token: {why}")
    check_shelves(shop, plan, run, found)


# ---- invoice by invoice ----


def ever_reserved(shop, since):
    sums = collections.Counter()
    for m in shop.movement_list:
        if m["kind"] == "reserved" and m["at"] >= since:
            sums[m["sku"]] += m["quantity"]
    return sums


def could_be_short(order, plan, loops, reserved):
    """Was some sku ever too scarce for this order, had everything that was ever reserved been there at once?"""
    return any(plan.products[sku].stock(loops) - reserved[sku] < n for sku, n in order.items.items())


def outcomes_allowed(expected, job, short):
    """{(status, reason)} that the rules allow for this order."""
    allowed = {("cancelled", "out_of_stock")} if short else set()
    cancel = job.get("cancel")
    if expected.card in ("declined", "insufficient"):
        allowed.add(("cancelled", "payment_declined"))
    elif cancel and cancel["status"] == 202:
        allowed.add(("cancelled", "by_customer"))
    else:
        allowed.add(("confirmed", None))
    return allowed


MONEY = {  # reason -> payment status, kinds in the bank's ledger
    None: ("captured", ["capture"]),
    "by_customer": ("refunded", ["capture", "refund"]),
    "payment_declined": ("declined", []),
    "out_of_stock": (None, []),
}
MOVES = {  # reason -> the ways in which each item may have moved
    None: [["reserved", "taken"]],
    "by_customer": [["reserved", "released"], ["reserved", "taken", "returned"]],
    "payment_declined": [["reserved", "released"]],
    "out_of_stock": [[]],
}


def compare_items(expected, order, plan, say):
    if quantities(order) != expected.items or len(order["items"]) != len(expected.items):
        say(f"items {quantities(order)}, the file says {expected.items}")
    for item in order["items"]:
        product = plan.products.get(item["sku"])
        if product is None or item["price"]["amount"] != product.price or item["name"] != product.name:
            say(f"item {item}, the price list says {product}")
    if order["total"] != {"amount": expected.total, "currency": "GBP"}:
        say(f"total {order['total']}, the file says {expected.total}")


def compare_money(expected, order, payments, ledger, say):
    status, kinds = MONEY[order["reason"]]
    have = [(p["status"], p["amount"]["amount"]) for p in payments]
    if have != ([(status, expected.total)] if status else []):
        say(f"payments {have}, expected {status} of {expected.total}")
    lines = [(line["kind"], line["amount"]["amount"]) for line in ledger]
    if lines != [(kind, expected.total) for kind in kinds]:
        say(f"bank ledger {lines}, expected {kinds} of {expected.total}")


def compare_movements(expected, order, movements, say):
    moves = collections.defaultdict(list)
    for m in movements:
        moves[m["sku"]].append((m["kind"], m["quantity"]))
    ways = [
        {sku: [(kind, n) for kind in way] for sku, n in expected.items.items() if way} for way in MOVES[order["reason"]]
    ]
    if dict(moves) not in ways:
        say(f"movements {dict(moves)} of an order {order['status']} {order['reason'] or ''}")


def compare_notifications(order, notifications, say):
    have = sorted(n["kind"] for n in notifications)
    wanted = sorted("order." + status for status in statuses(order) if status != "pending")
    if have != wanted:
        say(f"notifications {have}, expected {wanted}")


def compare_answers(expected, job, run, say):
    """What the clients were told; None when there is nothing to compare in the shop."""
    if job["state"] != "accepted":
        say(f"no 202: {job['state']}, status {job['status']} after {job['tries']} tries: {job['error']}")
        return
    cancel = job.get("cancel")
    if cancel is None and expected.cancel and not run["stopped"]:
        say("its cancel was never asked")
    if cancel and cancel["status"] not in (202, 409):
        say(f"its cancel was answered {cancel['status']}: {cancel['error']}")


def compare_invoice(expected, job, plan, shop, run, reserved, found):
    where = (expected.invoice, job["loop"])
    say = lambda text: found.differ(where, text)
    compare_answers(expected, job, run, say)
    if job["state"] != "accepted":
        return None
    order = shop.orders.get(job["id"])
    if order is None:
        found.breach(5, f"order {job['id']} was answered 202 and is gone")
        return None
    short = could_be_short(expected, plan, run["loops"], reserved)
    outcome = (order["status"], order["reason"])
    compare_items(expected, order, plan, say)
    if outcome not in outcomes_allowed(expected, job, short):
        say(
            f"ended {outcome}, card {expected.card}, cancel {job.get('cancel')}, "
            f"allowed {outcomes_allowed(expected, job, short)}"
        )
        if order["reason"] not in MONEY:
            return order
    compare_money(expected, order, shop.payments.get(job["id"], []), shop.ledger.get(job["id"], []), say)
    compare_movements(expected, order, shop.movements.get(job["id"], []), say)
    compare_notifications(order, shop.notifications.get(job["id"], []), say)
    compare_visit(expected, job, order, run, say)
    return order


# ---- visits: searches, carts, streams ----


def compare_visit(expected, job, order, run, say):
    """What the customer was told around his order. order: as the shop has it now."""
    wanted = {"search", "cart", "stream"} if expect.visits(expected, run["visits_percent"]) else set()
    if wanted and expect.left_behind(expected):
        wanted.add("left_cart")
    done = {name for name in ("search", "cart", "left_cart", "stream") if name in job}
    if done != wanted:
        say(f"its visit was {sorted(done)}, it should be {sorted(wanted)}")
    for name in done - {"stream"}:
        if job[name]["status"] != 200 or job[name]["wrong"]:
            say(f"{name}: {job[name]}")
    if "stream" in job:
        compare_stream(job["stream"], order, say)


def compare_stream(stream, order, say):
    """From where it began to its final status, the events are the history, each once and with its index as id."""
    history = [[str(i), status] for i, status in enumerate(statuses(order))]
    events = stream["events"]
    begin = int(events[0][0]) if events and events[0][0].isdigit() else 0
    if not stream["ended"] or not events or events != history[begin : begin + len(events)]:
        say(f"event stream {stream}, history {history}")
    elif events[-1][1] not in ("confirmed", "cancelled") or sum(e[1] == events[-1][1] for e in events) != 1:
        say(f"event stream {events} does not end with one final status")


class CartStory:
    """What one customer did with his cart: PUTs and orders, with the spans of time in which they took effect."""

    REPEATED_MS = 2000  # a try that was given up may take effect so long after the repeated one was answered

    def __init__(self):
        self.puts, self.orders = [], []  # (begin, end, items); (begin, end)

    def put(self, errand, items):
        begin, end = milliseconds(errand["sent_at"]), errand["answered_at"]
        slack = self.REPEATED_MS if errand["tries"] > 1 else 0
        self.puts.append((begin, milliseconds(end) + slack if end and errand["status"] == 200 else math.inf, items))

    def order(self, job):
        end = milliseconds(job["accepted_at"]) if job["accepted_at"] else math.inf
        self.orders.append((milliseconds(job["sent_at"]), end))

    def allowed(self):
        """Every content that the last PUT, or an order behind it, may have left; none when there was no PUT."""
        contents = []
        for begin, end, items in self.puts:
            if any(other > end for other, _, _ in self.puts):
                continue  # another one came surely later
            emptied = any(sent >= end for sent, _ in self.orders)
            untouched = all(accepted <= begin for _, accepted in self.orders)
            contents += [{}] if emptied else [items] if untouched else [{}, items]
        return contents


def milliseconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp() * 1000


def check_carts(shop, plan, run, found):
    """Statement 5 for carts: an acknowledged PUT is there unless an order was placed after it."""
    expected = {o.invoice: o for o in plan.orders}
    stories = collections.defaultdict(CartStory)
    for job in run["orders"]:
        story, order = stories[job["email"]], expected[job["invoice"]]
        if "cart" in job:
            story.put(job["cart"], order.items)
        if job["sent_at"]:
            story.order(job)
        if "left_cart" in job:
            story.put(job["left_cart"], expect.left_behind(order))
    counts = collections.Counter()
    for email, story in stories.items():
        cart, allowed = shop.carts.get(email), story.allowed()
        if cart is None or not allowed:
            continue
        have = quantities(cart)
        counts["full" if have else "empty"] += 1
        if have not in allowed:
            found.breach(
                5,
                f"cart of {email} holds {have}, allowed {allowed}; "
                f"puts {story.puts[-3:]}, orders {story.orders[-3:]}",
            )
        total = sum(plan.products[sku].price * n for sku, n in have.items() if sku in plan.products)
        if cart["total"] != {"amount": total, "currency": "GBP"}:
            found.differ(f"cart of {email}", f"total {cart['total']}, at list prices {total}")
    return counts


# ---- the whole ----


class Sums:
    def __init__(self):
        self.file = self.listed = self.shop = self.differences = self.count = 0

    def add(self, expected, captured):
        self.count += 1
        self.file += expected.file_total
        self.listed += expected.total
        self.differences += expected.price_differences
        self.shop += captured


def reconcile_once(api, plan, run):
    shop, found, sums, outcomes = Shop(api, run, plan), Findings(), Sums(), collections.Counter()
    expected = {o.invoice: o for o in plan.orders}
    reserved = ever_reserved(shop, run["orders_at"])
    for job in run["orders"]:
        if job["state"] == "waiting":
            continue
        order = compare_invoice(expected[job["invoice"]], job, plan, shop, run, reserved, found)
        if order is None:
            continue
        outcomes[(order["status"], order["reason"])] += 1
        if order["status"] == "confirmed":
            captured = sum(
                p["amount"]["amount"] for p in shop.payments.get(order["id"], []) if p["status"] == "captured"
            )
            sums.add(expected[job["invoice"]], captured)
            if captured != expected[job["invoice"]].total:
                found.differ(
                    (job["invoice"], job["loop"]),
                    f"the shop took {captured}, at list prices it is {expected[job['invoice']].total}",
                )
    check_run(plan, run, found)
    if sums.listed - sums.file != sums.differences or sums.listed != sums.shop:
        found.differ(
            "sums",
            f"file {sums.file}, at list prices {sums.listed}, price differences {sums.differences}, shop {sums.shop}",
        )
    check_statements(shop, plan, run, found)
    carts = check_carts(shop, plan, run, found)
    return found, sums, outcomes, carts


def check_run(plan, run, found):
    """Did the replay play what the file says?"""
    if run["listed_by_reason"] != plan.listed_by_reason():
        found.differ(
            "listed lines", f"the replay listed {run['listed_by_reason']}, it should be {plan.listed_by_reason()}"
        )
    played = collections.Counter(job["invoice"] for job in run["orders"])
    wanted = {o.invoice: run["loops"] for o in plan.orders}
    if dict(played) != wanted:
        found.differ("orders", f"the replay played {sum(played.values())} orders, the file has {sum(wanted.values())}")


def wait_pending(api, deadline):
    while api.get("/api/v1/orders?status=pending&limit=1")["items"] and time.monotonic() < deadline:
        time.sleep(0.25)


def reconcile(api, plan, run, quiet_s):
    """Reads until all is well or the time is up: what is under way still is no difference."""
    begun = time.monotonic()
    deadline = begun + quiet_s
    while True:
        wait_pending(api, deadline)
        read_at = time.monotonic()
        result = reconcile_once(api, plan, run)
        if result[0].count() == (0, 0) or time.monotonic() > deadline:
            return result, read_at - begun
        time.sleep(1)


def pounds(pence):
    return f"{pence / 100:,.2f}"


def print_findings(found):
    for where, texts in list(found.differences.items())[:SHOWN_MAX]:
        for text in texts[:4]:
            print(f"  difference: {where}: {text[:600]}")
    for statement, texts in sorted(found.breaches.items()):
        for text in texts[:SHOWN_MAX]:
            print(f"  breach of statement {statement}: {text[:600]}")


def print_visits(run, carts):
    streams = [job["stream"] for job in run["orders"] if "stream" in job]
    told = collections.Counter("/".join(status for _, status in stream["events"]) for stream in streams)
    print(f"  {len(streams)} event streams against the histories: {dict(told)}")
    puts = sum(name in job for job in run["orders"] for name in ("cart", "left_cart"))
    print(
        f"  {puts} carts put, {sum('search' in job for job in run['orders'])} searches; "
        f"now {carts['empty']} customers' carts are empty and {carts['full']} hold what was left in them"
    )


def print_report(plan, run, result, waited_s):
    found, sums, outcomes, carts = result
    sent = [job for job in run["orders"] if job["state"] != "waiting"]
    print(f"\nReconciliation of {run['file']} with {run['url']}, {run['loops']} loop(s), run {run['run']}")
    print(
        f"  quiet {waited_s:.1f} s after the replay"
        if found.count() == (0, 0)
        else f"  not right after {waited_s:.1f} s"
    )
    for (status, reason), count in sorted(outcomes.items(), key=str):
        print(f"  {count:6} {status}{' ' + reason if reason else ''}")
    print(f"  {len(plan.listed)} lines listed, not sold: {plan.listed_by_reason()}")
    print(
        f"  the {sums.count} confirmed: file at file prices {pounds(sums.file)}, "
        f"file at list prices {pounds(sums.listed)}, shop {pounds(sums.shop)} GBP"
    )
    print(f"  price differences, added up line by line: {pounds(sums.differences)} GBP")
    print_visits(run, carts)
    print_findings(found)
    differences, breaches = found.count()
    print(f"  seven statements: {breaches} breaches")
    print(f"{len(sent)} invoices, {differences} differences")
    return 0 if differences == 0 and breaches == 0 else 1


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="build/replay-run.json", help="run file of shop-replay")
    parser.add_argument("--admin", help="admin.json of the shop's state folder")
    parser.add_argument("--file", help="the invoices (default: as in the run file)")
    parser.add_argument("--url", help="the gateway (default: as in the run file)")
    parser.add_argument("--quiet", type=float, default=60, help="seconds to wait for the system to become quiet")
    parser.add_argument("--plan", action="store_true", help="print what the file means as JSON and read no shop")
    parser.add_argument("--seed", default="1", help="with --plan")
    parser.add_argument("--invoices", type=int, default=0, help="with --plan")
    return parser.parse_args()


def main():
    args = arguments()
    if args.plan:
        json.dump(expect.plan_as_json(expect.make_plan(args.file, args.seed, args.invoices)), sys.stdout)
        return 0
    with open(args.run, encoding="utf-8") as f:
        run = json.load(f)
    with open(args.admin, encoding="utf-8") as f:
        admin = json.load(f)
    run["file"] = args.file or run["file"]
    run["url"] = args.url or run["url"]
    plan = expect.make_plan(run["file"], run["seed"], run["invoices"])
    api = Api(run["url"])
    try:
        api.authorization = api.sign_in(admin["email"], admin["password"])
        result, waited_s = reconcile(api, plan, run, args.quiet)
    except ApiError as e:
        print(f"the shop cannot be read: {e}")
        return 1
    return print_report(plan, run, result, waited_s)


if __name__ == "__main__":
    sys.exit(main())
