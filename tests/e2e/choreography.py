#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Choreographed sagas on the real shop: what operators see of its notifications and its search when all goes well, when a consumer stands
still, when it gives an event up, when the hub is killed, and when a flow is changed. Each test's docstring states what it checks.

    tests/e2e/choreography.py [--build FOLDER] [names of tests]
"""

import datetime
import hashlib
import hmac
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import time
import unittest

from checks import run_cases
from groups import IDLE, SERVICE, UnixConnection, part
from shop import OwnSystem, Shop, build_folder, copy_shop, wait_for

SOON = "told:    { after: [order.confirmed, order.cancelled], consumed_by: notifications, within: 1m }"


class Flows(Shop):
    """The shop, whose customers are to be told within two seconds."""

    def __init__(self, build):
        super().__init__(build, "choreography")
        self.own = os.path.join(self.folder, "shop")
        copy_shop(self.own)
        self.manifest = os.path.join(self.own, "ficus.yaml")
        self.change("notifications", SOON, SOON.replace("1m", "2s"))
        self.change("search", "within: 1m", "within: 2s")

    def change(self, service, before, after):
        path = os.path.join(self.own, "services", service, "service.yaml")
        with open(path, encoding="utf-8") as f:
            text = f.read()
        assert before in text, before
        with open(path, "w", encoding="utf-8") as f:
            f.write(text.replace(before, after))

    def show(self, name):
        done = self.run("saga", "show", name, "--json")
        return json.loads(done.stdout) if done.returncode == 0 else None

    def reaches(self, name, *states):
        """The instance once it is in one of the states."""

        def look():
            shown = self.show(name)
            return shown if shown is not None and shown["state"] in states else None

        return wait_for(f"{name} to be {' or '.join(states)}", look, 90)

    def stuck(self):
        return {s["saga"] + "/" + s["id"]: s for s in self.lines("saga", "list", "--stuck")}

    def kill_hub(self):
        pid = self.pids()["hub"]
        os.kill(pid, signal.SIGKILL)
        wait_for("the next hub", lambda: self.pids().get("hub", pid) != pid and self.run("saga", "list").returncode == 0)

    def restart_hub(self):
        self.run("stop", "hub")
        self.run("start", "hub")

    def metrics(self):
        with open(os.path.join(self.state, "run/sockets"), encoding="utf-8") as f:
            path = os.path.join(f.read().strip(), "hub-ops.sock")
        command = ["curl", "-sS", "--max-time", "20", "--unix-socket", path, "http://hub/metrics"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def gauge(self, flow, state):
        found = re.search(rf'^flow_instances{{flow="{flow}",state="{state}"}} (\d+)$', self.metrics(), re.M)
        return int(found.group(1)) if found else None


def kinds(shown):
    return [(r["kind"], r["step"], r["by"]) for r in shown["history"]]


class Choreography(unittest.TestCase):
    system = None
    build = None

    @classmethod
    def setUpClass(cls):
        Choreography.system = Flows(Choreography.build)
        s = cls.system
        s.up()
        cls.admin = s.admin()
        cls.user = s.user("ann@example.com")
        s.product(cls.admin, "cup", 100, 1000)

    def order(self, **how):
        answer = self.system.order(self.user, {"cup": 1}, **how)
        self.assertEqual(answer.status, 202, answer)
        return answer.json["id"]

    def test_completed(self):
        """An order that is confirmed and told is a completed instance, with each event, who said it and who has consumed it; one that is cancelled
        later goes on in the same instance."""
        s = self.system
        order = self.order()
        shown = s.reaches("order_told/" + order, "completed")
        self.assertEqual([("event", "order.placed", "orders"), ("event", "order.confirmed", "orders"), ("consumed", "order.confirmed", "notifications")], kinds(shown))
        self.assertEqual(shown["missing"], [])
        self.assertEqual(shown["kind"], "choreographed")
        self.assertEqual(s.json("saga", "show", order)["saga"], "checkout")  # the orchestrated one, where an id alone is said
        self.assertTrue(s.run("saga", "show", order).stdout.startswith(f"saga checkout/{order}\n"))
        self.assertTrue(s.run("saga", "show", "order_told/" + order).stdout.startswith(f"saga order_told/{order} (choreographed)\n"))
        self.assertEqual(s.request("POST", f"/api/v1/orders/{order}/cancel", {}, self.user).status, 202)
        wait_for("the cancel to be told", lambda: ("consumed", "order.cancelled", "notifications") in kinds(s.show("order_told/" + order)))
        shown = s.reaches("order_told/" + order, "completed")
        self.assertIn(("event", "order.cancel_requested", "orders"), kinds(shown))

    def test_consumer_stands_still(self):
        """A consumer that stands still makes its instances stuck when their time is over: the shell, the metric and the log say so, once. When
        it goes on they complete, late, and nothing is stuck any more."""
        s = self.system
        pid = s.pids()["notifications"]
        os.kill(pid, signal.SIGSTOP)
        try:
            order = self.order()
            shown = s.reaches("order_told/" + order, "stuck")
            missing = shown["missing"]
            self.assertEqual([(m["step"], m["consumed_by"], m["after"], m["overdue"]) for m in missing], [("told", "notifications", "order.confirmed", True)])
            self.assertLess(missing[0]["since"], missing[0]["until"])
            self.assertIn("order_told/" + order, s.stuck())
            self.assertIn(f"MISSING told: that notifications consumes order.confirmed; since {missing[0]['since']}, until {missing[0]['until']}",
                          s.run("saga", "show", "order_told/" + order).stdout)
            wait_for("the metric", lambda: s.gauge("order_told", "stuck") == 1)
            lines = wait_for("the log line", lambda: [l for l in s.run("logs", "hub", "--json").stdout.splitlines() if '"flow.stuck"' in l and order in l])
            self.assertEqual(len(lines), 1, lines)
        finally:
            os.kill(pid, signal.SIGCONT)
        shown = s.reaches("order_told/" + order, "completed")
        self.assertTrue(shown["late"])
        self.assertTrue([r for r in shown["history"] if r["kind"] == "consumed" and r.get("late")], shown["history"])
        self.assertNotIn("order_told/" + order, s.stuck())
        wait_for("the metric", lambda: s.gauge("order_told", "stuck") == 0)

    def test_hub_killed(self):
        """A hub that is killed while an instance is stuck finds it stuck again, and its end, too."""
        s = self.system
        pid = s.pids()["search"]
        os.kill(pid, signal.SIGSTOP)
        try:
            s.product(self.admin, "saucer", 50)
            is_found = lambda: [s_ for name, s_ in s.stuck().items() if name.startswith("product_found/")]
            before = wait_for("a stuck change", is_found)
            s.kill_hub()
            after = wait_for("the same after the kill", is_found)
            self.assertEqual({x["id"] for x in before}, {x["id"] for x in after})
        finally:
            os.kill(pid, signal.SIGCONT)
        for x in before:
            s.reaches("product_found/" + x["id"], "completed")

    def test_given_up(self):
        """A consumer that gives an event up makes its instance stuck at once, with the dead letter's number; redriven it completes."""
        s = self.system
        s.run("stop", "notifications")
        db = sqlite3.connect(os.path.join(s.state, "data/notifications.db"))
        db.execute("CREATE TRIGGER broken BEFORE INSERT ON notification BEGIN SELECT RAISE(ABORT, 'out of ink'); END")
        db.commit()
        db.close()
        s.run("start", "notifications")
        order = self.order()
        shown = wait_for("the dead letter", lambda: next((x for x in [s.show("order_told/" + order)] if x and any("dead_letter" in m for m in x["missing"])), None), 120)
        letter = shown["missing"][0]["dead_letter"]
        self.assertEqual(shown["state"], "stuck")
        self.assertIn(("given_up", "order.confirmed", "notifications"), kinds(shown))
        self.assertIn(f"ficus events redrive {letter}", s.run("saga", "show", "order_told/" + order).stdout)
        s.run("stop", "notifications")
        db = sqlite3.connect(os.path.join(s.state, "data/notifications.db"))
        db.execute("DROP TRIGGER broken")
        db.commit()
        db.close()
        s.run("start", "notifications")
        self.assertEqual(s.run("events", "redrive", str(letter)).returncode, 0)
        shown = s.reaches("order_told/" + order, "completed")
        self.assertIn(("consumed", "order.confirmed", "notifications"), kinds(shown))

    def test_list(self):
        """Both kinds stand in one list, page by page, and can be asked for by name and state."""
        s = self.system
        order = self.order()
        s.reaches("order_told/" + order, "completed")
        rows = s.lines("saga", "list", "--all")
        self.assertEqual({"orchestrated", "choreographed"}, {r["kind"] for r in rows})
        self.assertIn("orchestrated and choreographed", s.run("saga", "list", "--help").stdout)  # the same words
        self.assertEqual({"order_told"}, {r["saga"] for r in s.lines("saga", "list", "--saga", "order_told")})
        done = s.lines("saga", "list", "--state", "completed")
        self.assertEqual({"completed"}, {r["state"] for r in done})
        self.assertIn(("order_told", order), {(r["saga"], r["id"]) for r in done})
        self.assertEqual(s.lines("saga", "list", "--state", "orphaned"), [])
        paged, page = [], s.lines("saga", "list", "--limit", "3")
        while page:
            self.assertLessEqual(len(page), 3)
            paged += page
            page = s.lines("saga", "list", "--limit", "3", "--after", f"{page[-1]['saga']}/{page[-1]['id']}")
        names = lambda listed: [(r["saga"], r["id"]) for r in listed]
        every = s.lines("saga", "list", "--all")
        self.assertEqual(names(paged), names(every))
        # what has not ended, and behind it the newest of the others
        ended = lambda r: r["state"] in ("completed", "compensated", "terminated")
        brief = s.run("saga", "list", "--json")
        shown, newest = [json.loads(line) for line in brief.stdout.splitlines()], sorted(filter(ended, every), key=lambda r: r["updated_at"])[-10:]
        self.assertEqual(names(r for r in shown if not ended(r)), names(r for r in every if not ended(r)))
        self.assertEqual([r["updated_at"] for r in shown if ended(r)], [r["updated_at"] for r in reversed(newest)])
        left = len([r for r in every if ended(r)]) - len(newest)
        self.assertEqual(brief.stderr, f"{left} more have ended; --all lists them\n" if left > 0 else "")
        described = s.json("saga", "describe", "order_told")
        self.assertEqual((described["kind"], described["owner"], described["id"]), ("choreographed", "notifications", "subject"))
        self.assertGreater(described["instances"]["completed"], 0)
        self.assertIn("consumed by notifications, after order.confirmed or order.cancelled, within 2s", s.run("saga", "describe", "order_told").stdout)
        done = s.run("saga", "cancel", "order_told/" + order)
        self.assertEqual(done.returncode, 1)
        self.assertIn("nothing can be said to a choreographed saga", done.stderr)
        self.assertEqual(s.run("saga", "show", "order_told/nobody").returncode, 1)

    def test_zz_changed(self):
        """A flow that is changed is made anew of the log: instances of before are there, judged by what it says now. So it is when the file is gone
        or damaged."""
        s = self.system
        order = self.order()
        before = s.reaches("order_told/" + order, "completed")
        path = os.path.join(s.state, "data/hub-flows.db")
        s.change("notifications", "decided: {", "settled: {")
        self.assertEqual(s.run("reload").returncode, 0)
        s.restart_hub()
        shown = s.reaches("order_told/" + order, "completed")
        self.assertEqual([r["step"] for r in before["history"]], [r["step"] for r in shown["history"]])
        self.assertIn("settled", [x["step"] for x in s.json("saga", "describe", "order_told")["steps"]])
        for damage in ("gone", "damaged"):
            s.run("stop", "hub")
            if damage == "gone":
                os.remove(path)
            else:
                with open(path, "r+b") as f:
                    f.write(b"this is no database" * 100)
            s.run("start", "hub")
            shown = s.reaches("order_told/" + order, "completed")
            self.assertEqual([r["step"] for r in before["history"]], [r["step"] for r in shown["history"]], damage)


