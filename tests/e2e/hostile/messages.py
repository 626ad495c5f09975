# SPDX-License-Identifier: Apache-2.0
"""HTTP/1.1 itself: request lines, fields, framing, connections. Smuggling shapes end the connection, so that nobody can
take what follows for a request (RFC 9112, 11.2)."""

from wire import CLOSED, Row

BODY = b'{"note": "0123456789012345678901234567"}\n'  # 41 bytes = 0x29
PATH = "/api/v1/notifications/none/read"  # POST with any JSON: 404, when the message itself was understood
UNDERSTOOD = 404
LENGTH = "Content-Length: 41"
CHUNKED = "Transfer-Encoding: chunked"
CHUNKS = b"29\r\n" + BODY + b"\r\n0\r\n\r\n"


def rows(g):
    get = lambda *fields, **more: g.head("GET /api/v1/products", *fields, **more)

    def post(*fields, body=BODY, version="1.1"):
        return (
            g.head(
                "POST " + PATH,
                "Authorization: Bearer " + g.alice,
                "Content-Type: application/json",
                *fields,
                version=version,
            )
            + body
        )

    def line(text):
        return text.encode("latin-1") + b"\r\nHost: " + g.host + b"\r\n\r\n"

    chunked = lambda body: post(CHUNKED, body=body)
    bad = lambda name, why, raw, status=400: Row(name, status, why, raw, ends=True)
    fine = lambda name, why, raw, status=200: Row(name, status, why, raw)

    return [
        # ---- both ways to tell the length, or a broken one ----
        fine("a body with Content-Length", "RFC 9112 6.2", post(LENGTH), UNDERSTOOD),
        fine("a chunked body", "RFC 9112 7.1", chunked(CHUNKS), UNDERSTOOD),
        bad("Content-Length, then Transfer-Encoding", "RFC 9112 6.3 (3)", post(LENGTH, CHUNKED, body=CHUNKS)),
        bad("Transfer-Encoding, then Content-Length", "RFC 9112 6.3 (3)", post(CHUNKED, LENGTH, body=CHUNKS)),
        bad(
            "Content-Length: 0 hides a chunked request behind it",
            "RFC 9112 6.3 (3)",
            post("Content-Length: 0", CHUNKED, body=b"0\r\n\r\n" + get()),
        ),
        bad("Content-Length twice, different", "RFC 9112 6.3 (5)", post(LENGTH, "Content-Length: 0")),
        bad("Content-Length twice, the same", "RFC 9112 6.3 (5)", post(LENGTH, LENGTH)),
        bad("Content-Length as a list", "RFC 9112 6.3 (5)", post("Content-Length: 41, 41")),
        bad("Content-Length as a list of different", "RFC 9112 6.3 (5)", post("Content-Length: 41, 5")),
        *(
            bad(f"Content-Length {value!r}", "RFC 9110 8.6", post("Content-Length:" + value))
            for value in (
                " +41",
                " -1",
                " 0x29",
                " 4 1",
                "",
                " ",
                " 41;",
                " 41.0",
                ' "41"',
                " 4_1",
                " \u00b2",
                " 18446744073709551616",
                " 18446744073709551657",
                " 9223372036854775808",
            )
        ),
        fine("Content-Length with zeros in front", "RFC 9110 8.6", post("Content-Length: 00041"), UNDERSTOOD),
        fine("Content-Length with white space around", "RFC 9112 5.1", post("Content-Length: \t 41 \t"), UNDERSTOOD),
        bad("Content-Length 2^63 - 1", "RFC 9110 15.5.14", post("Content-Length: 9223372036854775807"), 413),
        bad("Content-Length over the limit", "RFC 9110 15.5.14", post("Content-Length: 2000000", body=b""), 413),
        fine("chunked in any case", "RFC 9112 7", post("Transfer-Encoding: ChUnKeD", body=CHUNKS), UNDERSTOOD),
        fine("chunked behind a tab", "RFC 9112 5.1", post("Transfer-Encoding:\tchunked", body=CHUNKS), UNDERSTOOD),
        *(
            bad(
                f"Transfer-Encoding {value!r}: not chunked last", "RFC 9112 6.3 (4)", post("Transfer-Encoding:" + value)
            )
            for value in (
                " xchunked",
                " identity",
                " chunked, identity",
                " chunked, gzip",
                " gzip",
                " chunke",
                " chunkedd",
                "",
                " ,",
                ' "chunked"',
                " chunked;q=1",
                " chunked chunked",
            )
        ),
        bad("Transfer-Encoding chunked twice in one", "RFC 9112 6.1", post("Transfer-Encoding: chunked, chunked")),
        bad("Transfer-Encoding twice", "RFC 9112 6.1", post(CHUNKED, CHUNKED, body=CHUNKS)),
        bad("Transfer-Encoding twice, one unknown", "RFC 9112 6.1", post(CHUNKED, "Transfer-Encoding: x", body=CHUNKS)),
        bad("Transfer-Encoding gzip, chunked", "RFC 9112 6.1", post("Transfer-Encoding: gzip, chunked"), 501),
        bad("Transfer-Encoding with a vertical tab", "RFC 9110 5.5", post("Transfer-Encoding: \x0bchunked")),
        bad("Transfer-Encoding with NUL", "RFC 9110 5.5", post("Transfer-Encoding: chunked\0")),
        bad("Transfer-Encoding, space before the colon", "RFC 9112 5.1", post("Transfer-Encoding : chunked")),
        bad("Transfer-Encoding folded", "RFC 9112 5.2", post("Transfer-Encoding:\r\n chunked")),
        bad("Transfer-Encoding in HTTP/1.0", "RFC 9112 6.1", post(CHUNKED, body=CHUNKS, version="1.0")),
        fine(
            "Transfer_Encoding is another field", "RFC 9110 5.1", post(LENGTH, "Transfer_Encoding: chunked"), UNDERSTOOD
        ),
        bad("Connection names Content-Length", "RFC 9110 7.6.1", post(LENGTH, "Connection: close, content-length")),
        bad("Connection names Transfer-Encoding", "RFC 9110 7.6.1", post(CHUNKED, "Connection: transfer-encoding")),
        bad("Connection names Host", "RFC 9110 7.6.1", get("Connection: host")),
        bad(
            "Connection with fifty options",
            "RFC 9110 7.6.1",
            get("Connection: " + ",".join(f"x{i}" for i in range(50))),
        ),
        # ---- chunks ----
        fine("a chunk extension", "RFC 9112 7.1.1", chunked(b"29;a=b" + CHUNKS[2:]), UNDERSTOOD),
        fine(
            "trailers that would frame or address",
            "RFC 9110 6.5.1",
            chunked(CHUNKS[:-2] + b"Content-Length: 5\r\nHost: evil\r\n\r\n"),
            UNDERSTOOD,
        ),
        *(
            bad("chunk: " + name, "RFC 9112 7.1", chunked(body))
            for name, body in (
                ("bare LF behind the size", b"29\n" + BODY + b"\r\n0\r\n\r\n"),
                ("LF in an extension", b"29;a\nb\r\n" + BODY + b"\r\n0\r\n\r\n"),
                ("CR in an extension", b"29;a\rb\r\n" + BODY + b"\r\n0\r\n\r\n"),
                ("0x", b"0x29\r\n" + BODY + b"\r\n0\r\n\r\n"),
                ("plus", b"+29\r\n" + BODY + b"\r\n0\r\n\r\n"),
                ("minus", b"-29\r\n" + BODY + b"\r\n0\r\n\r\n"),
                ("space before the size", b" 29\r\n" + BODY + b"\r\n0\r\n\r\n"),
                ("underscore", b"2_9\r\n" + BODY + b"\r\n0\r\n\r\n"),
                ("no size", b"\r\n" + BODY + b"\r\n0\r\n\r\n"),
                ("17 digits", b"10000000000000029\r\n" + BODY + b"\r\n0\r\n\r\n"),
                ("100 zeros", b"0" * 100 + b"29\r\n" + BODY + b"\r\n0\r\n\r\n"),
                ("size one too small", b"28\r\n" + BODY + b"\r\n0\r\n\r\n"),
                ("size one too large", b"2a\r\n" + BODY + b"\r\n0\r\n\r\n"),
                ("no CR LF behind the data", b"29\r\n" + BODY + b"0\r\n\r\n"),
                ("bare LF behind the data", b"29\r\n" + BODY + b"\n0\r\n\r\n"),
                ("an extension of 100 KB", b"29;" + b"a" * 100000 + b"\r\n" + BODY + b"\r\n0\r\n\r\n"),
                ("1,000 extensions of 200 bytes", (b"1;" + b"a" * 200 + b"\r\n \r\n") * 1000 + b"0\r\n\r\n"),
                ("a trailer of 100 KB", CHUNKS[:-2] + b"X: " + b"a" * 100000 + b"\r\n\r\n"),
                ("bare LF in a trailer", CHUNKS[:-2] + b"X: a\n\r\n"),
                ("a folded trailer", CHUNKS[:-2] + b" X: a\r\n\r\n"),
                ("bare LF behind the last", CHUNKS[:-4] + b"\n\n"),
            )
        ),
        bad("chunk: 2^64 - 1", "RFC 9112 7.1", chunked(b"ffffffffffffffff\r\n" + b"a" * 4000)),
        bad("chunks over the limit", "RFC 9110 15.5.14", chunked(b"7fffffff\r\n" + b"a" * 1_500_000), 413),
        # ---- bodies that end early, or late ----
        Row(
            "a body shorter than its length, then the end", CLOSED, "RFC 9112 8", post("Content-Length: 400"), half=True
        ),
        Row("chunks without their last, then the end", CLOSED, "RFC 9112 8", chunked(CHUNKS[:-5]), half=True),
        Row("a head cut in the middle", CLOSED, "RFC 9112 8", get()[:-9], half=True),
        Row(
            "a body longer than its length",
            [UNDERSTOOD, 400],
            "RFC 9112 6.3",
            post(LENGTH, body=BODY + b"\0\0garbage\r\n\r\n"),
            ends=True,
        ),
        Row("a body with a request behind it", [UNDERSTOOD, 200], "RFC 9112 9.3.2", post(LENGTH) + get()),
        Row(
            "a refused body does not become a request",
            413,
            "RFC 9112 11.2",
            post("Content-Length: 2000000", body=get() * 50),
            ends=True,
        ),
        fine("no body where JSON is due", "contract", g.order(b""), 400),
        # ---- GET with a body ----
        fine("GET with a body: it is read and means nothing", "RFC 9110 9.3.1", get("Content-Length: 41") + BODY),
        Row("GET with a body, then a request", [200, 200], "RFC 9112 6.3", get("Content-Length: 41") + BODY + get()),
        fine("GET with a chunked body", "RFC 9110 9.3.1", get(CHUNKED) + CHUNKS),
        Row(
            "GET with a broken chunked body: answered, then the end",
            200,
            "RFC 9112 7.1",
            get(CHUNKED) + b"zz\r\n" + get(),
            ends=True,
        ),
        # ---- fields ----
        bad("a folded line", "RFC 9112 5.2", get("X-A: a\r\n b")),
        bad(
            "white space before the first field",
            "RFC 9112 2.2",
            b"GET /api/v1/products HTTP/1.1\r\n X: y\r\nHost: " + g.host + b"\r\n\r\n",
        ),
        bad("space before the colon", "RFC 9112 5.1", get("X-A : b")),
        bad("no colon", "RFC 9112 5", get("X-A")),
        bad("an empty name", "RFC 9110 5.1", get(": a")),
        bad("NUL in a value", "RFC 9110 5.5", get("X-A: a\0b")),
        bad("NUL in a name", "RFC 9110 5.1", get("X\0A: b")),
        bad("DEL in a value", "RFC 9110 5.5", get("X-A: a\x7fb")),
        bad("8 bit in a name", "RFC 9110 5.1", get("X\xff: a")),
        fine("8 bit in a value", "RFC 9110 5.5", get("X-A: \xff\xfe")),
        bad("bare CR", "RFC 9112 2.2", get("X-A: b\rX-B: c")),
        bad("bare LF between fields", "RFC 9112 2.2", get("X-A: b\nX-B: c")),
        bad("bare LF everywhere", "RFC 9112 2.2", get().replace(b"\r\n", b"\n")),
        bad("bare LF as the empty line", "RFC 9112 2.2", get()[:-2] + b"\n"),
        bad("CR CR LF", "RFC 9112 2.2", get("X-A: b\r")),
        bad("a field of 20 KB", "RFC 6585 5", get("X-A: " + "a" * 20000), 431),
        bad("a field of 200 KB", "RFC 6585 5", get("X-A: " + "a" * 200000), 431),
        fine("100 fields", "RFC 9110 5.4", get(*(f"X-{i}: a" for i in range(99)))),
        bad("101 fields", "RFC 6585 5", get(*(f"X-{i}: a" for i in range(100))), 431),
        bad("5,000 fields", "RFC 6585 5", get(*["a:b"] * 5000), 431),
        # ---- the request line ----
        bad("two spaces", "RFC 9112 3", line("GET  /api/v1/products HTTP/1.1")),
        bad("a tab", "RFC 9112 3", line("GET\t/api/v1/products HTTP/1.1")),
        bad("a space in the target", "RFC 9112 3.2", line("GET /api/v1/pro ducts HTTP/1.1")),
        bad("a space behind the version", "RFC 9112 3", line("GET /api/v1/products HTTP/1.1 ")),
        bad("no version (HTTP/0.9)", "RFC 9112 3", b"GET /api/v1/products\r\n\r\n"),
        bad("a method that is no token", "RFC 9110 9.1", line("G@T /api/v1/products HTTP/1.1")),
        fine("an unknown method", "RFC 9110 9.1", line("BREW /api/v1/products HTTP/1.1"), 501),
        fine("methods are case-sensitive", "RFC 9110 9.1", line("get /api/v1/products HTTP/1.1"), 501),
        fine("a method of 200 letters", "RFC 9110 9.1", line("A" * 200 + " /api/v1/products HTTP/1.1"), 501),
        bad("a method of 20,000 letters", "RFC 9112 3", line("A" * 20000 + " / HTTP/1.1"), 414),
        fine("TRACE", "RFC 9110 9.3.8", line("TRACE /api/v1/products HTTP/1.1"), 405),
        fine("DELETE where only GET is", "RFC 9110 15.5.6", line("DELETE /api/v1/products HTTP/1.1"), 405),
        bad("CONNECT, authority-form", "RFC 9110 9.3.6", line(f"CONNECT {g.host.decode()} HTTP/1.1"), 501),
        bad("GET, authority-form", "RFC 9112 3.2.3", line(f"GET {g.host.decode()} HTTP/1.1")),
        bad("GET *", "RFC 9112 3.2.4", line("GET * HTTP/1.1")),
        bad("a target of 9,000 bytes", "RFC 9110 15.5.15", line("GET /" + "a" * 9000 + " HTTP/1.1"), 414),
        bad("a target of 100,000 bytes", "RFC 9110 15.5.15", line("GET /" + "a" * 100000 + " HTTP/1.1"), 414),
        bad("HTTP/2.0", "RFC 9110 15.6.6", line("GET /api/v1/products HTTP/2.0"), 505),
        bad("nearly the preface of HTTP/2", "RFC 9113 3.4", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", 505),
        fine("HTTP/1.2 is served as 1.1", "RFC 9110 2.5", line("GET /api/v1/products HTTP/1.2")),
        bad("HTTP/1.10", "RFC 9112 2.3", line("GET /api/v1/products HTTP/1.10")),
        bad("HTTP/11", "RFC 9112 2.3", line("GET /api/v1/products HTTP/11")),
        bad("http/1.1", "RFC 9112 2.3", line("GET /api/v1/products http/1.1")),
        bad("TLS", "RFC 9112 3", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 200),
        Row("HTTP/1.0", 200, "RFC 9110 2.5", get(version="1.0"), ends=True),
        Row(
            "HTTP/1.0 that asks for keep-alive",
            200,
            "RFC 9112 9.3",
            get("Connection: keep-alive", version="1.0"),
            ends=True,
        ),
        fine("an empty line first", "RFC 9112 2.2", b"\r\n" + get()),
        bad("three empty lines first", "RFC 9112 2.2", b"\r\n\r\n\r\n" + get()),
        # ---- Host ----
        bad("no Host", "RFC 9112 3.2", b"GET /api/v1/products HTTP/1.1\r\n\r\n"),
        bad("Host twice", "RFC 9112 3.2", get("Host: " + g.host.decode())),
        bad("Host twice, different", "RFC 9112 3.2", get("Host: evil.example")),
        *(
            bad(f"Host {host!r}", "RFC 9112 3.2", get(host=host))
            for host in (
                b"",
                b"a@" + g.host,
                g.host + b", evil.example",
                g.host + b"/x",
                b"[::1",
                b"127.0.0.1:99999",
                b"a b",
                g.host + b".evil",
                b"127.0.0.1:80:80",
                b"a%zz",
            )
        ),
        *(
            fine(f"the foreign host {host!r}", "RFC 9110 15.5.20", get(host=host), 421)
            for host in (
                b"evil.example",
                b"127.0.0.1",
                b"127.0.0.1:1",
                b"localhost.:%d" % g.port,
                b"127.0.0.1.evil:%d" % g.port,
                b"127.1:%d" % g.port,
            )
        ),
        fine("Host in capitals", "RFC 9110 4.2.3", get(host=b"LOCALHOST:%d" % g.port)),
        fine(
            "no Host in HTTP/1.0: no way to know the shop is meant",
            "RFC 9110 15.5.20",
            b"GET /api/v1/products HTTP/1.0\r\n\r\n",
            421,
        ),
        # ---- absolute-form ----
        fine("absolute-form", "RFC 9112 3.2.2", line(f"GET http://{g.host.decode()}/api/v1/products HTTP/1.1")),
        fine(
            "absolute-form goes before Host",
            "RFC 9112 3.2.2",
            g.head(f"GET http://{g.host.decode()}/api/v1/products", host=b"evil.example"),
        ),
        fine(
            "absolute-form of another host",
            "RFC 9110 15.5.20",
            line("GET http://evil.example/api/v1/products HTTP/1.1"),
            421,
        ),
        bad(
            "absolute-form with a broken Host beside it",
            "RFC 9112 3.2",
            g.head(f"GET http://{g.host.decode()}/api/v1/products", host=b"a@b"),
        ),
        bad(
            "absolute-form with user information",
            "RFC 9110 4.2.4",
            line(f"GET http://u:p@{g.host.decode()}/api/v1/products HTTP/1.1"),
        ),
        bad("absolute-form with a fragment", "RFC 9110 7.1", line(f"GET http://{g.host.decode()}/api#x HTTP/1.1")),
        bad("absolute-form of ftp", "RFC 9110 7.1", line(f"GET ftp://{g.host.decode()}/api/v1/products HTTP/1.1")),
        bad("absolute-form without host", "RFC 9110 4.2.1", line("GET http:///api/v1/products HTTP/1.1")),
        # ---- pipelines, expectations, upgrades ----
        Row("three requests at once", [200, 404, 200], "RFC 9112 9.3.2", get() + g.get("/api/v1/none") + get()),
        Row("a good request, then a broken one", [200, 400], "RFC 9112 9.3.2", get() + get("X-A : b"), ends=True),
        Row("nothing behind Connection: close", 200, "RFC 9112 9.6", get("Connection: close") + get(), ends=True),
        Row(
            "Expect: 100-continue",
            [100, UNDERSTOOD],
            "RFC 9110 10.1.1",
            post(LENGTH, "Expect: 100-continue", body=b""),
            then=BODY,
        ),
        bad("another expectation", "RFC 9110 10.1.1", post(LENGTH, "Expect: 200-ok"), 417),
        bad("Expect twice", "RFC 9110 10.1.1", post(LENGTH, "Expect: 100-continue", "Expect: 100-continue"), 417),
        fine("Expect without a body", "RFC 9110 10.1.1", get("Expect: 100-continue")),
        fine("Expect in HTTP/1.0", "RFC 9110 10.1.1", post(LENGTH, "Expect: x", version="1.0"), UNDERSTOOD),
        bad(
            "Expect with a body that is too large",
            "RFC 9110 10.1.1",
            post("Content-Length: 2000000", "Expect: 100-continue", body=b""),
            413,
        ),
        fine(
            "Upgrade: h2c",
            "RFC 9110 7.8",
            get("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABkAAQAAP__"),
        ),
        fine(
            "Upgrade: websocket",
            "RFC 9110 7.8",
            get("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="),
        ),
        fine(
            "Connection takes Authorization away",
            "RFC 9110 7.6.1",
            g.get("/api/v1/users/me", "Connection: authorization", token=g.alice),
            401,
        ),
        # ---- half close ----
        Row("our side shut behind a GET", 200, "RFC 9112 9.6", get(), half=True, ends=True),
        Row("our side shut behind a POST", UNDERSTOOD, "RFC 9112 9.6", post(LENGTH), half=True, ends=True),
        Row("our side shut behind an order", 202, "RFC 9112 9.6", g.order(), half=True, ends=True),
        Row(
            "our side shut behind three requests",
            [200, 404, 200],
            "RFC 9112 9.6",
            get() + g.get("/api/v1/none") + get(),
            half=True,
            ends=True,
        ),
        # ---- what a body is ----
        *(
            fine(
                f"Content-Type {value!r}",
                "RFC 9110 15.5.16",
                g.head("POST " + PATH, "Content-Type: " + value, LENGTH, "Authorization: Bearer " + g.alice) + BODY,
                415,
            )
            for value in (
                "text/plain",
                "application/x-www-form-urlencoded",
                "multipart/form-data; boundary=x",
                "TEXT/PLAIN;charset=utf-8",
                "application/json, text/plain",
                "application/jsonx",
                "",
                "*/*",
                "application/json\x0b"[:-1] + "/",
            )
        ),
        fine(
            "no Content-Type",
            "RFC 9110 15.5.16",
            g.head("POST " + PATH, LENGTH, "Authorization: Bearer " + g.alice) + BODY,
            415,
        ),
        fine("Content-Type twice", "RFC 9110 15.5.16", post(LENGTH, "Content-Type: text/plain"), 415),
        fine(
            "Content-Type with a parameter",
            "RFC 9110 8.3.1",
            g.head(
                "POST " + PATH,
                "Content-Type: Application/JSON; charset=utf-8",
                LENGTH,
                "Authorization: Bearer " + g.alice,
            )
            + BODY,
            UNDERSTOOD,
        ),
        fine("Content-Encoding: gzip", "RFC 9110 15.5.16", post(LENGTH, "Content-Encoding: gzip"), 415),
    ]
