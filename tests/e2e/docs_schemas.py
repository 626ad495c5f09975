#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/schemas.md is true: its three versions of a topic, one after the other, in a system that runs. What does not fit is not emitted, what does not read the version before is
refused as shown, what is registered cannot change, consumers only see the newest shape, and one without the upcaster refuses until it has it.

    tests/e2e/docs_schemas.py [--build FOLDER]
"""

import json
import os
import re
import subprocess
import sys

from checks import run_checked
from shop import ROOT, Shop, build_folder, wait_for

MANIFEST = """ficus: 1
system: parcels
include: [services/*/service.yaml]
gateway:
  routes:
    - { method: PUT, path: "/parcels/{id}", to: "sender:/v1/parcels/{id}" }
    - { method: GET, path: /sent, to: "sender:/v1/parcels" }
    - { method: GET, path: /parcels, to: "tracking:/v1/parcels" }
"""
TABLE = "CREATE TABLE parcel (id TEXT PRIMARY KEY, data TEXT NOT NULL) STRICT;\n"
SERVICE = "service: %s\nteam: t\ndoes: d\nrun: [%s, %s]\nstore: sqlite:%s.db\nmigrations: migrations\n"


def blocks():
    """First line (without its comment sign) -> text of each block of the page; the shown errors as "errors"."""
    with open(os.path.join(ROOT, "docs/schemas.md"), encoding="utf-8") as f:
        page = f.read()
    found = {}
    for fence, text in re.findall(r"^```(\w+)\n(.*?)^```$", page, re.M | re.S):
        first, rest = text.split("\n", 1)
        if fence in ("yaml", "json"):
            found[first.lstrip("#/ ")] = rest
        elif fence == "text":
            found["errors"] = text
        elif fence == "sh":
            found["commands"] = text
    return found


class Parcels(Shop):
    def __init__(self, build):
        super().__init__(build, "docs_schemas")
        self.system = os.path.join(self.folder, "system")
        self.manifest = os.path.join(self.system, "ficus.yaml")
        self.program = os.path.join(self.build, "tests/e2e/parcels")
        self.blocks = blocks()
        self.write("ficus.yaml", MANIFEST)
        for name in ("sender", "tracking"):
            self.write(f"services/{name}/migrations/0001_parcel.sql", TABLE)
        self.tracking("old")
        self.version(1)

    def write(self, path, text):
        path = os.path.join(self.system, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)

    def tracking(self, how):
        text = SERVICE % ("tracking", self.program, "tracking, old" if how == "old" else "tracking", "tracking")
        self.write("services/tracking/service.yaml", text + "rebuildable: true\nconsumes: [parcel.sent]\n")

    def version(self, number):
        """The files of this version, as the page shows them."""
        name = "services/sender/service.yaml"
        with_run = SERVICE % ("sender", self.program, "sender", "sender")
        self.write(name, with_run + self.blocks[name if number == 1 else f"{name}, version {number}"])
        for path in ("parcel.sent.json", "parcel.sent.v2.json", "parcel.sent.v3.json")[:number]:
            self.write("services/sender/events/" + path, self.blocks["services/sender/events/" + path])

    def config_check(self):
        return subprocess.run([self.ficus, "config", "check"], cwd=self.system, env=self.env, capture_output=True, text=True, timeout=60, check=False)

    def put(self, name, data):
        return self.request("PUT", "/parcels/" + name, data)

    def seen(self):
        a = self.request("GET", "/parcels")
        return a.json if a.status == 200 else {}

    def count(self):
        return next(t["count"] for t in self.lines("events", "topics") if t["topic"] == "parcel.sent")


def says(done):
    return f"exit code {done.returncode}: {done.stdout}{done.stderr}"


def check_first(s, checks):
    done = s.config_check()
    checks.check("version 1 is taken", done.returncode == 0, says(done))
    s.up()
    checks.check("what fits is taken", s.put("a", {"to": "Ann", "kilograms": 1.5}).status == 202)
    wait_for("a", lambda: s.seen() == {"a": {"to": "Ann", "kilograms": 1.5}})
    for what, data, place in (
        ("a member that is missing", {"to": "Bob"}, 'required: \\"kilograms\\" is missing'),
        ("another type", {"to": "Bob", "kilograms": "2"}, "/kilograms: type: found string, allowed is number"),
        ("a member that is not named", {"to": "Bob", "kilograms": 2, "cash": 1}, "/cash: additionalProperties"),
    ):
        answer = s.put("b", data)
        log = s.run("logs", "sender", "--json").stdout
        checks.check(f"{what}: 500 and its place in the log", answer.status == 500 and answer.json["code"] == "schema" and place in log, f"{answer} {log[-2000:]}")
        checks.check(f"{what}: no value in the log", "Bob" not in log, log[-2000:])
    checks.check("nothing of them was done", s.request("GET", "/sent").json == {"a": None} and s.count() == 1, str(s.request("GET", "/sent")))


def check_wrong(s, checks):
    s.version(2)
    s.write("services/sender/events/parcel.sent.v2.json", s.blocks["wrong"])
    done = s.config_check()
    shown = re.sub(r"service.yaml:\d+:", "service.yaml:N:", s.blocks["errors"])
    checks.check("what does not read version 1 is refused as shown", done.returncode == 2 and re.sub(r"service.yaml:\d+:", "service.yaml:N:", done.stderr) == shown, says(done))
    done = s.run("reload")
    checks.check("and by reload, which changes nothing", done.returncode != 0 and "became required" in done.stdout + done.stderr, says(done))
    s.write("services/sender/events/parcel.sent.v2.json", '{ "type": "object", "dependentRequired": {} }')
    done = s.config_check()
    checks.check("a word that is not supported has its place", "parcel.sent.v2.json:1:42: dependentRequired: is not supported by this version" in done.stderr, says(done))


def check_second(s, checks):
    s.version(2)
    done = s.run("reload")
    checks.check("version 2 is taken by reload", done.returncode == 0 and "ficus restart sender" in done.stdout, says(done))
    s.run("restart", "sender")
    checks.check("the hub does not know it yet: the sender takes it all the same", s.put("b", {"to": "Bob", "kilograms": 2, "note": "fragile"}).status == 202)
    wait_for("the relay is told to wait", lambda: "this hub knows version 1" in s.run("logs", "sender", "--json").stdout, 40)
    checks.check("and the event is not in the log yet", s.count() == 1)
    s.run("restart", "hub")
    s.run("restart", "tracking")
    wait_for("b", lambda: s.seen().get("b") == {"to": "Bob", "kilograms": 2, "note": "fragile"}, 60)
    checks.check("nothing was lost, nothing twice", s.count() == 2)


def check_registered(s, checks):
    for command in s.blocks["commands"].strip().split("\n"):
        done = s.run(*command.split("#")[0].split()[1:])
        checks.check(command.split("#")[0].strip(), done.returncode == 0 and done.stdout != "", says(done))
    first = s.run("events", "schema", "parcel.sent", "1").stdout
    page = json.loads(s.blocks["services/sender/events/parcel.sent.json"])
    checks.check("version 1 is as it was", json.loads(first) == page, first)
    page["title"] = "A parcel left."
    s.write("services/sender/events/parcel.sent.json", json.dumps(page))
    checks.check("a title may come", s.config_check().returncode == 0)
    page["properties"]["to"]["minLength"] = 2  # version 2 would read that, too
    s.write("services/sender/events/parcel.sent.json", json.dumps(page))
    done = s.config_check()
    checks.check("what is registered cannot change", done.returncode == 2 and "version 1 of parcel.sent was registered otherwise" in done.stderr, says(done))
    done = s.run("reload")
    checks.check("neither by reload", done.returncode != 0 and "registered otherwise" in done.stdout + done.stderr, says(done))


def check_third(s, checks):
    s.version(3)
    done = s.run("reload")
    checks.check("version 3, which breaks, is taken", done.returncode == 0, says(done))
    for name in ("hub", "tracking", "sender"):
        s.run("restart", name)
    wait_for("tracking serves", lambda: "b" in s.seen(), 60)
    checks.check("a consumer without the upcaster says so", "schema.behind" in s.run("logs", "tracking", "--json").stdout)
    checks.check("version 2 is not taken any more", s.put("x", {"to": "Cid", "kilograms": 2}).status == 500)
    checks.check("version 3 is", s.put("c", {"to": "Cid", "grams": 300}).status == 202)
    letters = wait_for("a dead letter", lambda: s.run("events", "dead", "--json").stdout.strip(), 90)
    letter = json.loads(letters.split("\n")[0])
    checks.check("the reason is clear", "version 3 of parcel.sent, this service knows 2" in letter["data"]["reason"], letters)
    checks.check("the event has its version", letter["data"]["event"]["dataschema"] == "urn:ficus:schema:parcel.sent:3", letters)
    s.tracking("new")
    s.run("reload")
    s.run("restart", "tracking")
    done = s.run("events", "redrive", "--all")
    checks.check("it is brought back", done.returncode == 0, says(done))
    wait_for("c", lambda: s.seen().get("c") == {"to": "Cid", "grams": 300}, 60)
    checks.check("what was handled before is as it was", s.seen().get("a") == {"to": "Ann", "kilograms": 1.5}, str(s.seen()))


def check_rebuild(s, checks):
    """The whole log again: the handler sees the newest shape of all."""
    done = s.run("events", "rebuild", "tracking")
    checks.check("tracking is rebuilt", done.returncode == 0, says(done))
    want = {"a": {"to": "Ann", "grams": 1500}, "b": {"to": "Bob", "grams": 2000, "note": "fragile"}, "c": {"to": "Cid", "grams": 300}}
    wait_for("the newest shape of all", lambda: s.seen() == want, 30)
    checks.check("old events come in the newest shape", s.seen() == want, str(s.seen()))


def check_back(s, checks):
    """The release before: a shorter list is no change; what was registered stays."""
    s.version(1)
    done = s.run("reload")
    checks.check("a shorter list is no change", done.returncode == 0, says(done))
    checks.check("all versions stay registered", len(s.run("events", "schema", "parcel.sent").stdout.strip().split("\n")) == 3)


def run(s, checks):
    check_first(s, checks)
    check_wrong(s, checks)
    check_second(s, checks)
    check_registered(s, checks)
    check_third(s, checks)
    check_rebuild(s, checks)
    check_back(s, checks)


def main():
    build, _ = build_folder(sys.argv)
    s = Parcels(build)
    return run_checked(s, run)


if __name__ == "__main__":
    sys.exit(main())