class Delivery(OwnSystem):
    """Services that do nothing; their events are published by this program."""

    FLOW = """flows:
  delivery:
    start: order.placed
    failures: payment.refused
    steps:
      - paid:      { event: [payment.received, payment.refused], within: 1h }
      - sent:      { after: payment.received, event: parcel.sent, within: 1s }
      - cancelled: { after: payment.refused, event: order.cancelled, within: 1s }
"""
    PARTS = {
        "orders": "publishes: { order.placed: {}, order.cancelled: {} }\nconsumes: [payment.refused]\n" + FLOW,
        "payments": "publishes: { payment.received: {}, payment.refused: {} }\nconsumes: [order.placed]\n",
        "warehouse": "publishes: { parcel.sent: {} }\nconsumes: [payment.received]\n",
    }

    def __init__(self, build):
        super().__init__(build, "delivery")
        self.count = 0
        self.write("ficus.yaml", "ficus: 1\nsystem: delivery\ninclude: [services/*/service.yaml]\n")
        for name, says in self.PARTS.items():
            self.write(f"services/{name}/idle.py", IDLE)
            self.write(f"services/{name}/service.yaml", SERVICE % name + "run: python3 idle.py\n" + says)

    def publish(self, who, topic, order):
        with open(os.path.join(self.state, "system.key"), encoding="utf-8") as f:
            key = bytes.fromhex(f.read().strip())
        with open(os.path.join(self.state, "run/sockets"), encoding="utf-8") as f:
            path = os.path.join(f.read().strip(), "hub.sock")
        now = int(time.time())
        text = part(b'{"alg":"HS256"}') + "." + part(json.dumps({"iss": who, "aud": "hub", "iat": now, "exp": now + 30}).encode())
        self.count += 1
        moment = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        event = {"specversion": "1.0", "id": f"e{self.count}", "source": "/" + who, "type": topic, "subject": order, "time": moment, "data": {}}
        headers = {"Ficus-Identity": text + "." + part(hmac.new(key, text.encode(), hashlib.sha256).digest()),
                   "Content-Type": "application/cloudevents-batch+json"}
        connection = UnixConnection(path)
        try:
            connection.request("POST", "/v1/events", json.dumps([event]), headers)
            answer = connection.getresponse()
            assert answer.status == 200, answer.read()
        finally:
            connection.close()

    def reaches(self, order, state):
        def look():
            done = self.run("saga", "show", "delivery/" + order, "--json")
            shown = json.loads(done.stdout) if done.returncode == 0 else {}
            return shown if shown.get("state") == state else None

        return wait_for(f"{order} to be {state}", look, 60)


