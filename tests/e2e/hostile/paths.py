# SPDX-License-Identifier: Apache-2.0
"""Paths and queries: tricks to get around the routes, to another route, or out of a folder."""

from wire import Row, check


def nothing_private(answer):
    check(b"root:" not in answer.body and b"PRIVATE KEY" not in answer.body, "a file from outside came")


def rows(g):
    get = lambda path, status, why, **more: Row(
        f"GET {path[:70]}", status, why, g.get(path, token=g.alice), check=nothing_private, **more
    )
    products = "/api/v1/products/"
    return [
        # ---- segments ----
        *(
            get(path, 400, "RFC 3986 6.2.2.3")
            for path in (
                products + "..",
                products + ".",
                products + "../users/me",
                products + "%2e%2e",
                products + "%2E%2e/users/me",
                products + "%2e./x",
                products + ".%2E/.%2e/users/me",
                "/api/v1/../v1/products",
                "/../api/v1/products",
                "/./api/v1/products",
                "/api/v1//products",
                "//api/v1/products",
                "//evil.example/api/v1/products",
                "/api/v1/orders/../payments",
                "/api/v1/orders/%2e%2e/payments",
                "/api/v1/products\\..\\users",
            )
        ),
        *(
            get(path, 400, "RFC 3986 2.1")
            for path in (
                products + "%",
                products + "%4",
                products + "%zz",
                products + "%u0041",
                products + "%%41",
                "/%",
                products + "a?limit=%4",
                products + "a#fragment",
                products + "{id}",
            )
        ),
        *(
            get(path, 400, "RFC 3986 7.3")
            for path in (
                products + "%00",
                products + "a%00b",
                "/%00",
                products + "%0d%0aX:y",
                products + "%0a",
                products + "%7f",
                products + "%1b",
            )
        ),
        # Overlong forms, surrogates, halves of characters: no sku is written so.
        *(
            get(products + path, 404, "RFC 3629 3")
            for path in (
                "%ff",
                "%c0%af",
                "%c0%ae%c0%ae",
                "%e0%80%af",
                "%f0%80%80%af",
                "%ed%a0%80",
                "%f4%90%80%80",
                "%e2%82",
                "%80",
            )
        ),
        # What looks like a path in one segment stays one segment: no such sku.
        *(
            get(products + path, 404, "RFC 3986 2.2")
            for path in (
                "a%2fb",
                "a%2Fb",
                "..%2f..%2fetc%2fpasswd",
                "..%2Fusers%2Fme",
                "%2fetc%2fpasswd",
                "..%252f",
                "a%5cb",
                "..%5c..%5c",
                ";x",
                "a;jsessionid=1",
                "%2e%2e%2f",
                "%7Bid%7D",
                "%41" * 64,
                "a" * 4000,
                "'%20OR%201=1--",
                "*",
                "%25",
                "%3Fa=b",
                "%23",
            )
        ),
        # Nothing here.
        *(
            get(path, 404, "RFC 9110 15.5.5")
            for path in (
                "/api/v1/products;a=b",
                "/api/v1/products/",
                "/API/v1/products",
                "/api/v1/Products",
                "/api/v2/products",
                "/api/v1/none",
                "/api/",
                "/api",
                "/v1/products",
                "/v1/orders/x/confirm",
                "/api/v1/orders/x/confirm",
                "/api/v1/orders/x/reject",
                "/api/v1/payments/capture",
                "/api/v1/reservations/x",
                "/api/v1/charges/x",
                "/api/v1/registry",
                "/api/v1/sagas",
            )
        ),
        get("/%61pi/v1/%70roducts", 200, "RFC 3986 6.2.2.2"),  # an unreserved character is the same however written
        get("/" + "a/" * 2000, 400, "contract"),
        # ---- out of the storefront's folder ----
        *(
            get(path, 400, "RFC 3986 6.2.2.3")
            for path in (
                "/../../../../etc/passwd",
                "/..%2f..%2f..%2fetc/passwd",
                "/%2e%2e/%2e%2e/etc/passwd",
                "/.%2e/.%2e/etc/passwd",
                "/..\\..\\etc\\passwd",
                "/assets/../../../etc/passwd",
                "/a/%00/../../etc/passwd",
            )
        ),
        *(
            get(path, 404, "RFC 9110 15.5.5")
            for path in (
                "/etc/passwd",
                "/.git/config",
                "/.env",
                "/ficus.yaml",
                "/admin.json",
                "/run/orders.json",
                "/health/",
                "/HEALTH",
                "/metrics/",
            )
        ),
        # ---- queries ----
        *(
            get(f"/api/v1/{path}", 400, "contract")
            for path in (
                *(
                    "products?limit=" + value
                    for value in (
                        "0",
                        "101",
                        "-1",
                        "x",
                        "",
                        "1e1",
                        "0x10",
                        "%2b5",
                        "5%20",
                        "99999999999999999999",
                        "%00",
                        "%ff",
                        "1.0",
                        "%D9%A1",
                    )
                ),
                *(
                    "products?after=" + value
                    for value in ("AAAA", "%27;drop", "9" * 300, "-1", "A" * 7000, "%00", "..%2f")
                ),
                *("orders?after=" + value for value in ("xx", "AAAA", "%00", "9" * 500)),
                "orders?status=bogus",
                "orders?status=pending'--",
                "orders?limit=0",
                "notifications?after=x",
                "notifications?limit=-5",
                "search?q=a&limit=1000",
            )
        ),
        get("/api/v1/products?limit=%31", 200, "RFC 3986 6.2.2.2"),
        get("/api/v1/products?" + "a=b&" * 1000, 200, "RFC 9110 4.2.1"),
        get("/api/v1/products?x=%2e%2e/%2e%2e&limit=1", 200, "RFC 3986 3.4"),
        get("/health?x", 200, "contract"),
    ]
