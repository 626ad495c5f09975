#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Orders' list is a projection: it is built anew under a load of orders, killed in the middle, given another shape by the
next releases, and one that cannot handle an event. No customer misses an order that was just placed, and afterwards the
table is what a program that shares no code adds up from the streams.

    tests/e2e/projections.py [--build FOLDER]
"""

import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading

from checks import run_checked
from docs_backup import blocks, fits
from releases import Releases
from shop import Shop, build_folder, wait_for

OLD = 15000  # orders from before, so that a build takes its time
MANY = f"""-- What a migration brings in from before.
INSERT INTO ficus_store_import (stream, type, time, data)
  WITH RECURSIVE n(i) AS (VALUES(1) UNION ALL SELECT i + 1 FROM n WHERE i < {OLD})
  SELECT 'order-old-' || i, type, 1700000000000 + i, data FROM (
    SELECT i, 1 AS step, 'placed' AS type, json_object('user', 'u' || (i % 50), 'total', i,
      'items', json('[{{"product_id":"p","sku":"s","name":"n","quantity":1,"price":1}}]')) AS data FROM n
    UNION ALL SELECT i, 2, 'cancel_asked', '{{"by":"by_admin"}}' FROM n WHERE i % 7 = 0
    UNION ALL SELECT i, 3, iif(i % 7, 'confirmed', 'cancelled'), iif(i % 7, '{{}}', '{{"reason":"by_admin"}}') FROM n WHERE i % 3)
  ORDER BY i, step;
"""


class OwnShop(Shop):
    """With orders from before, and sources of its own."""

    def __init__(self, build, name):
        super().__init__(build, name)
        self.releases = Releases(self)
        self.releases.write("migrations/0004_many.sql", MANY)

    def events(self, name):
        """Lines of the log of orders with this event, oldest first."""
        lines = map(json.loads, self.run("logs", "orders", "--json").stdout.splitlines())
        return [line for line in lines if line.get("event") == name]

    def metric(self, name):
        (service,) = [s for s in self.json("status")["services"] if s["name"] == "orders"]
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20)
            s.connect(service["instances"][0]["address"].removeprefix("unix:"))
            s.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            text = b""
            while data := s.recv(65536):
                text += data
        found = re.search(rf"^{name}(?:{{[^}}]*}})? (\S+)$", text.decode(), re.M)
        return found and float(found.group(1))


class Customers(threading.Thread):
    """Place orders all the time and look at the list after each; remember what did not go well."""

    def __init__(self, shop, token):
        super().__init__(daemon=True)
        self.shop, self.token = shop, token
        self.count, self.repeated, self.failures = 0, 0, []
        self.ending = threading.Event()

    def run(self):
        while not self.ending.is_set():
            try:
                self.once(os.urandom(8).hex())
            except OSError as e:
                self.failures.append(repr(e))

    def once(self, key):
        """503 and 504 say "the same again", while the process is another one."""
        while (placed := self.shop.order(self.token, {"tea": 1}, key=key)).status in (503, 504):
            self.repeated += 1
            if self.ending.wait(0.05):
                return
        wanted = placed.json["id"] if placed.status == 202 else None
        while (page := self.shop.request("GET", "/api/v1/orders?limit=1", token=self.token)).status in (503, 504):
            if self.ending.wait(0.05):
                return
        found = page.status == 200 and [order["id"] for order in page.json["items"]]
        if wanted is None or found != [wanted]:
            self.failures.append((placed, page))
        self.count += 1

    def __enter__(self):
        self.start()
        before = self.count
        wait_for("the first orders", lambda: self.count > before + 2 or self.failures)
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.join(60)

    def check(self, checks, what):
        checks.check(f"{what}: each of {self.count} orders was in the list at once", self.count > 2 and not self.failures, str(self.failures[:3]))


def fold(rows):
    """What the streams add up to: order to (user, status, reason, total, cancel_by, version)."""
    orders = {}
    for stream, version, kind, data in rows:
        data, row = json.loads(data), orders.get(stream[6:], [None, "pending", None, None, None, 0])
        if kind == "placed":
            row[0], row[3] = data["user"], data["total"]
        elif kind == "cancel_asked":
            row[4] = data["by"]
        elif kind in ("confirmed", "cancelled"):
            row[1], row[2] = kind, data.get("reason")
        row[5] = version
        orders[stream[6:]] = row
    return orders


def look(path, more=()):
    """Of the file of orders, which nobody has open: (what the streams add up to, the table, its state, tables there are, what more asks for)."""
    db = sqlite3.connect(path)
    wanted = fold(db.execute("SELECT stream, version, type, data FROM ficus_store ORDER BY position"))
    listed = {row[0]: list(row[1:]) for row in db.execute("SELECT id, user_id, status, reason, total, cancel_by, version FROM orders ORDER BY seq")}
    state = db.execute("SELECT version, checkpoint - (SELECT position FROM ficus_store_head) FROM ficus_projection WHERE state = 'serving'").fetchall()
    tables = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE '%.%'")]
    extra = [db.execute(sql).fetchone()[0] for sql in more]
    db.close()
    return wanted, listed, state, tables, extra


def check_table(shop, checks, what, version, more=()):
    """The service's file is its own while it runs."""
    shop.run("stop", "orders")
    wait_for("orders to stop", lambda: "orders" not in shop.pids())
    wanted, listed, state, tables, extra = look(os.path.join(shop.state, "data/orders.db"), more)
    shop.run("start", "orders")
    wait_for("orders to be back", lambda: shop.request("GET", "/api/v1/products").status == 200 and "orders" in shop.pids())
    checks.check(f"{what}: the table is what the {len(wanted)} streams add up to", listed == wanted and list(listed) == list(wanted),
                 str([(k, listed.get(k), wanted[k]) for k in wanted if listed.get(k) != wanted[k]][:3]))
    checks.check(f"{what}: version {version} serves, has all events, and nothing is left of others", state == [(version, 0)] and len(tables) == 1,
                 f"{state} {tables}")
    return extra


