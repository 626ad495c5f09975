# SPDX-License-Identifier: Apache-2.0
"""Who may what: other people's things, administrators' paths, identities that a client claims, other origins."""

import urllib.parse

import tokens
from wire import Row, check

CLAIMED = {
    "iss": "gateway",
    "aud": "orders",
    "sub": "root",
    "user": "root",
    "roles": ["admin"],
    "iat": 0,
    "exp": 4000000000,
}
ADMIN_PATHS = ("payments", "bank/ledger", "stock/S1", "stock-movements")


def identities():
    """Fields by which one gateway or another lets a service know who asks."""
    unsigned = tokens.encode({"alg": "none"}) + "." + tokens.encode(CLAIMED) + "."
    forged = tokens.encode({"alg": "HS256"}) + "." + tokens.encode(CLAIMED) + "." + "A" * 43
    names = ("Ficus-Identity", "ficus-identity", "FICUS-IDENTITY", "Ficus_Identity")
    yield from (f"{name}: {value}" for name in names for value in (unsigned, forged))
    yield from (
        "Ficus-User: root",
        "Ficus-Roles: admin",
        "X-User-Id: root",
        "X-Forwarded-User: root",
        "X-Remote-User: root",
        "Remote-User: root",
        "X-Roles: admin",
        "X-Forwarded-For: 127.0.0.1",
        "X-Real-IP: 127.0.0.1",
        "Forwarded: for=127.0.0.1;by=gateway;proto=https",
        "X-Original-URL: /api/v1/products",
        "X-Rewrite-URL: /api/v1/products",
        "X-HTTP-Method-Override: GET",
        "X-Amzn-Oidc-Data: x",
        "X-Client-Cert: x",
        "Cookie: user=root; roles=admin",
    )


def only_own(g):
    own = {item["id"] for item in g.shop.request("GET", "/api/v1/orders?limit=100", token=g.mallory).json["items"]}

    def look(answer):
        items = [item["id"] for item in answer.json["items"]]
        check(set(items) <= own, f"orders of somebody else: {items}")

    return look


def one_event(answer):
    check(
        answer.body.count(b"event: ") == 1 and b"confirmed" in answer.body,
        f"not the present status alone: {answer.body!r}",
    )


