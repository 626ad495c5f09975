#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What operators see of sagas and say to them, in a real system whose participants are this program's: start, signal, wait,
cancel, terminate, two versions at once, and a hub that is killed in between. Each test's docstring states what it checks.

    tests/e2e/sagas.py [--build FOLDER] [names of tests]
"""

import http.server
import json
import os
import re
import signal
import socketserver
import subprocess
import sys
import threading
import unittest

from checks import run_cases
from shop import ROOT, Shop, build_folder, wait_for

# The service that the sagas belong to: it only says that it is ready.
DESK = """#!/usr/bin/env python3
import os, signal, socket
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
    s.sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
signal.sigwait([signal.SIGTERM])
"""

TRIP = """  trip:
    start: trip.booked
    steps:
      - hold:     { call: "PUT accounts:/holds/{id}", undo: "DELETE accounts:/holds/{id}" }
      - cool_off: { wait: 3s }
      - buy:      { call: "POST accounts:/holds/{id}/buy", pivot: true }
      - send:     { call: "POST accounts:/holds/{id}/send", retry: forever }
"""


# Two calls beside each other, and two behind the pivot.
PARCEL = """  parcel:
    start: parcel.ordered
    steps:
      - hold: { call: "PUT accounts:/parcels/{id}", undo: "DELETE accounts:/parcels/{id}" }
      - parallel:
          - weigh: { call: "PUT accounts:/parcels/{id}/weight", undo: "DELETE accounts:/parcels/{id}/weight" }
          - stamp: { call: "PUT accounts:/parcels/{id}/stamp", undo: "DELETE accounts:/parcels/{id}/stamp" }
      - send: { call: "POST accounts:/parcels/{id}/send", pivot: true }
      - parallel:
          - tell: { call: "POST accounts:/parcels/{id}/tell", retry: forever }
          - book: { call: "POST accounts:/parcels/{id}/book", retry: forever }
"""

# What the manifest said before: one after another.
PARCEL_LINE = re.sub(r"\n +- parallel:", "", PARCEL).replace("          - ", "      - ")


class Participant(socketserver.ThreadingMixIn, http.server.HTTPServer):
    """Answers 200 to all but what it is told to answer otherwise; remembers what it saw."""

    daemon_threads = True

    def __init__(self):
        self.seen, self.otherwise = [], {}

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
                line = f"{self.command} {self.path}"
                self.server.seen.append((line, body, self.headers.get("Idempotency-Key")))
                status = next((s for part, s in self.server.otherwise.items() if part in line), 200)
                self.send_response(status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            do_PUT = do_POST = do_DELETE = answer

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, request, client_address):
        """A killed hub leaves its connections behind."""

    def lines(self, part):
        return [line for line, _, _ in self.seen if part in line]


class System(Shop):
    def __init__(self, build, name="sagas"):
        super().__init__(build, name)
        self.own = os.path.join(self.folder, "system")
        self.manifest = os.path.join(self.own, "ficus.yaml")
        self.env["SUDO_USER"] = "ann"
        self.participant = Participant()
        with open(os.path.join(ROOT, "docs/sagas.md"), encoding="utf-8") as f:
            self.loan = re.search(r"^  loan:\n(?:    .*\n)+", f.read(), re.M).group(0)
        os.makedirs(os.path.join(self.own, "services"))
        self.write("desk.py", DESK)
        os.chmod(os.path.join(self.own, "desk.py"), 0o755)
        self.write("ficus.yaml", "ficus: 1\nsystem: bank\ninclude: [services/*.yaml]\ngateway: { routes: [ { path: /none, answer: 404 } ] }\n")
        port = self.participant.server_address[1]
        self.write("services/accounts.yaml", f"service: accounts\nteam: t\ndoes: books\nurl: http://127.0.0.1:{port}\nkeeps_keys: true\n")
        self.sagas(self.loan + TRIP + PARCEL)

    def write(self, name, text):
        with open(os.path.join(self.own, name), "w", encoding="utf-8") as f:
            f.write(text)

    def sagas(self, text):
        self.write("services/desk.yaml", "service: desk\nteam: t\ndoes: lends\nrun: ../desk.py\npublishes:\n  loan.requested: { key: id }\n"
                   "  trip.booked: { key: id }\n  parcel.ordered: { key: id }\nsagas:\n" + text)

    def kill_hub(self):
        pid = self.pids()["hub"]
        os.kill(pid, signal.SIGKILL)
        wait_for("the next hub", lambda: self.pids().get("hub", pid) != pid and self.run("saga", "list").returncode == 0)

    def hub(self, method, path, body=""):
        """(status, body) of the hub's operator socket."""
        with open(os.path.join(self.state, "run/sockets"), encoding="utf-8") as f:
            socket = os.path.join(f.read().strip(), "hub-ops.sock")
        command = ["curl", "-sS", "--max-time", "20", "--path-as-is", "--unix-socket", socket, "-X", method, "-d", body, "-w", "\n%{http_code}", "http://hub" + path]
        said, status = subprocess.run(command, capture_output=True, text=True, check=True).stdout.rsplit("\n", 1)
        return int(status), said

    def metrics(self):
        return self.hub("GET", "/metrics")[1]


