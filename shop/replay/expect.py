# SPDX-License-Identifier: Apache-2.0
"""What the invoice file means, worked out anew from its lines: prices, stock, orders, cards, cancellations.

Shares no code with shop-replay; a test compares the two.
"""

import collections
import csv
import gzip
import io
import re
from dataclasses import dataclass, field

SCARCE_EVERY = 40
SEEDED_PERCENT = 5
CANCEL_DELAY_MS = 2000
LEFT_PERCENT = 10
CARDS = [(2, "declined"), (3, "insufficient"), (4, "flaky"), (5, "slow"), (99, "good")]


@dataclass
class Line:
    number: int
    invoice: str
    sku: str
    name: str
    customer: str
    quantity: int | None = None  # None: not a number
    pence: int | None = None


@dataclass
class Product:
    sku: str
    name: str
    price: int
    sold: int = 0
    scarce: bool = False

    def stock(self, loops):
        return self.sold * loops // 2 if self.scarce else self.sold * loops


@dataclass
class Order:
    invoice: str
    customer: str
    card: str
    items: dict = field(default_factory=dict)  # sku -> quantity
    total: int = 0  # at list prices
    file_total: int = 0
    price_differences: int = 0  # sum over its lines of quantity * (list price - price in the file)
    cancel: str | None = None  # "seeded" or "file"
    cancel_delay_ms: int = 0
    matched: bool = False


@dataclass
class Plan:
    lines: list
    invoices: int = 0
    products: dict = field(default_factory=dict)  # sku -> Product, by order of appearance
    orders: list = field(default_factory=list)
    credits: list = field(default_factory=list)  # (invoice, verdict, cancelled invoice)
    listed: list = field(default_factory=list)  # (line, reason)

    def listed_by_reason(self):
        return dict(collections.Counter(reason for _, reason in self.listed))


def fnv1a(text):
    value = 14695981039346656037
    for byte in text.encode():
        value = (value ^ byte) * 1099511628211 % 2**64
    return value


def card_of(invoice):
    bucket = fnv1a("card:" + invoice) % 100
    return next(name for last, name in CARDS if bucket <= last)


def left_behind(order):
    """What its customer puts into the cart after the order, and leaves there: {sku: quantity}, or None."""
    return {next(iter(order.items)): 1} if fnv1a("left:" + order.invoice) % 100 < LEFT_PERCENT else None


def visits(order, percent):
    """Does its customer look around before and watch the order afterwards?"""
    return fnv1a("visit:" + order.invoice) % 100 < percent


def utf8(field_text):
    """The file is read as Latin-1; a field that is UTF-8 is taken as that."""
    raw = field_text.encode("latin-1")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return field_text


def quantity_of(text):
    return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else None


def pence_of(text):
    """Exact decimals; more than two are rounded half up, away from zero."""
    match = re.fullmatch(r"(-?)([0-9]{1,9})(?:\.([0-9]+))?", text)
    if match is None:
        return None
    sign, whole, part = match.groups()
    digits = (part or "") + "000"
    pence = int(whole) * 100 + int(digits[:2]) + (digits[2] >= "5")
    return -pence if sign else pence


def line_of(number, row):
    padded = [utf8(text) for text in row] + [""] * 8
    line = Line(number, padded[0], padded[1], padded[2], padded[6])
    if len(row) == 8:
        line.quantity, line.pence = quantity_of(padded[3]), pence_of(padded[5])
    return line


def readable(line):
    return line.quantity is not None and line.pence is not None


def read_lines(path):
    with (gzip.open if path.endswith(".gz") else open)(path, "rb") as f:
        text = f.read().decode("latin-1").replace("\0", "")
    rows = csv.reader(io.StringIO(text, newline=""))
    next(rows)
    return [line_of(number, row) for number, row in enumerate(rows, 2) if row]


def invoice_groups(lines):
    group = []
    for line in lines:
        if group and group[0].invoice != line.invoice:
            yield group
            group = []
        group.append(line)
    if group:
        yield group