def check_rebuild(shop, checks, token):
    """As docs/store.md says."""
    (_, command), (_, shown) = blocks("store.md")[:2]
    with Customers(shop, token) as customers:
        env = dict(shop.env, PATH=shop.build + ":" + os.environ["PATH"])
        done = subprocess.run(["sh", "-c", command], cwd=os.path.dirname(shop.manifest), env=env, capture_output=True, text=True, timeout=90, check=False)
    checks.check("a rebuild ends well, and says what docs/store.md shows", done.returncode == 0 and fits(shown, done.stderr + done.stdout), repr(done))
    customers.check(checks, "during the rebuild")
    checks.check("no order was repeated for it", customers.repeated == 0, str(customers.repeated))
    ended = shop.events("rebuild.done")[-1]
    checks.check("the log tells of it", ended["projection"] == "my_orders" and ended["generation"] == 2 and ended["events"] > OLD, str(ended))
    checks.check("nothing lags", shop.metric("projection_lag") == 0 and shop.metric("rebuild_events") == 0)
    check_table(shop, checks, "after the rebuild", 1)
    named = shop.run("events", "rebuild", "orders", "my_orders", "--wait", "90s", seconds=120)
    checks.check("it is rebuilt by its name, too", named.returncode == 0, repr(named))
    other = shop.run("events", "rebuild", "orders", "nothing")
    checks.check("another name is refused, with those that there are", other.returncode != 0 and "projections: my_orders" in other.stderr, repr(other))
    other = shop.run("events", "rebuild", "payments")
    checks.check("so is a service without any", other.returncode != 0 and "no projections" in other.stderr, repr(other))


