# SPDX-License-Identifier: Apache-2.0
"""JSON that is broken, deep, ambiguous or of wrong types, to every route that takes a body; and Idempotency-Keys."""

import copy
import json

from wire import Row, check


def not_json(g):
    """(name, bytes) that RFC 8259 or RFC 3629 refuses."""
    good = json.dumps(g.order_body())
    inside = lambda text: good.replace('"quantity": 1', '"quantity": 1, "x": ' + text).encode("utf-8", "surrogatepass")
    return [
        ("nothing but a space", b" "),
        ("cut", good[:-1].encode()),
        ("cut in a string", b'{"items": "'),
        ("text behind it", good.encode() + b" x"),
        ("a second value behind it", good.encode() + b"{}"),
        ("NUL behind it", good.encode() + b"\0"),
        ("byte order mark", b"\xef\xbb\xbf" + good.encode()),
        ("UTF-16", good.encode("utf-16")),
        ("Latin-1", inside('"caf"').replace(b"caf", b"caf\xe9")),
        ("overlong slash", inside('"~"').replace(b"~", b"\xc0\xaf")),
        ("overlong NUL", inside('"~"').replace(b"~", b"\xc0\x80")),
        ("surrogate in UTF-8", inside('"\ud800"')),
        ("beyond U+10FFFF", inside('"~"').replace(b"~", b"\xf4\x90\x80\x80")),
        ("half a character", inside('"~"').replace(b"~", b"\xe2\x82")),
        ("lone high surrogate", inside('"\\ud800"')),
        ("lone low surrogate", inside('"\\udc00"')),
        ("surrogates the wrong way round", inside('"\\udc00\\ud800"')),
        ("control character in a string", inside('"a\nb"')),
        ("bad escape", inside('"\\x41"')),
        ("short escape", inside('"\\u00"')),
        ("single quotes", b"{'items': []}"),
        ("no quotes", b"{items: []}"),
        ("comment", b"/**/" + good.encode()),
        ("comma behind the last member", good[:-1].encode() + b",}"),
        ("comma behind the last element", inside("[1,]")),
        ("two commas", inside("[1,,2]")),
        ("no comma", inside("[1 2]")),
        ("no colon", b'{"items" []}'),
        ("a key without value", b'{"items"}'),
        ("NaN", inside("NaN")),
        ("Infinity", inside("-Infinity")),
        ("True", inside("True")),
        ("undefined", inside("undefined")),
        ("hexadecimal", inside("0x10")),
        ("leading zero", inside("01")),
        ("leading plus", inside("+1")),
        ("leading point", inside(".5")),
        ("trailing point", inside("1.")),
        ("minus alone", inside("-")),
        ("empty exponent", inside("1e")),
        ("the same key twice", good[:-1].encode() + b', "items": []}'),
        ("the same key twice, once escaped", good[:-1].encode() + b', "\\u0069tems": []}'),
        ("quantity twice", inside("1").replace(b'"x": 1', b'"quantity": 100')),
        ("100,000 brackets", b"[" * 100000 + b"]" * 100000),
        ("100,000 brackets inside", inside("[" * 50000 + "]" * 50000)),
        ("50,000 objects", b'{"a":' * 50000),
        ("wrong brackets", b'{"items": [}]'),
    ]


def templates(g):
    """(name, method, path, good body, who) of every route that reads a body."""
    order = g.order_body()
    return [
        (
            "users",
            "POST",
            "/api/v1/users",
            {"email": "new@shop.example", "name": "New", "password": "long enough 1"},
            None,
        ),
        ("sessions", "POST", "/api/v1/sessions", {"email": "a@shop.example", "password": "long enough 1"}, None),
        (
            "products",
            "PUT",
            "/api/v1/products/S9",
            {"name": "Nine", "price": {"amount": 1, "currency": "GBP"}},
            g.admin,
        ),
        ("stock", "PUT", "/api/v1/stock/S1", {"on_hand": 1_000_000}, g.admin),
        ("cart", "PUT", "/api/v1/cart", {"items": order["items"]}, g.alice),
        ("orders", "POST", "/api/v1/orders", order, g.alice),
    ]


