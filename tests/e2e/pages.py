#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""1,000 order pages are open, each with the stream of its order's events, all of one user. They cost the orders service
no worker and little memory; and when orders, the gateway and the hub are killed meanwhile, every page still sees its
order's final status, once.

    tests/e2e/pages.py [--pages 1000] [--short] [--build FOLDER]

The orders are placed while the hub stands still, so that they stay pending until it is killed and another one begins.
"""

import argparse
import asyncio
import concurrent.futures
import json
import os
import resource
import signal
import socket
import statistics
import sys
import threading
import time

from shop import DECLINED, GOOD, Shop, build_folder, wait_for

PAGES_PER_ORDER = 4
MEMORY_MB_MAX = 30  # for 1,000 pages
LOOKS = 200
AGAIN_S = 0.2
END_S_MAX = 90


class Broken(Exception):
    pass


class Page:
    """One open page: an EventSource in small. Comes again with Last-Event-ID until it has seen a final status."""

    def __init__(self, shop, token, order_id):
        self.shop, self.token, self.order_id = shop, token, order_id
        self.seen = []  # (id, status)
        self.connections, self.refusals = 0, 0
        self.open = False
        self.fault = None

    def is_final(self):
        return bool(self.seen) and self.seen[-1][1] != "pending"

    async def run(self):
        while not self.is_final() and self.fault is None:
            try:
                await self.once()
            except (OSError, EOFError, Broken):
                self.open = False
                await asyncio.sleep(AGAIN_S)

    async def once(self):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.shop.port)
        try:
            last = f"Last-Event-ID: {self.seen[-1][0]}\r\n" if self.seen else ""
            writer.write(
                f"GET /api/v1/orders/{self.order_id}/events HTTP/1.1\r\nHost: 127.0.0.1:{self.shop.port}\r\n"
                f"Authorization: Bearer {self.token}\r\n{last}\r\n".encode()
            )
            status = int((await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1])
            if status != 200:
                self.refusals += 1
                # 204: nothing more will come, but this page has not seen the end. 4xx: it should not have happened.
                if status in (204, 400, 401, 403, 404):
                    self.fault = f"status {status} after {self.seen}"
                raise Broken
            self.connections += 1
            self.open = True
            await self.read(reader)
        finally:
            self.open = False
            writer.close()

    async def read(self, reader):
        """Chunked, RFC 9112 section 7.1; returns at the end of the stream."""
        text = b""
        while True:
            size = int(await reader.readuntil(b"\r\n"), 16)
            data = (await reader.readexactly(size + 2))[:-2]
            if size == 0:
                if text:
                    self.fault = f"the stream ended within an event: {text!r}"
                elif not self.is_final():
                    raise Broken  # orders says good-bye when it is told to end: come again
                return
            text += data
            *events, text = text.split(b"\n\n")
            for event in events:
                self.take(event.decode())

    def take(self, event):
        fields = dict(line.split(": ", 1) for line in event.split("\n") if line and not line.startswith(":"))
        if fields:
            self.seen.append((int(fields["id"]), json.loads(fields["data"])["status"]))


class Pages(threading.Thread):
    """All pages, on a loop of their own."""

    def __init__(self, pages):
        super().__init__(daemon=True)
        self.pages = pages
        self.stop = threading.Event()

    def run(self):
        asyncio.run(self.all())

    async def all(self):
        tasks = [asyncio.create_task(page.run()) for page in self.pages]
        while not self.stop.is_set() and not all(task.done() for task in tasks):
            await asyncio.sleep(0.05)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def count(self, what):
        return sum(1 for page in self.pages if what(page))


def memory_mb(pid):
    """What the process has of its own, and its share of what it has with others."""
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        fields = dict(line.split(":", 1) for line in f if ":" in line.split()[0])
    return {name: int(fields[name].split()[0]) / 1024 for name in ("Pss", "Rss")}


def metrics(shop, name):
    """Of a service, from its own socket."""
    (service,) = [s for s in shop.json("status")["services"] if s["name"] == name]
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(service["instances"][0]["address"].removeprefix("unix:"))
        s.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        text = b""
        while data := s.recv(65536):
            text += data
    found = {}
    for line in text.decode().splitlines():
        name, _, value = line.rpartition(" ")
        if name and not line.startswith("#"):
            try:
                found[name.split("{")[0]] = float(value)
            except ValueError:
                pass
    return found


def look_ms(shop, token, order_id):
    """p50 of a normal request."""
    took = []
    for _ in range(LOOKS):
        begun = time.monotonic()
        answer = shop.request("GET", "/api/v1/orders/" + order_id, token=token)
        if answer.status != 200:
            raise AssertionError(f"a look at an order: {answer}")
        took.append((time.monotonic() - begun) * 1000)
    return statistics.median(took)


class Test:
    def __init__(self, shop, count):
        self.shop, self.count = shop, count
        self.failures = 0

    def check(self, what, value):
        print(f"{'ok    ' if value else 'FAILED'} {what}", flush=True)
        self.failures += not value

    def pid(self, name):
        return wait_for(f"the pid of {name}", lambda: self.shop.pids().get(name), 20)

    def kill(self, *names):
        pids = [self.pid(name) for name in names]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        print(f"       killed {' + '.join(names)}", flush=True)

    def place(self):
        """The hub stands still: orders are taken, and stay pending."""
        os.kill(self.pid("hub"), signal.SIGSTOP)
        count = max(1, self.count // PAGES_PER_ORDER)

        def one(i):
            answer = self.shop.order(self.token, {"plenty": 1}, DECLINED if i % 3 == 0 else GOOD)
            if answer.status != 202:
                raise AssertionError(f"order: {answer}")
            return answer.json["id"]

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            return list(pool.map(one, range(count)))

    def wait_open(self):
        every = lambda: self.pages.count(lambda p: p.open and p.seen or p.is_final()) == self.count
        wait_for(f"{self.count} open pages", every, END_S_MAX)

    def cost(self, orders):
        """What the open pages cost the orders service. A few that were closed again have warmed it up before."""
        before, before_ms = memory_mb(self.pid("orders")), look_ms(self.shop, self.token, orders[0])
        self.pages.start()
        self.wait_open()
        m = metrics(self.shop, "orders")
        self.check(f"{self.count} streams are open, by the service's count", m["service_streams"] == self.count)
        self.check("they use none of its workers", m["service_workers_busy"] == 0)
        while_ms = look_ms(self.shop, self.token, orders[0])
        print(f"       a normal request, p50: {before_ms:.2f} ms before, {while_ms:.2f} ms while they are open")
        after = memory_mb(self.pid("orders"))
        more = {name: after[name] - before[name] for name in before}
        print(
            f"       orders' memory: {before['Pss']:.1f} MB before, {after['Pss']:.1f} MB while (Pss), "
            f"{more['Pss'] * 1024 / self.count:.1f} KB a stream; gateway {memory_mb(self.pid('gateway'))['Pss']:.1f} MB"
        )
        most = MEMORY_MB_MAX * self.count / 1000
        for name, mb in more.items():
            self.check(f"{mb:.1f} MB more {name} of orders, at most {most:.0f}", mb <= most)

    def warm_up(self):
        """One of each, so that what is taken once does not count as a page's."""
        page = Page(self.shop, self.token, self.shop.order(self.token, {"plenty": 1}).json["id"])
        asyncio.run(page.run())
        self.check("a page alone sees the end", page.fault is None and page.is_final())

    def kills(self):
        """In the quiet, in which all pages come back and wait; then in the midst of the final statuses."""
        self.kill("orders")
        self.wait_come_back(2)
        self.kill("gateway")
        self.wait_come_back(3)
        self.kill("hub")
        some = lambda part: lambda: self.pages.count(Page.is_final) >= self.count * part
        wait_for("the first final statuses", some(0.02), END_S_MAX, 0.005)
        self.kill("orders")
        wait_for("more final statuses", some(0.2), END_S_MAX, 0.005)
        self.kill("hub", "gateway")
        wait_for("still more final statuses", some(0.4), END_S_MAX, 0.005)
        self.kill("orders", "hub")
        wait_for("the end", lambda: not self.pages.is_alive(), END_S_MAX)

    def wait_come_back(self, connections):
        """Each page once more; whoever sees a kill late could still be on the old connection."""
        every = lambda: self.pages.count(lambda p: p.open and p.connections >= connections) == self.count
        wait_for("all pages to come back", every, END_S_MAX)
        self.check("all pages came back", True)

    def judge(self):
        pages = self.pages.pages
        faults = [page.fault for page in pages if page.fault]
        self.check(f"no page met anything strange{': ' + str(faults[:3]) if faults else ''}", not faults)
        finals = {}
        for order_id in {page.order_id for page in pages}:
            order = self.shop.ended(self.token, order_id)
            finals[order_id] = [(i, h["status"]) for i, h in enumerate(order["history"])]
        right = sum(page.seen == finals[page.order_id] for page in pages)
        wrong = [page.seen for page in pages if page.seen != finals[page.order_id]][:3]
        self.check(
            f"{right} of {self.count} pages saw each status once, in order, and the final one last {wrong or ''}",
            right == self.count,
        )
        kinds = {h[-1][1] for h in finals.values()}
        self.check(f"the orders ended in both ways: {sorted(kinds)}", kinds == {"confirmed", "cancelled"})
        again = sum(page.connections - 1 for page in pages)
        print(
            f"       they came again {again} times, and were refused {sum(p.refusals for p in pages)} times meanwhile"
        )

    def run(self):
        self.shop.up()
        admin = self.shop.admin()
        self.token = self.shop.user("ann@example.org")
        self.shop.product(admin, "plenty", 250, 1000000)
        self.warm_up()
        orders = self.place()
        self.pages = Pages([Page(self.shop, self.token, orders[i % len(orders)]) for i in range(self.count)])
        try:
            self.cost(orders)
            self.kills()
        finally:
            self.pages.stop.set()
        self.judge()


def main():
    build, rest = build_folder(sys.argv[1:])
    parser = argparse.ArgumentParser()
    parser.add_argument("--pages", type=int, default=1000)
    parser.add_argument("--short", action="store_true", help="200 pages")
    args = parser.parse_args(rest)
    count = 200 if args.short else args.pages
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 65536) if hard > 0 else 65536, hard))
    test = Test(Shop(build, "pages"), count)
    begun = time.monotonic()
    try:
        test.run()
    finally:
        test.shop.end()
    print(f"{test.failures} failures, {time.monotonic() - begun:.0f} s")
    return 0 if test.failures == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
