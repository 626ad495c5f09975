#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The service of docs/sagas.md, built as it stands there: a person's click begins a loan, approves or refuses it, through a service that
tells its saga in its transactions; hub and service are killed in between. Each test's docstring states what it checks.

    tests/e2e/saga_api.py [--build FOLDER] [names of tests]
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import unittest

from checks import run_cases
from sagas import Participant
from shop import ROOT, Shop, build_folder, wait_for


TRADE = """  trade:
    steps:
      - hold: { call: "PUT accounts:/trades/{id}", undo: "DELETE accounts:/trades/{id}" }
      - parallel:
          - weigh:  { call: "PUT accounts:/trades/{id}/weight", undo: "DELETE accounts:/trades/{id}/weight" }
          - booked: { signal: booked, given_by: booking.placed, timeout: 1h }
      - send: { call: "POST accounts:/trades/{id}/send", body: { of: "{signals.booked.id}" }, pivot: true }
"""


class Bank(Shop):
    def __init__(self, build):
        super().__init__(build, "saga_api")
        self.own = os.path.join(self.folder, "system")
        self.manifest = os.path.join(self.own, "ficus.yaml")
        self.participant = Participant()
        with open(os.path.join(ROOT, "docs/sagas.md"), encoding="utf-8") as f:
            desk = re.search(r"^```yaml\n(store: sqlite:desk\.db\n.*?)^```$", f.read(), re.M | re.S).group(1)
        os.makedirs(self.own)
        self.write("ficus.yaml", "ficus: 1\nsystem: bank\ninclude: [desk.yaml, accounts.yaml, ledger.yaml]\ngateway:\n  routes:\n    - { path: /loans, to: desk }\n    - { path: /loans/**, to: \"desk:/loans/**\" }\n"
                   "    - { path: /bookings, to: \"ledger:/v1/bookings\" }\n")
        self.write("desk.yaml", f"service: desk\nteam: t\ndoes: lends\nrun: {os.path.abspath(build)}/tests/e2e/desk_service\n" + desk + TRADE)
        # The shop of another team, whose event one of the desk's sagas waits for.
        self.write("ledger.yaml", f"service: ledger\nteam: t\ndoes: books\nrun: {os.path.abspath(build)}/tests/e2e/ledger_service\nstore: sqlite:ledger.db\n"
                   "migrations: migrations\nsettings: { effect: stored }\npublishes: { booking.placed: { key: id } }\n")
        shutil.copytree(os.path.join(ROOT, "tests/e2e/ledger/migrations"), os.path.join(self.own, "migrations"))
        port = self.participant.server_address[1]
        self.write("accounts.yaml", f"service: accounts\nteam: t\ndoes: books\nurl: http://127.0.0.1:{port}\nkeeps_keys: true\n")

    def write(self, name, text):
        with open(os.path.join(self.own, name), "w", encoding="utf-8") as f:
            f.write(text)

    def ask(self, method, path, body=None, key=None):
        """(status, answer)"""
        command = ["curl", "-sS", "--max-time", "20", "-X", method, "-w", "\n%{http_code}", f"http://127.0.0.1:{self.port}{path}"]
        if body is not None:
            command += ["-H", "Content-Type: application/json", "-d", json.dumps(body)]
        if key is not None:
            command += ["-H", f"Idempotency-Key: {key}"]
        said, status = subprocess.run(command, capture_output=True, text=True, check=True).stdout.rsplit("\n", 1)
        return int(status), json.loads(said) if said else None

    def kill(self, name):
        """The present process of that name, once it has one."""
        os.kill(wait_for(name, lambda: self.pids().get(name)), signal.SIGKILL)

    def until_told(self, *request, status=202):
        """The same request, as a client repeats it, until it is answered so."""
        return wait_for(f"{request[:2]}", lambda: (lambda a: a[1] if a[0] == status else None)(self.ask(*request)), 30)


