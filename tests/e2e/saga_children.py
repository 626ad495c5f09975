#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A saga in a saga, in a real system with the example of docs/sagas.md: parent and child end together while the hub is killed, operators
are led from one to the other, and what they say to one of them reaches the other. Each test's docstring states what it checks.

    tests/e2e/saga_children.py [--build FOLDER] [names of tests]
"""

import os
import re
import sys

from checks import run_cases
from sagas import SagaCase, System
from shop import ROOT, build_folder, wait_for


class Gifts(System):
    """The example's sagas; all its participants are this program."""

    def __init__(self, build):
        super().__init__(build, "saga_children")
        port = self.participant.server_address[1]
        with open(os.path.join(ROOT, "docs/sagas.md"), encoding="utf-8") as f:
            example = f.read().split("## A saga in a saga", 1)[1]
        self.example = re.search(r"^```yaml\n(.*?)^```$", example, re.M | re.S).group(1)
        for name in ("orders", "inventory", "payments"):
            self.write(f"services/{name}.yaml", f"service: {name}\nteam: t\ndoes: its part\nurl: http://127.0.0.1:{port}\nkeeps_keys: true\n")
        self.write("services/desk.yaml", "service: desk\nteam: t\ndoes: gifts\nrun: ../desk.py\n" + self.example)