def places(value, pointer=""):
    """(JSON pointer, value) of everything below value."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inside:
        yield f"{pointer}/{key}", below
        yield from places(below, f"{pointer}/{key}")


ABSENT = object()


def changed(body, pointer, value):
    body = copy.deepcopy(body)
    *parents, last = pointer.split("/")[1:]
    at = body
    for key in parents:
        at = at[int(key)] if isinstance(at, list) else at[key]
    key = int(last) if isinstance(at, list) else last
    if value is ABSENT:
        del at[key]
    else:
        at[key] = value
    return body


def wrong(value):
    """Values of another type than that of value, or absent."""
    if isinstance(value, str):
        return [None, True, 1, [], {}, [value], ABSENT]
    if isinstance(value, int):
        return [None, True, "1", 1.5, -1, [], {}, [value], 2**53 + 0.0, 2**63, 2**64 + 1, 10**300, ABSENT]
    if isinstance(value, list):
        return [None, True, 1, "text", {}, ABSENT]
    return [None, True, 1, "text", [], ABSENT]


def unreadable(value):
    """Beyond the range that Ficus reads (RFC 8259, 9 allows one): refused before anybody knows the place."""
    return isinstance(value, int) and value >= 2**63


def short(value):
    text = "absent" if value is ABSENT else json.dumps(value)
    return text if len(text) < 25 else text[:20] + "..."


def names_the_place(pointer):
    def look(answer):
        pointers = [e["pointer"] for e in answer.json.get("errors", [])]
        check(
            any(pointer.startswith(p) or p.startswith(pointer) for p in pointers),
            f"the errors are at {pointers}, not at {pointer}",
        )

    return look


def wrong_types(g):
    for name, method, path, body, token in templates(g):
        send = lambda value: g.send(method, path, value, "Idempotency-Key: wrong-types", token=token)
        for value in (None, True, 1, "text", [], [body]):
            yield Row(f"{name}: the body is {short(value)}", 400, "contract", send(value))
        for pointer, value in places(body):
            if pointer.endswith("/0"):
                continue
            for other in wrong(value):
                yield Row(
                    f"{name}: {pointer} is {short(other)}",
                    400,
                    "contract",
                    send(changed(body, pointer, other)),
                    check=None if unreadable(other) else names_the_place(pointer),
                )
        for text in (b"{", b'{"a":"\xff"}', b"\xef\xbb\xbf" + json.dumps(body).encode(), b"[" * 8000):
            yield Row(f"{name}: {text[:12]!r}", 400, "RFC 8259", send(text))


def values(g):
    """Right types, impossible values."""
    item = g.order_body()["items"][0]
    order = lambda **changes: g.order(g.order_body(**changes))
    yield Row("orders: no items", 400, "contract", order(items=[]))
    yield Row("orders: 1,001 items", 400, "contract", order(items=[item] * 1001))
    for quantity in (0, 1_000_001):
        yield Row(f"orders: quantity {quantity}", 400, "contract", order(items=[dict(item, quantity=quantity)]))
    for number in ("4242424242424241", "4" * 1000, "", "4242-4242-4242-4242x", "\uff14\uff12" * 8, "0", "42 42"):
        yield Row(f"orders: card {short(number)}", 400, "contract", order(payment={"card_number": number}))
    for product_id in ("nope", "../../v1/users", "a/b?c#d", "%2e%2e", "'; DROP TABLE product; --", "S1 ", "s1"):
        yield Row(f"orders: product {product_id!r}", 422, "contract", order(items=[dict(item, product_id=product_id)]))
    for product_id in ("", "a\0b", "a" * 100_000):
        yield Row(
            f"orders: product {short(product_id)}", 400, "contract", order(items=[dict(item, product_id=product_id)])
        )
    yield Row("orders: 300 KiB", 413, "contract", order(note="x" * 300 * 1024))
    email = lambda email: g.send("POST", "/api/v1/users", {"email": email, "name": "N", "password": "long enough 1"})
    for text in ("x", "@", "a@", "@b.c", "a b@c.d", "a@b.c\r\nX: y", "a@b.c\0", "a" * 300 + "@b.c"):
        yield Row(f"users: email {short(text)}", 400, "contract", email(text))
    for password in ("", "9 letters", "x" * 201, "\u00e9" * 9):
        body = {"email": "p@shop.example", "name": "N", "password": password}
        yield Row(f"users: password {short(password)}", 400, "contract", g.send("POST", "/api/v1/users", body))
    yield Row(
        "users: a name of 10,000 letters",
        400,
        "contract",
        g.send("POST", "/api/v1/users", {"email": "n@shop.example", "name": "n" * 10_000, "password": "long enough 1"}),
    )
    yield Row("users: an email that is taken, in capitals", 409, "contract", email("ALICE@shop.example"))
    price = lambda price: g.send("PUT", "/api/v1/products/S9", {"name": "Nine", "price": price}, token=g.admin)
    for wrong_price in (
        {"amount": 0.5, "currency": "GBP"},
        {"amount": 10**12, "currency": "GBP"},
        {"amount": 1, "currency": "gbp"},
        {"amount": 1, "currency": "POUND"},
    ):
        yield Row(f"products: price {json.dumps(wrong_price)}", 400, "contract", price(wrong_price))
    yield Row(
        "products: a sku of 65 letters",
        400,
        "contract",
        g.send(
            "PUT",
            "/api/v1/products/" + "x" * 65,
            {"name": "N", "price": {"amount": 1, "currency": "GBP"}},
            token=g.admin,
        ),
    )
    yield Row(
        "stock: of nothing known, or new",
        200,
        "contract",
        g.send("PUT", "/api/v1/stock/S2", {"on_hand": 0}, token=g.admin),
    )
    yield Row(
        "integers only: 1e0",
        400,
        "contract",
        g.order(json.dumps(g.order_body()).replace('"quantity": 1', '"quantity": 1e0').encode()),
    )
    yield Row(
        "1e400 where nobody looks",
        400,
        "RFC 8259 6",
        g.order(json.dumps(g.order_body()).replace('"quantity": 1', '"quantity": 1e400').encode()),
    )


def keys(g):
    key = lambda *fields: g.send("POST", "/api/v1/orders", g.order_body(), *fields, token=g.alice)
    yield Row("no Idempotency-Key", 400, "contract", key())
    for value in ("", " ", "x" * 129, "a\tb", "\xe9", "x" * 8000):
        yield Row(f"Idempotency-Key {value[:20]!r} of {len(value)}", 400, "contract", key("Idempotency-Key: " + value))
    yield Row("two Idempotency-Keys", 400, "contract", key("Idempotency-Key: a", "Idempotency-Key: b"))
    yield Row("the same Idempotency-Key twice", 400, "contract", key("Idempotency-Key: a", "Idempotency-Key: a"))
    yield Row(
        "Connection takes the Idempotency-Key away",
        400,
        "RFC 9110 7.6.1",
        key("Connection: idempotency-key", "Idempotency-Key: a"),
    )
    for value in ("x" * 128, "'\";--", '{"a": 1}', "../../x", "a b"):
        yield Row(f"Idempotency-Key {value[:20]!r}", 202, "contract", key("Idempotency-Key: " + value))
    again = g.order(key="once")
    seen = []

    def same(answer):
        seen.append((answer.json, answer.fields["location"]))
        check(seen[0] == seen[-1], f"another answer: {seen}")

    yield Row("an order", 202, "contract", again, check=same)
    yield Row("the same order again", 202, "contract", again, check=same)
    yield Row(
        "another body with its key",
        422,
        "contract",
        g.order(g.order_body(items=[{"product_id": g.product_id, "quantity": 2}]), key="once"),
    )
    yield Row(
        "the same key of somebody else is another key",
        202,
        "contract",
        g.order(token=g.mallory, key="once"),
        check=lambda answer: check(answer.json["id"] != seen[0][0]["id"], "got the order of another user"),
    )


def rows(g):
    return [
        *(Row("JSON: " + name, 400, "RFC 8259, RFC 3629", g.order(text)) for name, text in not_json(g)),
        *wrong_types(g),
        *values(g),
        *keys(g),
    ]