class SagaCase(unittest.TestCase):
    """What operators say and see."""

    system = None
    build = None

    def setUp(self):
        self.system.participant.otherwise.clear()

    def say(self, *arguments, code=0):
        done = self.system.run("saga", *arguments)
        self.assertEqual(done.returncode, code, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def show(self, name):
        return self.system.json("saga", "show", name)

    def until(self, name, state):
        return wait_for(f"{name} {state}", lambda: (lambda s: s if s["state"] == state else None)(self.show(name)), 20)


class Sagas(SagaCase):
    @classmethod
    def setUpClass(cls):
        Sagas.system = System(Sagas.build)
        Sagas.system.up()

    def test_start(self):
        """Started by hand it waits for its signal; the same again says so, with another input it is an error; so is a saga that is none."""
        self.assertIn("loan/s1: started; it is running", self.say("start", "loan", "s1", "--input", '{"amount": 100}'))
        self.until("loan/s1", "waiting")
        self.assertIn("that was said before; it is waiting", self.say("start", "loan", "s1", "--input", '{ "amount":100 }'))
        self.assertIn("it began with another input", self.say("start", "loan", "s1", "--input", '{"amount":101}', code=1))
        path = os.path.join(self.system.folder, "input.json")
        with open(path, "w", encoding="utf-8") as f:
            f.write('{"amount": 7}')
        self.assertIs(json.loads(self.say("start", "loan", "s2", "--input", "@" + path, "--json"))["again"], False)
        self.assertIn("--input must be JSON", self.say("start", "loan", "s3", "--input", "{amount: 1}", code=2))
        self.assertIn("--input must be JSON", self.say("start", "loan", "s3", "--input", "@" + path + ".not", code=2))
        command = [self.system.ficus, "saga", "start", "loan", "s4", "--input", "@-", "-f", self.system.manifest]
        subprocess.run(command, env=self.system.env, input='{"amount": 8}', text=True, timeout=60, check=True, capture_output=True)
        self.until("s4", "waiting")
        command[4], command[6] = "s6", "@/dev/stdin"  # a pipe has no size, as that of <(...)
        subprocess.run(command, env=self.system.env, input='{"amount": 9}', text=True, timeout=60, check=True, capture_output=True)
        self.assertIn(("PUT /v1/blocks/s4", '{"amount":8}', "loan/s4/block/do"), self.system.participant.seen)
        self.assertIn('there is no saga "laon"', self.say("start", "laon", "s3", code=1))
        for wrong in ("7", "[1]", "null", '"x"'):
            self.assertIn("it must be an object", self.say("start", "loan", "s5", "--input", wrong, code=2))

    def test_ids(self):
        """An id that is no segment of a path is refused before anything begins, by the command and by the hub; what looks like SAGA/ID
        and is none is told so."""
        for name in (".", "..", "a/b", "x" * 129, "\u00e4"):
            self.assertIn("it becomes one segment of a path", self.say("start", "loan", name, "--input", "{}", code=2))
        for path, body, wanted in (("a%2Fb", "{}", "one segment of a path"), ("%2E%2E", "{}", "one segment of a path"), ("i1", '{"input": 7}', "input must be a JSON object")):
            status, said = self.system.hub("PUT", "/v1/sagas/loan/" + path, body)
            self.assertEqual((status, wanted in said), (400, True), said)
        self.assertIn('the manifest has no saga "a"; it has: loan, trip', self.say("show", "a/b", code=1))
        self.assertIn("there is no saga", self.say("cancel", "loan/a/b", code=1))

    def test_approval(self):
        """An approval over a killed hub: the early one is kept, data comes to the call, who and why are in the history."""
        self.say("start", "loan", "a1", "--input", '{"amount": 100}')
        self.say("signal", "a1", "signed")
        self.until("a1", "waiting")
        self.system.kill_hub()
        self.assertIn("signal       approved", self.say("show", "a1"))
        self.assertIn("loan/a1: signalled", self.say("signal", "a1", "approved", "--data", '{"limit": 5000, "by": "ann"}', "--reason", "known customer"))
        self.until("a1", "completed")
        self.assertIn(("POST /v1/blocks/a1/pay", '{"limit":5000,"by":"ann"}', "loan/a1/pay/do"), self.system.participant.seen)
        self.assertEqual(self.system.participant.lines("/v1/blocks/a1"), ["PUT /v1/blocks/a1", "POST /v1/blocks/a1/pay"])
        self.assertRegex(self.say("show", "a1"), r'signalled +approval +by ann \(uid \d+\): known customer \{"limit":5000,"by":"ann"\}')
        self.assertIn("that was said before", self.say("signal", "a1", "approved", "--data", '{"limit":5000,"by":"ann"}'))
        self.assertIn("with other data", self.say("signal", "a1", "approved", "--data", "{}", code=1))
        self.assertIn('waits for no signal "approvd"', self.say("signal", "loan/a1", "approvd", code=1))

    def test_refusal(self):
        """A refused approval undoes what was done, with the code that the manifest says."""
        self.say("start", "loan", "r1", "--input", '{"amount": 100}')
        self.until("r1", "waiting")
        self.assertIn("loan/r1: refused; it is undoing", self.say("signal", "r1", "approved", "--refuse", "--reason", "no income"))
        self.assertEqual(self.until("r1", "compensated")["failure"], "not_approved")
        self.assertIn(("DELETE /v1/blocks/r1", '{"reason":"not_approved"}', "loan/r1/block/undo"), self.system.participant.seen)
        self.assertIn("it is compensated", self.say("signal", "r1", "signed", code=1))

    def test_wait(self):
        """A wait goes on while its hub is dead, and is over neither before its time nor never."""
        self.say("start", "trip", "w1")
        shown = self.until("w1", "waiting")
        self.system.kill_hub()
        done = self.until("w1", "completed")
        times = {r["kind"] + r.get("step", ""): r["at"] for r in done["history"]}
        self.assertGreaterEqual(times["wait_donecool_off"], shown["until"])
        self.assertEqual(self.system.participant.lines("/holds/w1"), ["PUT /holds/w1", "POST /holds/w1/buy", "POST /holds/w1/send"])

    def test_parallel(self):
        """Two steps at once: one that is away keeps no other from its answer and is shown as open; what is done is undone in reverse."""
        self.system.participant.otherwise = {"/p1/weight": 503, "PUT /parcels/p2/stamp": 409, "/p3/tell": 409}
        for name in ("p1", "p2", "p3"):
            self.say("start", "parcel", name)
        wait_for("the other step", lambda: self.show("parcel/p1").get("open") == ["weigh"])
        self.assertRegex(self.say("show", "parcel/p1"), r"open +weigh\n")
        self.assertEqual(self.system.participant.lines("/p1/stamp"), ["PUT /parcels/p1/stamp"])
        self.assertEqual(self.until("parcel/p2", "compensated")["failure"], "refused")
        self.assertEqual(self.system.participant.lines("DELETE /parcels/p2"), ["DELETE /parcels/p2/weight", "DELETE /parcels/p2"])
        self.assertIn("parallel\n    weigh        call: PUT accounts:/parcels/{id}/weight", self.say("describe", "parcel"))
        self.until("parcel/p3", "stuck")
        self.system.participant.otherwise.clear()
        self.until("parcel/p1", "completed")
        self.say("retry", "parcel/p3")
        self.until("parcel/p3", "completed")

    def test_parallel_versions(self):
        """The manifest makes two steps parallel while an instance is in the midst of them, and the hub is killed: it ends one after
        another, as it began, and a new one at the same time; back again likewise."""
        system = self.system
        for name, text in (("pv1", PARCEL_LINE), ("pv2", PARCEL), ("pv3", PARCEL_LINE)):
            system.participant.otherwise = {**system.participant.otherwise, f"PUT /parcels/{name}/weight": 503}
            system.sagas(system.loan + TRIP + text)
            self.assertEqual(system.run("reload").returncode, 0)
            system.kill_hub()
            self.say("start", "parcel", name)
            wait_for("the step", lambda: system.participant.lines(f"/{name}/weight"))
        self.assertEqual({name: len(system.participant.lines(f"/{name}/stamp")) for name in ("pv1", "pv2", "pv3")}, {"pv1": 0, "pv2": 1, "pv3": 0})
        self.assertEqual(sum(sum(n for k, n in v.items() if k != "definition") for v in system.json("saga", "describe", "parcel")["versions"]), 3)
        system.participant.otherwise.clear()
        for name in ("pv1", "pv2", "pv3"):
            self.until(f"parcel/{name}", "completed")
        self.assertEqual(self.show("parcel/pv1")["definition"], self.show("parcel/pv3")["definition"])
        self.assertNotEqual(self.show("parcel/pv1")["definition"], self.show("parcel/pv2")["definition"])
        order = system.participant.lines("PUT /parcels/pv1")
        self.assertEqual(order[-1], "PUT /parcels/pv1/stamp")
        system.sagas(system.loan + TRIP + PARCEL)
        self.assertEqual(system.run("reload").returncode, 0)
        system.kill_hub()

    def test_cancel(self):
        """Before the pivot a cancelled one is undone, the step under way too; behind it that is refused with the reason."""
        self.system.participant.otherwise = {"PUT /holds/c1": 503, "/holds/c2/send": 503}
        self.say("start", "trip", "c1")
        self.say("start", "trip", "c2")
        self.assertIn("trip/c1: cancelled; it is undoing", self.say("cancel", "c1", "--reason", "customer called"))
        self.assertEqual(self.until("c1", "compensated")["failure"], "cancelled")
        self.assertIn(("DELETE /holds/c1", '{"reason":"cancelled"}', "trip/c1/hold/undo"), self.system.participant.seen)
        self.assertIn("that was said before", self.say("cancel", "c1"))
        wait_for("the step behind the pivot", lambda: self.show("c2").get("step") == "send")
        self.assertIn("its pivot is done", self.say("cancel", "c2", code=1))
        self.assertIn("there is no saga with id c3", self.say("cancel", "c3", code=1))
        self.system.participant.otherwise.clear()
        self.until("c2", "completed")

    def test_terminate(self):
        """A termination needs a reason, is loud, names what it leaves, and holds over a killed hub."""
        self.system.participant.otherwise = {"DELETE /v1/blocks/t1": 409}
        self.say("start", "loan", "t1", "--input", '{"amount": 1}')
        self.until("t1", "waiting")
        self.say("cancel", "t1")
        self.until("t1", "stuck")
        self.assertIn("needs --reason", self.say("terminate", "t1", code=2))
        self.assertIn("loan/t1: terminated; nothing was undone; it is terminated", self.say("terminate", "t1", "--reason", "paid back by hand"))
        self.system.kill_hub()
        shown = self.say("show", "t1")
        self.assertIn("TERMINATED, and done or perhaps done, and not undone: block", shown)
        self.assertRegex(shown, r"terminated +- +by ann \(uid \d+\): paid back by hand")
        self.assertEqual([s["id"] for s in self.system.lines("saga", "list", "--state", "terminated")], ["t1"])
        self.assertIn('"saga.terminated"', self.system.run("logs", "hub", "--level", "warn", "--json").stdout)
        self.say("start", "loan", "t2", "--input", '{"amount": 1}')
        self.say("terminate", "t2", "--reason", "a test")
        self.assertRegex(self.system.metrics(), r'saga_completed_total\{[^}]*outcome="terminated"[^}]*\} 1\b')
        self.assertIn("it is terminated", self.say("cancel", "t1", code=1))

    def test_list(self):
        """Pages join, and a list is of one saga and one state where that is asked for."""
        for i in range(5):
            self.say("start", "loan", f"list{i}", "--input", '{"amount": 1}')
        rows, after = [], []
        while page := self.system.lines("saga", "list", "--saga", "loan", "--limit", "2", *after):
            rows += [s["id"] for s in page]
            self.assertLessEqual(len(page), 2)
            after = ["--after", "loan/" + rows[-1]]
        self.assertEqual(rows, sorted(rows))
        self.assertLessEqual({f"list{i}" for i in range(5)}, set(rows))
        self.assertEqual(rows, [s["id"] for s in self.system.lines("saga", "list", "--saga", "loan", "--all")])
        self.assertIn("more: --after loan/", self.say("list", "--saga", "loan", "--limit", "2"))
        self.assertNotIn("loan", self.say("list", "--saga", "trip"))
        self.assertIn("or of choreographed sagas orphaned", self.say("list", "--state", "asleep", code=2))
        self.assertIn("exclude each other", self.say("list", "--stuck", "--state", "running", code=2))
        self.assertIn("--limit", self.say("list", "--limit", "0", code=2))
        self.assertEqual(self.system.run("stop", "hub").returncode, 0)
        self.assertRegex(self.say("list", code=3), r"\Aficus: .*\n\Z")  # no head of a table that is not there
        self.assertEqual(self.system.run("start", "hub").returncode, 0)

    def test_versions(self):
        """Two versions at once: the old instance ends on the definition that it began with, describe tells them apart."""
        system = self.system
        self.say("start", "loan", "v1", "--input", '{"amount": 1}')
        self.until("v1", "waiting")
        old = system.json("saga", "describe", "loan")
        self.assertIn("signal: approved", self.say("describe", "loan"))
        self.assertEqual(system.run("down").returncode, 0)
        system.sagas(system.loan.replace("/v1/blocks", "/v2/blocks") + TRIP + PARCEL)
        system.up()
        new = system.json("saga", "describe", "loan")
        self.assertNotEqual(old["definition"], new["definition"])
        self.say("start", "loan", "v2", "--input", '{"amount": 1}')
        self.until("v2", "waiting")
        counts = {v["definition"]: v["waiting"] for v in system.json("saga", "describe", "loan")["versions"]}
        self.assertGreaterEqual(counts[old["definition"]], 1)
        self.assertEqual(counts[new["definition"]], 1)
        self.assertEqual(system.json("saga", "describe", "loan/v1")["definition"], old["definition"])
        self.assertIn("/v2/blocks", self.say("describe", "v2"))
        for name in ("v1", "v2"):
            self.say("signal", name, "signed")
            self.say("signal", name, "approved", "--data", '{"limit": 1, "by": "x"}')
            self.until(name, "completed")
        self.assertEqual(system.participant.lines("/v1/pay"), ["POST /v1/blocks/v1/pay"])
        self.assertEqual(system.participant.lines("/v2/pay"), ["POST /v2/blocks/v2/pay"])


def end():
    if Sagas.system is not None:
        Sagas.system.end()


def main():
    Sagas.build, rest = build_folder(sys.argv[1:])
    return run_cases(rest, end)


if __name__ == "__main__":
    sys.exit(main())