def check_kill(shop, checks, token):
    """Killed in the middle, again and again: the old tables serve, and the build goes on from where it was."""
    with Customers(shop, token) as customers:
        command = [shop.ficus, "events", "rebuild", "orders", "--wait", "120s", "-f", shop.manifest]
        watcher = subprocess.Popen(command, env=shop.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(2):
            wait_for("the build to be on its way", lambda: (shop.metric("rebuild_events") or 0) > 500 or watcher.poll() is not None, 20, 0.001)
            pid = shop.pids()["orders"]
            os.kill(pid, signal.SIGKILL)
            wait_for("another process", lambda: shop.pids().get("orders") not in (None, pid), 20)
            wait_for("an answer", lambda: shop.request("GET", "/api/v1/orders", token=token).status == 200, 20)
        said = watcher.communicate(timeout=150)[0]
    checks.check("whoever watched is told of its end", watcher.returncode == 0, said)
    customers.check(checks, "with kills")
    started = shop.events("rebuild.started")
    checks.check("the next process went on, it did not begin anew", started[-1]["after"] > 500 and
                 len({s["generation"] for s in started}) == started[-1]["generation"], str(started))
    check_table(shop, checks, "after the kills", 1)


HANDLER = "static int orders_handle("
TABLE = '    {"my_orders", 1, tables, orders_handle},\n'
SECOND = """static int second_handle(struct ficus_req *req, const struct ficus_stored *ev)
{
    if (orders_handle(req, ev) != 0)
        return -1;
    return ficus_exec(req, "UPDATE {orders} SET changed_at = ? WHERE id = ?", "is", ev->time_ms, ev->stream + strlen("order-"));
}

const struct ficus_projection order_projections[] = {
"""


def check_versions(shop, checks, token):
    """The next release has the old shape and the new one; the one after it only the new one."""
    shop.releases.edit("list.c", '"  cancel_by TEXT,"', 'MORE "  cancel_by TEXT,"')
    shop.releases.edit("list.c", "static const char tables[] = ", "#define TABLES ")
    text = shop.releases.read("list.c")
    begin = text.index("#define TABLES ")
    end = text.index(";\n\nstatic int add(")
    body = text[begin + len("#define TABLES "):end]
    both = 'static const char tables[] = ' + body.replace("MORE ", "") + ';\nstatic const char second[] = ' + body.replace("MORE ", '"changed_at INTEGER,"')
    shop.releases.write("list.c", text[:begin] + both + text[end:])
    shop.releases.edit("list.c", "const struct ficus_projection order_projections[] = {\n", SECOND)
    shop.releases.edit("list.c", TABLE, TABLE + '    {"my_orders", 2, second, second_handle},\n')
    with Customers(shop, token) as customers:
        said = shop.releases.release()
        checks.check("the next release starts", said.returncode == 0, said.stdout + said.stderr)
        wait_for("version 2", lambda: [e for e in shop.events("rebuild.done") if e["version"] == 2], 90, 0.2)
    customers.check(checks, "while version 2 was built")
    changed = "SELECT count(*) FROM orders o WHERE changed_at <> (SELECT max(time) FROM ficus_store WHERE stream = 'order-' || o.id)"
    wrong = check_table(shop, checks, "the next release", 2, [changed])
    checks.check("its new column is filled for every order", wrong == [0], str(wrong))


def check_only_newest(shop, checks):
    """A release in which nobody can keep the old one current builds before it takes requests."""
    shop.releases.edit("list.c", TABLE, "")
    shop.releases.edit("list.c", '{"my_orders", 2, second,', '{"my_orders", 3, second,')
    said = shop.releases.release()
    checks.check("a release without the version that serves starts", said.returncode == 0, said.stdout + said.stderr)
    done, ready = shop.events("rebuild.done")[-1], shop.events("service.ready")[-1]
    checks.check("and has built its own before it takes requests", done["version"] == 3 and done["time"] <= ready["time"], f"{done} {ready}")
    check_table(shop, checks, "with version 3 alone", 3)


def check_refused(shop, checks, token):
    """A release whose new version cannot handle an event: it is named, and the old one serves."""
    shop.releases.edit("list.c", "static int second_handle(struct ficus_req *req, const struct ficus_stored *ev)\n{\n",
              'static int third_handle(struct ficus_req *req, const struct ficus_stored *ev)\n{\n'
              '    return strcmp(ev->stream, "order-old-4711") == 0 ? ficus_problem(req, 500, "odd", "it is odd") : 0;\n}\n\n'
              "static int second_handle(struct ficus_req *req, const struct ficus_stored *ev)\n{\n")
    shop.releases.edit("list.c", '    {"my_orders", 3, second, second_handle},\n', '    {"my_orders", 3, second, second_handle},\n    {"my_orders", 4, tables, third_handle},\n')
    with Customers(shop, token) as customers:
        shop.releases.release()
        failed = wait_for("the failure", lambda: shop.events("rebuild.failed"), 60, 0.2)[-1]
        again = shop.run("events", "rebuild", "orders", "--wait", "60s", seconds=90)
    customers.check(checks, "with a version that cannot be built")
    named = "stream order-old-4711, version 1, placed): odd: it is odd"
    checks.check("the event is named in the log", named in failed["error"], str(failed))
    checks.check("and to whoever asks for it", again.returncode == 1 and named in again.stderr and "the old tables serve" in again.stderr, repr(again))
    check_table(shop, checks, "after that", 3)


def run(shop, checks):
    shop.up(90)
    admin = shop.admin()
    shop.product(admin, "tea", 250, 1000000)
    wait_for("the product", lambda: shop.order(shop.user("first@projections.example"), {"tea": 1}).status == 202, 20)
    token = shop.user("ann@projections.example")
    listed = shop.request("GET", "/api/v1/orders?limit=100", token=admin).json
    checks.check("what came by a migration is listed", f"old-{OLD}" in [order["id"] for order in listed["items"]], str(listed)[:300])
    check_rebuild(shop, checks, token)
    check_kill(shop, checks, token)
    check_versions(shop, checks, token)
    check_only_newest(shop, checks)
    check_refused(shop, checks, token)
    done = shop.run("events", "verify", "orders")
    checks.check("the streams are as they were stored", done.returncode == 0, repr(done))


def main():
    build, _ = build_folder(sys.argv[1:])
    return run_checked(OwnShop(build, "projections"), run)


if __name__ == "__main__":
    sys.exit(main())
