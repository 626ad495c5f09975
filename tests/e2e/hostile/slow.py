# SPDX-License-Identifier: Apache-2.0
"""Clients that take their time, and very many of them. Each case runs in a thread of its own: they wait most of it."""

import os
import signal
import threading
import time

from wire import Connection, check

HEAD_S, BODY_S, ROUTE_S = 10, 30, 15  # the gateway's limits: for a head, for a body that does not move, for a route
GRACE_S = 6


def seconds_until_408(connection, piece, every_s, limit_s):
    """Sends piece now and then until there is an answer, which must be 408 and come in time."""
    begin = time.monotonic()
    connection.socket.settimeout(every_s)
    while b"\r\n\r\n" not in connection.left:
        check(time.monotonic() - begin < limit_s + GRACE_S, f"no answer after {limit_s + GRACE_S} s")
        try:
            if not connection.more():
                break
        except TimeoutError:
            connection.send(piece)
    connection.socket.settimeout(10)
    answer = connection.answer()
    check(answer is not None and answer.status == 408, f"{answer and answer.status} instead of 408")
    check(connection.ended(), "something behind the 408")


def head_in_drops(g):
    """RFC 9110 15.5.9: slow loris."""
    with Connection(g.port) as c:
        c.send(b"GET /api/v1/products HTTP/1.1\r\nHost: " + g.host + b"\r\n")
        seconds_until_408(c, b"X-A: b\r\n", 1, HEAD_S)


def half_a_head(g):
    """RFC 9110 15.5.9: the rest never comes."""
    with Connection(g.port) as c:
        c.send(b"GET /api/v1/pro")
        seconds_until_408(c, b"", HEAD_S + GRACE_S, HEAD_S)


def body_in_drops(g):
    """RFC 9110 15.5.9: a byte a second is progress, but the route has its time."""
    with Connection(g.port) as c:
        c.send(g.head("POST /api/v1/sessions", "Content-Type: application/json", "Content-Length: 30000"))
        seconds_until_408(c, b" ", 1, ROUTE_S)


def chunks_in_drops(g):
    """RFC 9110 15.5.9, 15.6.5: the service has the request already; whoever tells, it ends in time."""
    begin = time.monotonic()
    with Connection(g.port, 1) as c:
        c.send(g.head("POST /api/v1/sessions", "Content-Type: application/json", "Transfer-Encoding: chunked"))
        while b"\r\n\r\n" not in c.left and time.monotonic() - begin < ROUTE_S + GRACE_S:
            try:
                if not c.more():
                    break
            except TimeoutError:
                c.send(b"1\r\n \r\n")
        answer = c.answer()
        check(answer is not None and answer.status in (408, 504), f"{answer and answer.status} instead of 408 or 504")


def never_reads(g):
    """RFC 9112 9.5: answers pile up to a bound, then the connection ends."""
    with Connection(g.port, 1, receive_size=4096) as c:
        asked = 400
        try:
            for _ in range(asked):
                c.socket.sendall(g.get("/api/v1/products?limit=100"))
        except OSError:
            pass
        time.sleep(BODY_S + 2)
        c.socket.settimeout(10)
        read = 0
        while c.more():
            read += c.left.count(b"HTTP/1.1 200")
            c.left = c.left[-11:] if b"HTTP/1.1 200" not in c.left[-11:] else b""
        check(read < asked, f"all of {asked} answers were kept for a client that does not read")


def reads_slowly(g):
    """RFC 9112 9.5: who reads little by little still gets the whole answer."""
    with Connection(g.port, 10, receive_size=4096) as c:
        c.send(g.get("/api/v1/products?limit=100", "Connection: close"))
        received = b""
        while piece := c.socket.recv(512):
            received += piece
            time.sleep(0.1)
        head, _, body = received.partition(b"\r\n\r\n")
        check(b" 200 " in head and body.rstrip().endswith((b"}", b"0")), f"the answer was cut: {received[-60:]!r}")


CASES = (head_in_drops, half_a_head, body_in_drops, chunks_in_drops, never_reads, reads_slowly)


def flood(g):
    """Idle connections, half heads, half bodies and resets by the hundred; meanwhile a normal request is answered."""
    crowd = []
    half_head = g.get("/api/v1/products", "X-A: " + "a" * 8000)[:-4]
    half_body = (
        g.head("POST /api/v1/sessions", "Content-Type: application/json", "Content-Length: 30000") + b"{" * 20000
    )
    half_chunk = (
        g.head("POST /api/v1/sessions", "Content-Type: application/json", "Transfer-Encoding: chunked") + b"5000\r\n{"
    )
    try:
        for i in range(2000):
            crowd.append(Connection(g.port))
            crowd[-1].send((b"", half_head, half_body, half_chunk)[i % 4])
        answer = g.shop.request("GET", "/api/v1/products?limit=1", seconds=10)
        check(answer.status == 200, f"{answer.status} for a normal request among the flood")
    finally:
        for i, c in enumerate(crowd):
            if i % 2:
                c.abort()
            else:
                c.socket.close()


def streams_of_one(g, bound=1100):
    """One user may not hold all event streams: beyond a bound of each user's own there is 429, and others still get
    theirs. Without the hub the orders stay pending."""
    hub = g.shop.pids()["hub"]
    crowd, refused = [], 0
    os.kill(hub, signal.SIGSTOP)
    try:
        order, theirs = (g.shop.order(token, {"S1": 1}).json["id"] for token in (g.alice, g.mallory))
        while len(crowd) < bound:
            some = [Connection(g.port) for _ in range(50)]  # few at a time: it is not about a full queue
            crowd += some
            for c in some:
                c.send(g.get(f"/api/v1/orders/{order}/events", token=g.alice))
            refused += sum((c.until(b"\r\n\r\n") or b"")[9:12] == b"429" for c in some)
        with Connection(g.port) as c:
            c.send(g.get(f"/api/v1/orders/{theirs}/events", token=g.mallory))
            head = c.until(b"\r\n\r\n") or b""
            check(head.startswith(b"HTTP/1.1 200 "), f"somebody else's stream: {head[:40]!r} {c.left!r}")
    finally:
        os.kill(hub, signal.SIGCONT)
        for c in crowd:
            c.socket.close()
    check(0 < refused < bound, f"{refused} of {bound} streams of one user were refused")


class Background:
    """Cases in threads; join gives [(name, section, what was wrong or None)]."""

    def __init__(self, g, cases):
        self.results = []
        self.threads = [threading.Thread(target=self.run, args=(case, g)) for case in cases]
        for thread in self.threads:
            thread.start()

    def run(self, case, g):
        wrong = None
        try:
            case(g)
        except (AssertionError, OSError) as e:
            wrong = f"{type(e).__name__}: {e}"
        self.results.append((case.__name__.replace("_", " "), case.__doc__.split(":")[0], wrong))

    def join(self):
        for thread in self.threads:
            thread.join()
        return self.results