class Failures(unittest.TestCase):
    system = None

    @classmethod
    def setUpClass(cls):
        Failures.system = Delivery(Choreography.build)
        cls.system.up()

    def test_failure(self):
        """A failure that nobody makes good in time is uncompensated, and compensated when it is; an event without what should have led to it is
        orphaned, and no more when that comes; all of it in the list of those that need somebody."""
        s = self.system
        s.publish("orders", "order.placed", "o1")
        s.reaches("o1", "running")
        s.publish("payments", "payment.refused", "o1")
        shown = s.reaches("o1", "uncompensated")
        self.assertEqual((shown["failure"], shown["step"]), ("payment.refused", "cancelled"))
        self.assertEqual([(m["event"], m["from"], m["after"]) for m in shown["missing"]], [(["order.cancelled"], ["orders"], "payment.refused")])
        s.publish("warehouse", "parcel.sent", "o2")
        shown = s.reaches("o2", "orphaned")
        self.assertEqual([(m["event"], m["from"], m["before"]) for m in shown["missing"]], [(["payment.received"], ["payments"], "parcel.sent")])
        self.assertIn("MISSING sent: payment.received from payments, which should have led to parcel.sent", s.run("saga", "show", "delivery/o2").stdout)
        rows = s.lines("saga", "list", "--stuck")
        self.assertEqual({(r["id"], r["state"]) for r in rows}, {("o1", "uncompensated"), ("o2", "orphaned")})
        self.assertEqual([r["id"] for r in s.lines("saga", "list", "--state", "orphaned")], ["o2"])
        s.publish("orders", "order.cancelled", "o1")
        self.assertTrue(s.reaches("o1", "compensated")["late"])
        s.publish("payments", "payment.received", "o2")
        s.publish("orders", "order.placed", "o2")
        s.reaches("o2", "completed")
        self.assertEqual(s.lines("saga", "list", "--stuck"), [])


def end():
    if Failures.system is not None:
        Failures.system.end()
    if Choreography.system is not None:
        Choreography.system.end()


def main():
    Choreography.build, rest = build_folder(sys.argv[1:])
    return run_cases(rest, end)


if __name__ == "__main__":
    sys.exit(main())