def price_list(lines):
    """Counter.most_common keeps the order of first appearance among equals."""
    prices, names = {}, {}
    for line in filter(readable, lines):
        prices.setdefault(line.sku, collections.Counter())
        names.setdefault(line.sku, collections.Counter())
        if line.pence > 0:
            prices[line.sku][line.pence] += 1
        if line.name.strip(" \t"):
            names[line.sku][line.name] += 1
    products = {}
    for sku, counts in prices.items():
        if counts:
            name = names[sku].most_common(1)[0][0] if names[sku] else sku
            products[sku] = Product(
                sku, name, counts.most_common(1)[0][0], scarce=(len(products) + 1) % SCARCE_EVERY == 0
            )
    return products


def refused(line):
    if not line.invoice or not line.sku or not readable(line):
        return "malformed"
    if line.quantity <= 0:
        return "quantity not positive"
    if line.pence <= 0:
        return "price not positive"
    return None


def add_order(plan, group, seed):
    sold = []
    for line in group:
        reason = refused(line)
        if reason:
            plan.listed.append((line, reason))
        else:
            sold.append(line)
    if not sold:
        return
    order = Order(group[0].invoice, group[0].customer, card_of(group[0].invoice))
    for line in sold:
        product = plan.products[line.sku]
        product.sold += line.quantity
        order.items[line.sku] = order.items.get(line.sku, 0) + line.quantity
        order.total += line.quantity * product.price
        order.file_total += line.quantity * line.pence
        order.price_differences += line.quantity * (product.price - line.pence)
    value = fnv1a(f"cancel:{seed}:{order.invoice}")
    if value % 100 < SEEDED_PERCENT:
        order.cancel, order.cancel_delay_ms = "seeded", value // 100 % (CANCEL_DELAY_MS + 1)
    plan.orders.append(order)


def add_credit(plan, group):
    back = {}
    for line in group:
        plan.listed.append((line, "line of a cancellation" if readable(line) else "malformed"))
        if readable(line):
            sku = line.sku if line.sku in plan.products else None
            back[sku] = back.get(sku, 0) - line.quantity
    earlier = [order for order in plan.orders if order.customer == group[0].customer]
    shares = False
    for order in reversed(earlier):
        if not order.matched and order.items == back:
            order.matched, order.cancel = True, order.cancel or "file"
            plan.credits.append((group[0].invoice, "cancels", order.invoice))
            return
        shares = shares or any(sku in order.items for sku in back)
    plan.credits.append((group[0].invoice, "partial" if shares else "no such order in the file", None))


def make_plan(path, seed, invoices_max=0):
    groups = list(invoice_groups(read_lines(path)))
    if invoices_max:
        groups = groups[:invoices_max]
    lines = [line for group in groups for line in group]
    plan = Plan(lines, len(groups), price_list(lines))
    for group in groups:
        if group[0].invoice.startswith("C"):
            add_credit(plan, group)
        else:
            add_order(plan, group, seed)
    return plan


def plan_as_json(plan):
    """The same shape as `shop-replay --plan`."""
    return {
        "lines": len(plan.lines),
        "invoices": plan.invoices,
        "products": [
            {"sku": p.sku, "name": p.name, "price": p.price, "stock": p.stock(1)} for p in plan.products.values()
        ],
        "orders": [
            {
                "invoice": o.invoice,
                "customer": o.customer,
                "card": o.card,
                "total": o.total,
                "file_total": o.file_total,
                "cancel": o.cancel,
                "cancel_delay_ms": o.cancel_delay_ms,
                "items": [{"sku": sku, "quantity": quantity} for sku, quantity in o.items.items()],
            }
            for o in plan.orders
        ],
        "credits": [
            {"invoice": invoice, "verdict": verdict, "cancels": cancels} for invoice, verdict, cancels in plan.credits
        ],
        "listed_by_reason": plan.listed_by_reason(),
        "listed": [
            {"line": line.number, "invoice": line.invoice, "sku": line.sku, "reason": reason}
            for line, reason in plan.listed
        ],
    }