def rows(g):
    order = "/api/v1/orders/" + g.order_id
    get = lambda name, status, why, path, *fields, token=g.mallory, **more: Row(
        name, status, why, g.get(path, *fields, token=token), **more
    )
    post = lambda name, status, why, path, *fields, token=g.mallory, **more: Row(
        name, status, why, g.send("POST", path, {}, *fields, token=token), **more
    )
    price = {"name": "cheap", "price": {"amount": 1, "currency": "GBP"}}
    is_list = lambda answer: check(
        b'"sku"' in answer.body and b"captured" not in answer.body, f"not the products: {answer.body[:200]!r}"
    )
    note = f"/api/v1/notifications/{g.notification_id}/read"
    elsewhere = urllib.parse.quote(g.cursor)
    return [
        # ---- other people's ----
        get("somebody else's order", 404, "contract", order),
        get("somebody else's order as events", 404, "contract", order + "/events"),
        post("cancel somebody else's order", 404, "contract", order + "/cancel"),
        get("an order without a token", 401, "contract", order, token=None),
        get("events without a token", 401, "contract", order + "/events", token=None),
        post("cancel without a token", 401, "contract", order + "/cancel", token=None),
        get("an unknown order", 404, "contract", "/api/v1/orders/00000000-0000-7000-8000-000000000000"),
        get("an order id of 4,000 letters", 404, "contract", "/api/v1/orders/" + "x" * 4000),
        get("an order id that is SQL", 404, "contract", "/api/v1/orders/'%20OR%20'1'='1"),
        get("an order id with a wildcard", 404, "contract", "/api/v1/orders/%25"),
        get("events of an unknown order", 404, "contract", "/api/v1/orders/none/events"),
        post("cancel an unknown order", 404, "contract", "/api/v1/orders/none/cancel"),
        get(
            "somebody else's cursor shows one's own",
            200,
            "contract",
            "/api/v1/orders?after=" + elsewhere,
            check=only_own(g),
        ),
        get("a cursor of another list", 400, "contract", "/api/v1/orders?after=" + g.cursor[::-1] + "!"),
        post("somebody else's notification", 404, "contract", note),
        post("a notification without a token", 401, "contract", note, token=None),
        Row(
            "somebody else's order, HEAD",
            404,
            "contract",
            g.head("HEAD " + order, "Authorization: Bearer " + g.mallory),
        ),
        get(
            "a filter for another user does nothing",
            200,
            "contract",
            "/api/v1/orders?user=alice&user_id=alice",
            check=only_own(g),
        ),
        # ---- administrators' ----
        *(get(f"{path} by a user", 403, "contract", "/api/v1/" + path) for path in ADMIN_PATHS),
        *(get(f"{path} by nobody", 401, "contract", "/api/v1/" + path, token=None) for path in ADMIN_PATHS),
        Row("a price by a user", 403, "contract", g.send("PUT", "/api/v1/products/S1", price, token=g.mallory)),
        Row("a price by nobody", 401, "contract", g.send("PUT", "/api/v1/products/S1", price)),
        Row("a stock by a user", 403, "contract", g.send("PUT", "/api/v1/stock/S1", {"on_hand": 1}, token=g.mallory)),
        *(get(f"{field[:40]}: payments", 403, "contract", "/api/v1/payments", field) for field in identities()),
        *(
            get(f"{field[:40]}: no token", 401, "contract", "/api/v1/users/me", field, token=None)
            for field in identities()
        ),
        get(
            "X-Original-URL is not the path",
            200,
            "RFC 9110 7.1",
            "/api/v1/products",
            "X-Original-URL: /api/v1/payments",
            check=is_list,
            token=g.admin,
        ),
        get("metrics through another proxy", 404, "contract", "/metrics", "X-Forwarded-For: 192.0.2.1"),
        # ---- methods in disguise ----
        post(
            "POST that wants to be PUT",
            405,
            "RFC 9110 15.5.6",
            "/api/v1/products/S1",
            "X-HTTP-Method-Override: PUT",
            token=g.admin,
        ),
        post("POST that wants to be DELETE", 405, "RFC 9110 15.5.6", order, "X-Method-Override: DELETE"),
        get("GET that wants to be POST", 200, "RFC 9110 9.3.1", order, "X-HTTP-Method: POST", token=g.alice),
        get("GET with _method", 404, "RFC 9110 9.3.1", order + "?_method=DELETE"),
        # ---- pages of other origins ----
        *(
            post(f"{field}", 403, "Fetch, CORS", order + "/cancel", field)
            for field in (
                "Origin: http://evil.example",
                "Origin: null",
                "Origin:",
                f"Origin: http://{g.host.decode()}.evil.example",
                f"Origin: http://{g.host.decode()}, http://evil.example",
                f"Origin: {g.host.decode()}",
                "Sec-Fetch-Site: cross-site",
            )
        ),
        post(
            "two Origins",
            403,
            "Fetch, CORS",
            order + "/cancel",
            "Origin: http://" + g.host.decode(),
            "Origin: http://evil.example",
        ),
        post("the own origin", 404, "Fetch, CORS", order + "/cancel", "Origin: http://" + g.host.decode()),
        get(
            "a read from elsewhere gets no permission",
            200,
            "Fetch, CORS",
            "/api/v1/products",
            "Origin: http://evil.example",
            check=lambda answer: check("access-control-allow-origin" not in answer.fields, "another origin may read"),
        ),
        Row(
            "a preflight gets no permission",
            405,
            "Fetch, CORS",
            g.head("OPTIONS /api/v1/orders", "Origin: http://evil.example", "Access-Control-Request-Method: POST"),
            check=lambda answer: check("access-control-allow-origin" not in answer.fields, "another origin may write"),
        ),
        # ---- marks that a client sends ----
        *(
            get(
                f"X-Request-ID {value[:20]!r}",
                200,
                "contract",
                "/api/v1/products",
                "X-Request-ID: " + value,
                check=lambda answer, value=value: check(answer.fields["x-request-id"] != value, "taken over"),
            )
            for value in ("a b", "x" * 129, 'a"b', "\xe9", "")
        ),
        *(
            get(
                f"traceparent {value[:30]!r}",
                200,
                "W3C Trace Context 3.2",
                "/api/v1/products",
                "traceparent: " + value,
                check=lambda answer, value=value: check(value[3:35] not in answer.fields["traceparent"], "taken over"),
            )
            for value in (
                "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
                "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
                "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            )
        ),
        *(
            get(f"Ficus-Timeout-Ms {value!r}", 200, "contract", "/api/v1/products", "Ficus-Timeout-Ms: " + value)
            for value in ("-1", "99999999999999999999", "x", "", "0x10", "15000, 1")
        ),
        # ---- event streams ----
        *(
            get(
                f"Last-Event-ID {value!r}: from the present",
                200,
                "WHATWG HTML 9.2",
                order + "/events",
                "Last-Event-ID: " + value,
                token=g.alice,
                check=one_event,
            )
            for value in ("", "x", "1e3", "0x1", "1 1", "1.5", "1;1", "\xff")
        ),
        get("Last-Event-ID of the future", 204, "contract", order + "/events", "Last-Event-ID: 1000000", token=g.alice),
        get(
            "Last-Event-ID over 64 bits",
            204,
            "contract",
            order + "/events",
            "Last-Event-ID: 9223372036854775808",
            token=g.alice,
        ),
    ]