class Children(SagaCase):
    @classmethod
    def setUpClass(cls):
        Children.system = Gifts(Children.build)
        Children.system.up()

    def waiting(self, gift):
        """A gift whose child waits to be weighed."""
        self.say("start", "gift", gift, "--input", '{"items": [1]}')
        self.until(gift, "waiting")
        self.until(f"{gift}.pack", "waiting")

    def lines(self, gift):
        return self.system.participant.lines(f"/{gift}")

    def test_killed(self):
        """The hub is killed while a child waits, and again while the child's last call has no answer: both are completed, and nothing
        was done twice but what had no answer."""
        self.waiting("k1")
        self.system.kill_hub()
        self.assertEqual(self.show("k1")["children"], [{"step": "pack", "saga": "packing", "id": "k1.pack", "state": "waiting"}])
        self.system.participant.otherwise = {"POST /v1/parcels/k1": 503}
        self.say("signal", "k1.pack", "weighed")
        wait_for("the last call", lambda: self.system.participant.lines("POST /v1/parcels/k1"))
        self.system.kill_hub()
        self.assertEqual(self.show("k1")["state"], "waiting")
        self.system.participant.otherwise.clear()
        self.until("k1", "completed")
        self.assertEqual(list(dict.fromkeys(self.lines("k1"))), ["PUT /v1/charges/k1", "PUT /v1/picks/k1", "POST /v1/parcels/k1", "POST /v1/orders/k1/confirm"])
        for line in ("PUT /v1/charges/k1", "PUT /v1/picks/k1", "POST /v1/orders/k1/confirm"):
            self.assertEqual(self.lines("k1").count(line), 1)
        kinds = [r["kind"] for r in self.show("k1")["history"] if r.get("step") == "pack"]
        self.assertEqual(kinds, ["do_begun", "child_started", "child_completed"])
        self.assertIn(("PUT /v1/picks/k1", '{"items":[1]}', "packing/k1.pack/pick/do"), self.system.participant.seen)

    def test_cancelled_and_killed(self):
        """A parent that is cancelled while its child's undo has no answer, with the hub killed in between: the child is undone first, then
        the parent; a completed child is undone by the step's undo."""
        self.waiting("c1")
        self.system.participant.otherwise = {"DELETE /v1/picks/c1": 503}
        self.assertIn("gift/c1: cancelled; it is undoing", self.say("cancel", "c1"))
        wait_for("the child's undo", lambda: self.system.participant.lines("DELETE /v1/picks/c1"))
        self.system.kill_hub()
        self.assertEqual(self.show("c1")["state"], "undoing")
        self.assertEqual(self.system.participant.lines("DELETE /v1/charges/c1"), [])
        self.system.participant.otherwise.clear()
        self.assertEqual(self.until("c1", "compensated")["failure"], "cancelled")
        self.assertEqual(self.show("c1.pack")["state"], "compensated")
        self.assertEqual(self.lines("c1")[-1], "DELETE /v1/charges/c1")
        self.assertEqual(self.system.participant.lines("DELETE /v1/parcels/c1"), [])
        self.system.participant.otherwise = {"POST /v1/orders/c2/confirm": 409}
        self.waiting("c2")
        self.say("signal", "c2.pack", "weighed")
        self.until("c2", "compensated")
        self.assertEqual(self.lines("c2")[-2:], ["DELETE /v1/parcels/c2", "DELETE /v1/charges/c2"])
        self.assertEqual(self.show("c2.pack")["state"], "completed")

    def test_operators(self):
        """From a stuck child to its parent and back; a refused signal of the child is the parent's failure; both tell whose they are."""
        self.system.participant.otherwise = {"DELETE /v1/picks/o1": 409}
        self.waiting("o1")
        self.say("signal", "packing/o1.pack", "weighed", "--refuse")
        self.until("o1.pack", "stuck")
        self.assertRegex(self.say("list", "--stuck"), r"packing +o1\.pack .* stuck .* child of gift/o1\n")
        self.assertRegex(self.say("show", "o1"), r"\n  child +packing/o1\.pack, step pack: stuck\n")
        self.assertRegex(self.say("show", "o1.pack"), r"\n  parent +gift/o1, step pack\n")
        self.assertRegex(self.say("describe", "gift"), r"pack +saga: packing undo: DELETE inventory:/v1/parcels/\{id\} timeout: 5s give_up: 2d")
        self.system.participant.otherwise.clear()
        self.say("retry", "o1.pack")
        self.assertEqual(self.until("o1", "compensated")["failure"], "refused")
        self.waiting("o2")
        self.say("terminate", "o2.pack", "--reason", "a test")
        self.assertEqual(self.until("o2", "compensated")["failure"], "terminated")
        self.waiting("o3")
        self.say("terminate", "o3", "--reason", "a test")
        self.assertIn("not undone: charge, pack", self.say("show", "o3"))
        self.assertEqual(self.show("o3.pack")["state"], "waiting")

    def test_removed(self):
        """The child's saga is gone from the manifest while children wait. Its instances end all the same, and their parents, but not before a
        saga of the manifest calls the services that they need."""
        desk = os.path.join(self.system.own, "services/desk.yaml")
        with open(desk, encoding="utf-8") as f:
            before = f.read()
        for gift in ("r1", "r2"):
            self.waiting(gift)
        without = re.sub(r"^ +- pack: .*\n", "", before.split("  packing:\n")[0], flags=re.M)
        self.assertNotEqual(without, before)
        self.change(without)
        self.assertIn("started", self.say("start", "gift", "r3", "--input", "{}"))
        self.until("r3", "completed")
        self.say("signal", "packing/r1.pack", "weighed")
        wait_for("the reason", lambda: "the hub may not call inventory: no saga of the manifest does any more" in self.system.run("logs", "hub").stdout)
        self.assertEqual(self.show("packing/r1.pack")["state"], "running")
        again = '      - look: { call: "PUT inventory:/v1/looks/{id}", undo: "DELETE inventory:/v1/looks/{id}" }\n'
        self.change(without.replace("      - confirm:", again + "      - confirm:"))
        self.until("r1", "completed")
        self.assertIn("cancelled", self.say("cancel", "r2"))
        self.until("r2", "compensated")
        self.assertEqual([self.show(f"packing/r{n}.pack")["state"] for n in (1, 2)], ["completed", "compensated"])
        self.change(before)

    def change(self, desk):
        self.system.write("services/desk.yaml", desk)
        self.assertEqual(self.system.run("reload").returncode, 0)
        self.assertEqual(self.system.run("restart", "hub").returncode, 0)
        wait_for("the hub", lambda: self.system.run("saga", "list").returncode == 0)


def end():
    if Children.system is not None:
        Children.system.end()


def main():
    Children.build, rest = build_folder(sys.argv[1:])
    return run_cases(rest, end)


if __name__ == "__main__":
    sys.exit(main())