class SagaApi(unittest.TestCase):
    system = None
    build = None

    @classmethod
    def setUpClass(cls):
        SagaApi.system = Bank(SagaApi.build)
        SagaApi.system.up()

    def begin(self, key, amount=100):
        return self.system.until_told("POST", "/loans", {"amount": amount}, key)["id"]

    def until(self, name, **wanted):
        def look():
            status, said = self.system.ask("GET", f"/loans/{name}")
            return said if status == 200 and all(said[k] == v for k, v in wanted.items()) else None

        return wait_for(f"{name} {wanted}", look, 30)

    def test_approved(self):
        """Begun once for each key, approved once, paid with what the approval says; who said it is in the history."""
        name = self.begin("a1")
        self.assertEqual(self.begin("a1"), name)
        self.until(name, state="waiting", waits_for="approved")
        for _ in range(2):
            self.system.until_told("PUT", f"/loans/{name}/approval", {"decision": "approve", "by": "ann"})
        self.until(name, state="completed", failure="")
        self.assertEqual(self.system.participant.lines(name), [f"PUT /v1/blocks/{name}", f"POST /v1/blocks/{name}/pay"])
        self.assertIn((f"POST /v1/blocks/{name}/pay", '{"by":"ann"}', f"loan/{name}/pay/do"), self.system.participant.seen)
        shown = self.system.run("saga", "show", name).stdout
        self.assertRegex(shown, r"started +- +by service desk")
        self.assertRegex(shown, r"signalled +approval +by service desk \{.*\"by\":\"ann\"\}")
        self.assertIn("begun by its owner", self.system.run("saga", "describe", "loan").stdout)

    def test_refused(self):
        """A refusal undoes what was done; what comes after it changes nothing and is a warning."""
        name = self.begin("r1")
        self.until(name, state="waiting")
        self.system.until_told("PUT", f"/loans/{name}/approval", {"decision": "refuse"})
        self.until(name, state="compensated", failure="not_approved")
        self.system.until_told("PUT", f"/loans/{name}/approval", {"decision": "approve", "by": "bob"})
        wait_for("the warning", lambda: '"saga.told"' in self.system.run("logs", "hub", "--level", "warn", "--json").stdout)
        self.assertEqual(self.system.participant.lines(name), [f"PUT /v1/blocks/{name}", f"DELETE /v1/blocks/{name}"])

    def test_event(self):
        """A saga goes on by another service's event of its id, whose hub is killed before and behind it; what is not its id is nothing to it."""
        system = self.system
        for name in ("e1", "e2"):
            self.assertEqual(system.run("saga", "start", "trade", name).returncode, 0)
        wait_for("the signal", lambda: system.json("saga", "show", "trade/e1")["state"] == "waiting")
        system.kill("hub")
        system.until_told("POST", "/bookings", {"id": "e1"}, "b1")
        system.kill("hub")
        shown = wait_for("its end", lambda: (lambda d: d.returncode == 0 and json.loads(d.stdout)["state"] == "completed" and d)(system.run("saga", "show", "trade/e1", "--json")), 30)
        self.assertIn('"actor":"service ledger","reason":"booking.placed"', shown.stdout)
        self.assertIn(("POST /trades/e1/send", '{"of":"e1"}', "trade/e1/send/do"), system.participant.seen)
        self.assertEqual(system.json("saga", "show", "trade/e2")["state"], "waiting")

    def test_none(self):
        """What is not there is 404; what is no loan is 422 and begins nothing."""
        self.assertEqual(self.system.ask("GET", "/loans/nobody")[0], 404)
        self.assertEqual(self.system.ask("PUT", "/loans/nobody/approval", {"decision": "approve"})[0], 404)
        self.assertEqual(self.system.ask("POST", "/loans", {"amount": 0}, "n1")[0], 422)

    def test_killed(self):
        """Hub and service are killed again and again, also while the hub is away: each loan that was acknowledged is begun, each decision
        that was acknowledged is taken, once."""
        system, names = self.system, []
        for i in range(6):
            names.append(self.begin(f"k{i}"))
            system.kill("hub" if i % 2 == 0 else "desk")
        for i, name in enumerate(names):
            self.until(name, state="waiting")
            system.until_told("PUT", f"/loans/{name}/approval", {"decision": "approve" if i % 3 != 0 else "refuse", "by": "ann"})
            system.kill("hub" if i % 2 == 0 else "desk")
        for i, name in enumerate(names):
            self.until(name, state="completed" if i % 3 != 0 else "compensated")
            last = {f"POST /v1/blocks/{name}/pay"} if i % 3 != 0 else {f"DELETE /v1/blocks/{name}"}
            self.assertEqual(set(system.participant.lines(name)) - {f"PUT /v1/blocks/{name}"}, last)
            history = [r["kind"] for r in system.json("saga", "show", name)["history"]]
            self.assertEqual(history.count("started") + history.count("signalled") + history.count("signal_refused"), 2)


def end():
    if SagaApi.system is not None:
        SagaApi.system.end()


def main():
    SagaApi.build, rest = build_folder(sys.argv[1:])
    return run_cases(rest, end)


if __name__ == "__main__":
    sys.exit(main())
