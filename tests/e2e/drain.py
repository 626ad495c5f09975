#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""SIGTERM under load loses no request: every process restarted, one after another, then the whole system.

    tests/e2e/drain.py [--build FOLDER]

Clients keep their connections open and send one request after another: what reads, and orders with keys. Lost is a
request that was sent on a connection whose last answer did not say Connection: close, and that got no answer; nobody
could send it again without thinking. Wanted while a process is restarted: nothing lost, and no 5xx. When the whole
system stops, a request is answered or its connection is refused or closed with nothing of it done: each order that
was answered 202 is there after the next start, and ends.
"""

import collections
import http.client
import json
import os
import select
import socket
import sys
import threading
import time

from checks import run_checked
from shop import GOOD, Shop, build_folder, wait_for

CLIENTS = 6
IDLE_S_MAX = 0.1
SETTLE_S = 0.6  # of load before and after each restart
PROCESSES = ("catalog", "orders", "payments", "bank", "inventory", "identity", "notifications", "hub", "gateway")


class Client(threading.Thread):
    def __init__(self, shop, token, number):
        super().__init__(daemon=True)
        self.shop, self.token, self.number = shop, token, number
        self.ending = threading.Event()
        self.connection = self.buffer = None
        self.count = collections.Counter()
        self.bad = []  # (what, how)
        self.orders = []  # ids of those answered 202
        self.phase = "before"
        self.idle_since = 0.0

    def note(self, what, how):
        self.bad.append((self.phase, time.strftime("%H:%M:%S"), what, how))

    def drop(self):
        if self.connection:
            self.connection.close()
        self.connection = None

    def connect(self):
        self.connection = socket.create_connection(("127.0.0.1", self.shop.port), timeout=30)
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def closed_while_idle(self):
        """The end of a connection between two requests is nobody's fault, when it was there to be seen."""
        readable, _, _ = select.select([self.connection], [], [], 0)
        return bool(readable)

    def read_answer(self):
        """(status, body, whether the connection ends); None when it broke."""
        while b"\r\n\r\n" not in self.buffer:
            piece = self.connection.recv(65536)
            if not piece:
                return None
            self.buffer += piece
        head, _, rest = self.buffer.partition(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        size = int(fields.get("content-length", "0"))
        while len(rest) < size:
            piece = self.connection.recv(65536)
            if not piece:
                return None
            rest += piece
        self.buffer = rest[size:]
        return int(lines[0].split()[1]), rest[:size], fields.get("connection", "").lower() == "close"

    def exchange(self, what, head, body=b""):
        # A draining server ends connections that stay idle for 300 ms; on a machine that is slow today we may be such.
        if self.connection and (self.closed_while_idle() or time.monotonic() - self.idle_since > IDLE_S_MAX):
            self.drop()
        fresh = not self.connection
        try:
            if fresh:
                self.connect()
        except OSError as e:
            self.note(what, f"connect: {e!r}")
            time.sleep(0.05)
            return None
        try:
            self.connection.sendall(head.encode() + body)
            answer = self.read_answer()
        except OSError as e:
            answer, broken = None, repr(e)
        else:
            broken = "closed"
        if answer is None:
            self.drop()
            # While all stops, a connection that still waited to be accepted is reset; the orders are counted afterwards.
            refused = fresh and self.phase == "down" and not self.buffer
            self.note(what, f"{'connect' if refused else 'lost'}: {broken} after {len(self.buffer)} bytes")
            return None
        status, text, ends = answer
        self.idle_since = time.monotonic()
        if ends:
            self.drop()
        self.count[status] += 1
        if status >= 500:
            self.note(what, f"{status} {text[:200]!r}")
        return status, text

    def get(self, path):
        self.exchange(path, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.shop.port}\r\nAuthorization: Bearer {self.token}\r\n\r\n")

    def order(self):
        body = json.dumps({"items": [{"product_id": "P", "quantity": 1}], "payment": {"card_number": GOOD}}).encode()
        head = (
            f"POST /api/v1/orders HTTP/1.1\r\nHost: 127.0.0.1:{self.shop.port}\r\nAuthorization: Bearer {self.token}\r\n"
            f"Idempotency-Key: {os.urandom(8).hex()}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        answer = self.exchange("POST /api/v1/orders", head, body)
        if answer and answer[0] == 202:
            self.orders.append(json.loads(answer[1])["id"])

    def run(self):
        paths = ("/api/v1/products?limit=3", "/api/v1/orders?limit=3", "/api/v1/users/me", "/api/v1/notifications?limit=3")
        turn = self.number
        while not self.ending.is_set():
            turn += 1
            if turn % 3 == 0:
                self.order()
            else:
                self.get(paths[turn % len(paths)])
            if turn % 7 == 0:
                time.sleep(0.02)  # an idle connection, now and then
        self.drop()

    def end(self):
        self.ending.set()
        self.join(60)


def restart_each(shop, checks, clients):
    for process in PROCESSES:
        before = shop.pids()[process]
        for client in clients:
            client.phase, client.bad = process, []
        count = sum(sum(c.count.values()) for c in clients)
        done = shop.run("restart", process)
        time.sleep(SETTLE_S)
        bad = [b for c in clients for b in c.bad]
        count = sum(sum(c.count.values()) for c in clients) - count
        checks.check(
            f"{process} restarted under {count} requests: none lost, no 5xx",
            done.returncode == 0 and shop.pids()[process] != before and count > 20 and not bad,
            f"{done.stdout}{done.stderr} {len(bad)}: {bad[:6]}",
        )


def streams(shop, checks, token):
    """An event stream ends as a whole body does, so that the page reconnects and reads on; with Last-Event-ID."""
    shop.run("stop", "hub")  # so that the order waits
    answer = shop.order(token, {"P": 1})
    path = f"/api/v1/orders/{answer.json['id']}/events"
    last = None
    for process in ("orders", "gateway"):
        connection = http.client.HTTPConnection("127.0.0.1", shop.port, timeout=30)
        connection.request("GET", path, headers={"Authorization": "Bearer " + token, **({"Last-Event-ID": last} if last else {})})
        stream = connection.getresponse()
        shop.run("restart", process, "--wait", "5s")
        try:
            text = stream.read().decode()
            how = "ended"
        except (OSError, http.client.HTTPException) as e:
            text, how = "", repr(e)
        connection.close()
        checks.check(f"{process} restarted: an event stream {how}", stream.status == 200 and how == "ended", how)
        ids = [line.partition(":")[2].strip() for line in text.splitlines() if line.startswith("id:")]
        checks.check(f"{process} restarted: it had told {ids}", bool(ids) != bool(last), text)
        last = ids[-1] if ids else last
    shop.run("start", "hub")
    answer = shop.request("GET", path, token=token, headers={"Last-Event-ID": last or "0"}, seconds=60)
    checks.check("the stream goes on where it was", b"confirmed" in answer.raw and b'"pending"' not in answer.raw, repr(answer))
    return path.split("/")[4]


def stop_all(shop, checks, clients):
    """What is under way is answered; afterwards connections are refused, which is no loss."""
    for client in clients:
        client.phase, client.bad = "down", []
    done = shop.down()
    time.sleep(0.2)
    for client in clients:
        client.end()
    bad = [b for c in clients for b in c.bad if not b[3].startswith("connect:")]
    checks.check("the system stopped under load: none lost, no 5xx", done.returncode == 0 and not bad, f"{len(bad)}: {bad[:6]}")


def run(shop, checks):
    shop.up()
    admin, token = shop.admin(), shop.user("customer@example.org")
    shop.product(admin, "P", 100, 1000000)
    clients = [Client(shop, token, i) for i in range(CLIENTS)]
    for client in clients:
        client.start()
    time.sleep(SETTLE_S)
    bad = [b for c in clients for b in c.bad]
    checks.check("nothing fails before", not bad, str(bad[:5]))
    restart_each(shop, checks, clients)
    stop_all(shop, checks, clients)
    ids = [i for c in clients for i in c.orders]
    shop.up()
    ids.append(streams(shop, checks, token))
    shop.down()
    shop.up()
    waiting = wait_for(
        "all orders to end",
        lambda: shop.request("GET", "/api/v1/orders?status=pending&limit=1", token=admin).json["items"] == [] or None,
        60,
    )
    lost = [i for i in ids if shop.request("GET", "/api/v1/orders/" + i, token=token).json.get("status") != "confirmed"]
    checks.check(f"all {len(ids)} accepted orders are there and confirmed", waiting and len(ids) > 50 and not lost, str(lost[:5]))
    stock = shop.request("GET", "/api/v1/stock/P", token=admin).json
    checks.check("and no order that nobody was told of", stock["on_hand"] == 1000000 - len(ids), f"{stock}, {len(ids)}")


def main():
    build, _ = build_folder(sys.argv[1:])
    return run_checked(Shop(build, "drain"), run)


if __name__ == "__main__":
    sys.exit(main())
