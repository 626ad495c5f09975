#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Consumers without libficus: a service in Python to which the hub posts events, and a script for which they are leased. Each answer means what
docs/consumers.md says; hub and service are killed at any moment and no event is lost, none of a key comes too early; lag, seek, dead letters.

    tests/e2e/groups.py [--build FOLDER]
"""

import base64
import hashlib
import hmac
import http.client
import http.server
import json
import os
import random
import re
import signal
import socket
import socketserver
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

from checks import run_checked
from shop import ROOT, OwnSystem, UnixConnection, build_folder, wait_for

# As in the docs, but it writes down what came, and answers as the event, or the folder "rules", wants it.
MAILER = '''
RULES = os.environ["TEST_FOLDER"]


def rule(event):
    name = os.path.join(RULES, "rules", event["subject"])
    if os.path.exists(name):
        with open(name, encoding="utf-8") as f:
            return f.read()
    return "204"


class Test(Handler):
    def do_POST(self):
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        what = rule(event)
        line = {"id": event["id"], "key": event["subject"], "n": event["data"]["n"], "type": event["type"], "sequence": int(event["sequence"]), "what": what,
                "content": self.headers["Content-Type"], "trace": self.headers["traceparent"], "event": event if event["data"]["n"] == 1 else None}
        with open(os.path.join(RULES, "mails"), "a", encoding="utf-8") as f:
            f.write(json.dumps(line) + "\\n")
        if what == "hang":
            time.sleep(600)
        body = b"" if what.isdigit() else json.dumps({"status": what}).encode()
        self.send_response(int(what) if what.isdigit() else 200)
        self.send_header("Content-Length", str(len(body))) if what != "204" else None
        self.end_headers()
        self.wfile.write(body)


Handler_of_the_docs, Handler = Handler, Test
'''

IDLE = '''import os, socket, time
socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM).sendto(b"READY=1", os.environ["NOTIFY_SOCKET"])
while True:
    time.sleep(3600)
'''

AUDIT = """#!/bin/sh
event=$(cat)
echo "$event" >> "$TEST_FOLDER/audit"
subject=$(echo "$event" | sed 's/.*"subject":"\\([^"]*\\)".*/\\1/')
exit $(cat "$TEST_FOLDER/codes/$subject" 2>/dev/null || echo 0)
"""

SERVICE = "service: %s\nteam: t\ndoes: nothing\n"


def part(value):
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


class Outside(http.server.ThreadingHTTPServer):
    """Somebody else's service, with a url."""

    daemon_threads = True

    def __init__(self):
        outside = self
        self.came = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                outside.came.append((self.path, self.headers.get("Ficus-Identity"), event))
                self.send_response(204)
                self.end_headers()

            def log_message(self, *_):
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class System(OwnSystem):
    def __init__(self, build):
        super().__init__(build, "groups")
        self.env["TEST_FOLDER"] = self.folder
        self.env["PATH"] = self.build + ":" + os.environ["PATH"]
        self.count = 0
        self.numbers = {}
        os.makedirs(os.path.join(self.folder, "rules"))     # of the mailer: statuses and words
        os.makedirs(os.path.join(self.folder, "codes"))     # of the script: exit codes
        with open(os.path.join(ROOT, "docs/consumers.md"), encoding="utf-8") as f:
            text = f.read()
        program = re.search(r"^```python\n(.*?)^```$", text, re.M | re.S).group(1)
        mailer, audit = re.findall(r"^```yaml\n(.*?)^```$", text, re.M | re.S)
        at = program.index("class Server")
        self.write("services/mailer/mailer.py", program[:at] + MAILER + "\n\n" + program[at:])
        self.write("services/mailer/service.yaml", mailer.replace("timeout: 10s", "timeout: 3s"))
        self.write("services/audit/service.yaml", audit.replace("timeout: 30s", "timeout: 2s"))
        self.write("services/audit/audit.sh", AUDIT)
        os.chmod(os.path.join(self.own, "services/audit/audit.sh"), 0o755)
        self.write("services/shop/idle.py", IDLE)
        self.write("services/shop/service.yaml", SERVICE % "shop" + "run: python3 idle.py\npublishes: { order.placed: {}, order.paid: { key: order }, other: {} }\n"
                   "flows: { mailed: { id: event, start: order.placed, steps: [ sent: { consumed_by: mailer, within: 1h } ] } }\n")
        self.write("services/reader/idle.py", IDLE)
        self.write("services/reader/service.yaml", SERVICE % "reader" + "run: python3 idle.py\nconsumes: [order.placed]\n")
        self.outside = Outside()
        self.write("services/outside/service.yaml", SERVICE % "outside" + f"url: http://127.0.0.1:{self.outside.server_port}\nconsumes: [order.paid]\ngroup: {{ to: /in, partitions: 3 }}\n")
        self.write("ficus.yaml", "ficus: 1\nsystem: letters\ninclude: [services/*/service.yaml]\n")

    # ---- the hub ----

    def sockets(self):
        with open(os.path.join(self.state, "run/sockets"), encoding="utf-8") as f:
            return f.read().strip()

    def hub(self, method, path, body=None, who=None):
        headers = {} if body is None else {"Content-Type": "application/cloudevents-batch+json" if path == "/v1/events" else "application/json"}
        if who is not None:
            with open(os.path.join(self.state, "system.key"), encoding="utf-8") as f:
                key = bytes.fromhex(f.read().strip())
            now = int(time.time())
            text = part(b'{"alg":"HS256"}') + "." + part(json.dumps({"iss": who, "aud": "hub", "iat": now, "exp": now + 30}).encode())
            headers["Ficus-Identity"] = text + "." + part(hmac.new(key, text.encode(), hashlib.sha256).digest())
        connection = UnixConnection(os.path.join(self.sockets(), "hub-ops.sock" if who is None else "hub.sock"))
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            raw = answer.read()
            return answer.status, json.loads(raw) if raw else None
        finally:
            connection.close()

    def events(self, keys, topic="order.placed", subject=None):
        """Numbered within their key, from 1."""
        events = []
        for key in keys:
            self.count += 1
            self.numbers[key] = self.numbers.get(key, 0) + 1
            events.append({"specversion": "1.0", "id": f"e{self.count}", "source": "/shop", "type": topic, "subject": subject or key,
                           "traceparent": f"00-{self.count:032x}-00000000000000aa-01", "data": {"n": self.numbers[key], "order": key}})
        return events

    def publish(self, keys, topic="order.placed", subject=None):
        """As a publisher does: the same again until it is acknowledged."""
        events = self.events(keys, topic, subject)
        for at in range(0, len(events), 50):
            def once():
                try:
                    return self.hub("POST", "/v1/events", events[at : at + 50], "shop")[0] == 200
                except OSError:
                    return False
                except http.client.HTTPException:
                    return False
            wait_for("a publish", once, 60)
        return events

    # ---- what came ----

    def rule(self, key, what, folder="rules"):
        path = os.path.join(self.folder, folder, key)
        if what is None:
            os.unlink(path)
        else:
            with open(path + ".new", "w", encoding="utf-8") as f:
                f.write(what)
            os.rename(path + ".new", path)

    def mails(self, key=None):
        try:
            with open(os.path.join(self.folder, "mails"), encoding="utf-8") as f:
                lines = [json.loads(line) for line in f if line.endswith("\n")]
        except FileNotFoundError:
            return []
        return [m for m in lines if key is None or m["key"] == key]

    def lag(self, name):
        lines = self.run("events", "lag", name, "--json").stdout.splitlines()
        return json.loads(lines[0]) if lines else {}

    def caught_up(self, name, seconds=60):
        return wait_for(f"{name} to have all", lambda: self.lag(name).get("behind") == 0, seconds, 0.2)

    def log(self, process, event):
        lines = self.run("logs", process, "--json").stdout.splitlines()
        return [line for line in map(json.loads, lines) if line.get("event") == event]


def check_plain(s, checks):
    """All come once, those of a key in order, with what a CloudEvent has."""
    keys = [f"plain-{i % 20}" for i in range(300)]
    s.publish(keys)
    s.publish(["plain-0"], "order.paid")
    s.publish(["plain-0"], "other")
    s.caught_up("mailer")
    mails = [m for m in s.mails() if m["key"].startswith("plain-")]
    order = {}
    for m in mails:
        order.setdefault(m["key"], []).append(m["n"])
    checks.check("each event came once", len(mails) == 301 and len({m["id"] for m in mails}) == 301, str(len(mails)))
    checks.check("in the order of its key", all(ns == sorted(ns) for ns in order.values()), str(order))
    first = next(m for m in mails if m["event"] is not None)
    checks.check("it is a CloudEvent in structured mode", first["content"].startswith("application/cloudevents+json") and first["event"]["specversion"] == "1.0"
                 and first["event"]["source"] == "/shop" and first["event"]["data"]["order"] == first["key"], str(first))
    checks.check("its trace goes on", first["trace"][3:35] == first["event"]["traceparent"][3:35], str(first))
    instances = lambda: s.json("saga", "describe", "mailed")["instances"]
    wait_for("the flow to end", lambda: instances()["running"] == 0 and instances()["completed"] >= 300)
    checks.check("as often the flow has ended", instances()["completed"] == 300, str(instances()))
    checks.check("the other topic did not come", not any(m["type"] == "other" for m in mails))


def check_answers(s, checks):
    for what in ("RETRY", "500", "422", "503", "429", "REDO"):
        key = "again-" + what
        s.rule(key, what)
        s.publish([key, key])
        wait_for(f"{key} twice", lambda key=key: len(s.mails(key)) >= 2)
        checks.check(f"{key}: what is not done holds up its key", {m["n"] for m in s.mails(key)} == {1}, str(s.mails(key)))
        s.rule(key, None)
        s.caught_up("mailer")
        checks.check(f"{key}: the same again, then the next", [m["n"] for m in s.mails(key) if m["what"] == "204"] == [1, 2], str(s.mails(key)))
    for what in ("DROP", "404"):
        key = "drop-" + what
        s.rule(key, what)
        s.publish([key, key])
        s.caught_up("mailer")
        checks.check(f"{key}: once, then the next", [m["n"] for m in s.mails(key)] == [1, 2], str(s.mails(key)))
    checks.check("a drop is logged", len([e for e in s.log("hub", "event.dropped") if e["subject"].startswith("drop-")]) == 4)
    status, metrics = raw(s, "/metrics")
    checks.check("and counted", status == 200 and re.search(r'events_settled_total\{consumer="mailer",outcome="DROP"\} 4\b', metrics), "")


def raw(s, path):
    connection = UnixConnection(os.path.join(s.sockets(), "hub-ops.sock"))
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def check_dead(s, checks):
    """Refused ten times it is a dead letter, also with a hub that dies meanwhile; the next of its key has its turn; an operator has the say."""
    s.rule("dead", "RETRY")
    s.rule("gone", "409")
    s.publish(["dead", "gone", "dead"])
    wait_for("three refusals", lambda: len(s.mails("dead")) >= 3)
    os.kill(s.pids()["hub"], signal.SIGKILL)

    def letters():
        lines = s.run("events", "dead", "--json").stdout.splitlines()
        return {(v["data"]["event"]["subject"], v["data"]["event"]["data"]["n"]): v for v in map(json.loads, lines)}

    wait_for("the dead letters", lambda: len(letters()) == 3, 120, 0.5)
    found = letters()
    times = len([m for m in s.mails("dead") if m["n"] == 1])
    checks.check("after ten refusals, in two lives of the hub", 10 <= times <= 11, str(times))
    checks.check("it says whose and why", all(v["data"]["consumer"] == "mailer" and v["source"] == "/mailer" for v in found.values())
                 and found[("dead", 1)]["data"]["reason"] == "RETRY" and found[("gone", 1)]["data"]["reason"].startswith("409"), str(found))
    s.caught_up("mailer")
    s.rule("dead", None)
    before = len(s.mails("dead"))
    said = s.run("events", "redrive", found[("dead", 1)]["sequence"])
    checks.check("redrive is taken", said.returncode == 0, said.stdout + said.stderr)
    wait_for("the redriven one", lambda: len(s.mails("dead")) > before)
    s.caught_up("mailer")
    last = s.mails("dead")[before:]
    checks.check("it comes once more, as it was", len(last) == 1 and last[0]["n"] == 1 and last[0]["id"] == found[("dead", 1)]["data"]["event"]["id"], str(last))
    s.run("events", "redrive", found[("dead", 1)]["sequence"])
    said = s.run("events", "drop", found[("gone", 1)]["sequence"], found[("dead", 2)]["sequence"])
    checks.check("drop closes the others", said.returncode == 0 and not letters(), said.stdout + said.stderr)
    s.caught_up("mailer")
    checks.check("said twice it is done once", len(s.mails("dead")) == before + 1)
    states = {v["sequence"]: v["state"] for v in map(json.loads, s.run("events", "dead", "--all", "--json").stdout.splitlines())}
    wanted = {found[("dead", 1)]["sequence"]: "redriven", found[("gone", 1)]["sequence"]: "dropped", found[("dead", 2)]["sequence"]: "dropped"}
    checks.check("--all --json says what became of each", states == wanted and all(v["state"] == "open" for v in found.values()), f"{states} {wanted}")


def check_kills(s, checks):
    """Hub and service die again and again: none is lost, and of a key one that comes again is the last that came."""
    keys = [f"kill-{i}" for i in range(16)]
    deaths = 0
    for _ in range(8):
        s.publish(random.choices(keys, k=60))
        for name in ("hub", "mailer", "audit"):
            pid = s.pids().get(name)
            if pid and random.random() < 0.8:
                os.kill(pid, signal.SIGKILL)
                deaths += 1
        s.publish(random.choices(keys, k=40))
    s.caught_up("mailer", 120)
    checks.check(f"{deaths} deaths", deaths >= 6)
    check_order(s, checks, "posted", {key: [m["n"] for m in s.mails(key)] for key in keys})


def check_order(s, checks, what, came):
    lost, early, twice = [], [], 0
    for key, ns in came.items():
        lost += [(key, n) for n in range(1, s.numbers.get(key, 0) + 1) if n not in ns]
        early += [(key, a, b) for a, b in zip([0] + ns, ns) if b not in (a, a + 1)]
        twice += len(ns) - len(set(ns))
    checks.check(f"{what}: none of the events was lost", not lost, str(lost[:5]))
    checks.check(f"{what}: the order of each key holds ({twice} came twice)", not early, str(early[:5]))


def check_lag(s, checks):
    """Who is away is seen to be; nothing counts as refused meanwhile."""
    s.run("stop", "mailer")
    s.publish([f"lag-{i}" for i in range(40)])
    wait_for("the group to notice", lambda: s.lag("mailer").get("state") == "no answer")
    lag = s.lag("mailer")
    checks.check("40 events wait", lag["behind"] == 40 and lag["age_ms"] >= 0 and len(lag["partitions"]) == 8, str(lag))
    text = s.run("events", "lag").stdout
    checks.check("the list says so", re.search(r"^mailer +delivered +no answer +40 ", text, re.M) and re.search(r"^  partition \d+ behind \d+: no answer: ", text, re.M), text)
    checks.check("who never came is there", re.search(r"^reader +own +never came +\d+", text, re.M), text)
    checks.check("a stranger is no consumer", s.run("events", "lag", "nobody").returncode == 1)
    s.run("start", "mailer")
    s.caught_up("mailer")
    checks.check("each came once", len([m for m in s.mails() if m["key"].startswith("lag-")]) == 40)
    wait_for("the metric", lambda: re.search(r'^events_lag\{consumer="mailer"\} 0$', raw(s, "/metrics")[1], re.M), 40, 0.5)
    status, answer = s.hub("GET", "/v1/events?topics=order.placed&after=0&limit=10", who="reader")
    reader = s.lag("reader")
    checks.check("one that keeps its own place is known by what it asks for", status == 200 and reader["state"] == "works" and reader["after"] == 0, str(reader))
    s.hub("GET", f"/v1/events?topics=order.placed&after={answer['next']}&limit=10", who="reader")
    checks.check("and counted from there", s.lag("reader")["behind"] == reader["behind"] - 10, f"{reader} {s.lag('reader')}")


def check_words(s, checks):
    """What a service says is shown, and gives the terminal no orders."""
    s.rule("words", "\x1b]0;x\x07\n\u009b2J caf\u00e9")
    s.publish(["words"])
    wait_for("a refusal", lambda: s.lag("mailer").get("state") == "refused")
    text = s.run("events", "lag", "mailer").stdout
    checks.check("control characters are not printed", "(?]0;x???2J caf\u00e9)" in text, repr(text))
    s.rule("words", None)
    s.caught_up("mailer")


def check_skip(s, checks):
    """An event that hangs its service holds its partition; the list says which, and an operator gets past it, once, by its number."""
    s.rule("hang", "hang")
    s.publish(["hang", "hang"])

    def held():
        return next((p for p in s.lag("mailer").get("partitions", []) if p.get("reason", "").startswith("no answer") and p["event"]["subject"] == "hang"), None)

    wait_for("the event to hang", held)
    p = held()
    number = p["event"]["offset"]
    first = s.mails("hang")[0]
    checks.check("the list says which event, since when and how often",
                 number == first["sequence"] and p["event"]["id"] == first["id"] and re.match(r"20\d\d-", p["since"]) and p["deliveries"] >= 1, str(p))
    text = s.run("events", "lag", "mailer").stdout
    checks.check("and how to get past it", re.search(rf"^    held by event {number}, order\.placed hang, since 20\S+, delivered \d+ times?; if it is the event's fault: ficus events skip mailer {number}$", text, re.M), text)
    for args, code, words in (
        (("mailer", str(number + 1)), 1, "is not the first of a partition"),
        (("reader", str(number)), 1, "keeps its own place"),
        (("mailer", "soon"), 2, "ficus events lag shows"),
        (("nobody", str(number)), 1, "consumes nothing"),
    ):
        said = s.run("events", "skip", *args)
        checks.check(f"skip {' '.join(args)} is refused", said.returncode == code and words in said.stderr, f"{said.returncode} {said.stderr}")
    said = s.run("events", "skip", "mailer", str(number), "--reason", "it hangs", "--json")
    letter = json.loads(said.stdout or "{}").get("letter")
    again = s.run("events", "skip", "mailer", str(number))
    checks.check("said twice it skips one", said.returncode == 0 and again.returncode == 1 and "nothing was skipped" in again.stderr, said.stderr + again.stderr)
    s.rule("hang", None)
    s.caught_up("mailer")
    checks.check("the next one came", s.mails("hang")[-1]["n"] == 2, str(s.mails("hang")))
    letters = [json.loads(line) for line in s.run("events", "dead", "--json").stdout.splitlines()]
    mine = [v for v in letters if v["sequence"] == str(letter)]
    checks.check("it is a dead letter that says who and why", len(mine) == 1 and mine[0]["data"]["event"]["id"] == first["id"]
                 and re.fullmatch(rf"skipped by (\S+ \()?uid {os.getuid()}\)?: it hangs", mine[0]["data"]["reason"]) and mine[0]["data"]["attempts"] >= 1, str(mine))
    checks.check("and the hub's log", [line["offset"] for line in s.log("hub", "event.skipped")] == [number], str(s.log("hub", "event.skipped")))
    checks.check("it is brought back", s.run("events", "redrive", str(letter)).returncode == 0)
    wait_for("the event again", lambda: s.mails("hang")[-1]["n"] == 1)
    s.caught_up("mailer")


def check_seek(s, checks):
    s.publish(["seek"] * 3)
    s.caught_up("mailer")
    time.sleep(0.01)
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + ".%03dZ" % (time.time() * 1000 % 1000)
    s.publish(["seek"] * 4)
    s.caught_up("mailer")
    first, count = s.mails("seek"), lambda: len(s.mails("seek"))
    for to, wanted in (("start", list(range(1, 8))), (str(first[4]["sequence"]), [5, 6, 7]), (at, [4, 5, 6, 7])):
        before = count()
        said = s.run("events", "seek", "mailer", "--to", to)
        checks.check(f"seek to {to} says what it did", said.returncode == 0 and "mailer goes on behind event" in said.stdout, said.stdout + said.stderr)
        wait_for("the events again", lambda: count() >= before + len(wanted), 60)
        s.caught_up("mailer")
        checks.check(f"seek to {to}: these again", [m["n"] for m in s.mails("seek")[before:]] == wanted, str([m["n"] for m in s.mails("seek")[before:]]))
    s.run("stop", "mailer")
    s.publish(["seek"] * 2)
    before = count()
    said = s.run("events", "seek", "mailer", "--to", "end")
    checks.check("seek to the end is done while the service is away", said.returncode == 0 and s.lag("mailer")["behind"] == 0, said.stderr)
    s.run("start", "mailer")
    s.publish(["seek"])
    s.caught_up("mailer")
    checks.check("what was left out does not come", [m["n"] for m in s.mails("seek")[before:]] == [10], str(s.mails("seek")[before:]))
    for args, code, words in (
        (("reader", "--to", "end"), 1, "keeps its own place"),
        (("reader", "--to", "end"), 1, "events rebuild"),
        (("nobody", "--to", "end"), 1, "consumes nothing"),
        (("mailer", "--to", "yesterday"), 2, "2026-11-21T01:02:03Z"),
        (("mailer", "--to", "99999999999999999"), 2, "number of an event"),
        (("mailer", "--to", "x" * 5000), 2, "--to is too long"),
        (("mailer",), 2, "--to start"),
    ):
        said = s.run("events", "seek", *args)
        checks.check(f"seek {' '.join(args)[:40]} is refused", said.returncode == code and words in said.stderr, f"{said.returncode} {said.stderr}")
    said = s.run("events", "rebuild", "mailer")
    checks.check("a group is not rebuilt, and it is said what to do", said.returncode == 1 and "ficus events seek mailer --to start" in said.stderr, f"{said.returncode} {said.stderr}")


def check_consume(s, checks):
    """The supervised member has had all until now; then members from the shell."""
    s.caught_up("audit", 300)

    def audit(prefix):
        with open(os.path.join(s.folder, "audit"), encoding="utf-8") as f:
            return [e for e in map(json.loads, f) if e["subject"].startswith(prefix)]

    plain = audit("plain-")
    checks.check("the script had each event", len({e["id"] for e in plain}) == 301 and len(plain) <= 301 + 4 * 16, str(len(plain)))
    killed = audit("kill-")
    check_order(s, checks, "leased, with members that die", {f"kill-{i}": [e["data"]["n"] for e in killed if e["subject"] == f"kill-{i}"] for i in range(16)})
    s.run("stop", "audit")
    for key, code in (("code-75", "75"), ("code-1", "1"), ("code-65", "65")):
        s.rule(key, code, "codes")
    s.publish(["code-75", "code-1", "code-65", "code-0"] * 2)
    wait_for("no member", lambda: s.lag("audit").get("state") == "no member")

    def consume(*command, seconds=60):
        words = [s.ficus, "events", "consume", "audit", "--drain", "-f", s.manifest, "--", *command]
        return subprocess.run(words, env=s.env, capture_output=True, text=True, timeout=seconds, check=False)

    script = os.path.join(s.own, "services/audit/audit.sh")
    said = consume("./no-such-program")
    checks.check("a command that cannot be run ends it, and refuses nothing", said.returncode == 1 and "No such file" in said.stderr, said.stderr)
    status, lease = s.hub("POST", "/v1/groups/audit/lease?wait=10000", who="audit")
    checks.check("a member leases by HTTP", status == 200 and len(lease["events"]) == 1 and lease["epoch"] > 0, str(lease))
    settle = {"partition": lease["partition"], "epoch": lease["epoch"], "offset": lease["events"][0]["sequence"], "status": "SUCCESS"}
    status, said_late = s.hub("POST", "/v1/groups/audit/settle", dict(settle, epoch=settle["epoch"] - 1))
    checks.check("another epoch is fenced", status == 409 and said_late["code"] == "fenced", str(said_late))
    checks.check("its own is not", s.hub("POST", "/v1/groups/audit/settle", settle, who="audit")[0] == 204)
    checks.check("said again it is done", s.hub("POST", "/v1/groups/audit/settle", settle)[0] == 204)
    checks.check("others may not", s.hub("POST", "/v1/groups/audit/settle", settle, who="reader")[0] == 403)
    checks.check("what is delivered is not leased", s.hub("POST", "/v1/groups/mailer/lease")[0] == 409)
    checks.check("what is no settling is refused", s.hub("POST", "/v1/groups/audit/settle", dict(settle, status="DONE"))[0] == 400)
    wait_for("the refused ones again", lambda: consume(script).returncode == 0 and len([e for e in audit("code-75")]) >= 2, 60, 0.3)
    for key in ("code-75", "code-1", "code-65"):
        s.rule(key, None, "codes")
    wait_for("all to be done", lambda: consume(script).returncode == 0 and s.lag("audit")["behind"] == 0, 60, 0.3)
    done = {key: [e["data"]["n"] for e in audit(key)] for key in ("code-75", "code-1", "code-65")}
    settled = [k for k, ns in done.items() if sorted(set(ns)) != [1, 2] and settle["offset"] not in [e["sequence"] for e in audit("code-")]]
    checks.check("each was done, one behind the other", all(ns == sorted(ns) and len(ns) >= 1 for ns in done.values()), f"{done} {settled}")
    checks.check("65 drops", done["code-65"].count(1) <= 1, str(done))
    s.publish(["slow"])
    started = time.monotonic()
    said = consume("sleep", "60")
    checks.check("one that takes too long is killed, and refused", said.returncode == 0 and "took too long" in said.stderr and time.monotonic() - started < 30, said.stderr)
    s.run("stop", "hub")
    said = consume("true")
    checks.check("a hub that was stopped is said at once", said.returncode == 3 and "ficus start hub" in said.stderr, f"{said.returncode} {said.stderr}")
    s.run("start", "hub")
    s.run("start", "audit")
    s.caught_up("audit")
    checks.check("and done by the next", len(audit("slow")) == 1)


def check_ends(s, checks):
    """A member that is asked to end ends its command, settles its event, and gives the rest back: the next has it before the lease would be over."""
    manifest = os.path.join(s.own, "services/audit/service.yaml")
    with open(manifest, encoding="utf-8") as f:
        text = f.read()
    s.write("services/audit/service.yaml", text.replace("timeout: 2s", "timeout: 5m"))
    s.run("down")
    s.up()
    s.run("stop", "audit")
    s.publish(["rest"] * 4)
    begun, go, words = os.path.join(s.folder, "begun"), os.path.join(s.folder, "go"), [s.ficus, "events", "consume", "audit", "-f", s.manifest, "--"]
    slow = subprocess.Popen([*words, "sh", "-c", f"cat > {begun}; until test -e {go}; do sleep 0.05; done"], env=s.env, stderr=subprocess.PIPE, text=True)
    try:
        wait_for("the first", lambda: os.path.exists(begun) and os.path.getsize(begun) > 0)
        slow.send_signal(signal.SIGTERM)
        s.write("../go", "")
        said = slow.communicate(timeout=60)[1]
    finally:
        slow.kill()
    checks.check("asked to end it ends by itself", slow.returncode == 0 and said == "", f"{slow.returncode} {said}")
    three = os.path.join(s.folder, "three")
    subprocess.run([*words[:4], "--drain", *words[4:], "sh", "-c", f"cat >> {three}; echo >> {three}"], env=s.env, timeout=60, check=True)
    with open(three, encoding="utf-8") as f:
        came = [json.loads(line)["data"]["n"] for line in f if line.strip()]
    checks.check("the next has the rest of its lease at once", len(came) == 3 and came == sorted(came), str(came))
    s.write("services/audit/service.yaml", text)
    s.run("down")
    s.up()


class OneEvent(http.server.BaseHTTPRequestHandler):
    """A hub that leases one event, and answers to what became of it as it is told."""

    def address_string(self):
        return ""

    def log_message(self, format, *args):  # pylint: disable=redefined-builtin
        pass

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"] or 0))
        settles = self.path.endswith("/settle")
        if settles and self.server.answer == 0:
            self.connection.shutdown(socket.SHUT_RDWR)
            self.close_connection = True
            return
        events = [] if settles or self.server.leased else [{"id": "one", "sequence": "1"}]
        self.server.leased = True
        body = json.dumps({"partition": 0, "epoch": 1, "lease_ms": 60000, "events": events}).encode()
        self.send_response(self.server.answer if settles else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def check_unsettled(s, checks):
    """When the hub does not take what became of an event, it is told why."""
    with tempfile.TemporaryDirectory() as state:
        os.mkdir(os.path.join(state, "run"))
        with socketserver.ThreadingUnixStreamServer(os.path.join(state, "run/hub-ops.sock"), OneEvent) as hub:
            threading.Thread(target=hub.serve_forever, daemon=True).start()
            for answer, words, others in ((409, "too late", "answered"), (503, "the hub answered 503", "too late"), (0, "did not answer", "too late")):
                hub.answer, hub.leased = answer, False
                said = subprocess.run([s.ficus, "events", "consume", "audit", "--drain", "--", "true"], env=dict(s.env, FICUS_STATE=state), capture_output=True,
                                      text=True, timeout=60, check=False)
                checks.check(f"settling answered with {answer} is told as it was", said.returncode == 0 and words in said.stderr and others not in said.stderr,
                             f"{said.returncode} {said.stderr}")
            hub.shutdown()


def check_outside(s, checks):
    """A service at a url; and the declared key is what keeps the order: all of these have one subject."""
    s.caught_up("outside")
    before = len(s.outside.came)
    keys = [f"paid-{i % 9}" for i in range(90)]
    s.publish(keys, "order.paid", "one-subject")
    s.caught_up("outside")
    came = s.outside.came[before:]
    order = {}
    for _, _, event in came:
        order.setdefault(event["data"]["order"], []).append(event["data"]["n"])
    checks.check("a service at a url gets its events, in the order of the declared key", order == {k: list(range(1, 11)) for k in set(keys)}, str(order))
    checks.check("at its path, without an identity", all(path == "/in" and identity is None for path, identity, _ in came))
    lag = s.lag("outside")
    checks.check("over all partitions", len({p["settled"] for p in lag["partitions"]}) >= 1 and lag["kind"] == "delivered", str(lag))


def check_lost(s, checks):
    """What retention took before it came is told, and the rest comes. The retention is ours: it would take days."""
    s.run("stop", "mailer")
    events = s.publish(["lost"] * 5)
    after = s.lag("mailer")["after"]
    s.down()
    with sqlite3.connect(os.path.join(s.state, "data/hub-log.db")) as db:
        db.execute("INSERT INTO cut(topic, offset) VALUES('order.placed', ?) ON CONFLICT DO UPDATE SET offset = excluded.offset", (after + 2,))
    db.close()
    s.up()
    s.caught_up("mailer")
    lost = [line for line in s.log("hub", "events.lost") if line["consumer"] == "mailer"]
    checks.check("what retention took is told with topic and offsets", len(lost) == 1 and lost[0]["topic"] == "order.placed" and lost[0]["upto"] == after + 2, str(lost))
    checks.check("what is left comes", [m["n"] for m in s.mails("lost")] == [1, 2, 3, 4, 5] and len(events) == 5, str(s.mails("lost")))


def check_docs(checks):
    """Each word, state and command of the docs is one, and each one has its line."""
    def read(name):
        with open(os.path.join(ROOT, name), encoding="utf-8") as f:
            return f.read()

    def cells(heading):
        rows = re.match(r"\n\|[-|]+\|\n((?:\|.*\n)+)", docs.split(heading, 1)[1]).group(1).splitlines()
        return {re.search(r"`([^`]+)`", row).group(1) for row in rows}

    docs, table, api = read("docs/consumers.md"), read("src/manifest/manifest_table.c"), read("docs/hub-api.yaml")
    words = set(re.findall(r'\{\.name = "(\w+)"', table.split("group_settings[] = {")[1].split("};")[0]))
    checks.check("the docs have each word of a group", cells("| word | meaning |") == words, f"{cells('| word | meaning |')} {words}")
    states = set(re.search(r"state: \{ enum: \[(idle.*?)\] \}", api).group(1).split(", "))
    checks.check("and each state", cells("| state | meaning |") == states, f"{cells('| state | meaning |')} {states}")
    source = read("src/hub/hub_lag.c")
    checks.check("which are those of the hub", all(f'"{state}"' in source for state in states))
    statuses = {int(n) for n in re.search(r"list\[\] = \{([\d, ]+)\}", read("src/hub/hub_deliver.c")).group(1).split(", ")}
    row = next(line for line in docs.splitlines() if "not now" in line and line.startswith("|"))
    checks.check("and each status that says not now", {int(n) for n in re.findall(r"\b\d{3}\b", row)} == statuses, row)


def check_partitions(s, checks):
    """Another number of partitions: nothing is lost, the order holds."""
    s.down()
    path = os.path.join(s.own, "services/mailer/service.yaml")
    with open(path, encoding="utf-8") as f:
        text = f.read()
    s.write("services/mailer/service.yaml", text.replace("partitions: 8", "partitions: 3"))
    before = len(s.mails())
    s.up()
    s.publish(["moved-%d" % (i % 7) for i in range(70)])
    s.caught_up("mailer")
    came = [m for m in s.mails()[before:] if m["key"].startswith("moved-")]
    order = {}
    for m in came:
        order.setdefault(m["key"], []).append(m["n"])
    checks.check("all came in order after a change of partitions", all(ns == list(range(1, 11)) for ns in order.values()) and len(order) == 7, str(order))
    checks.check("it is said", len(s.log("hub", "group.repartitioned")) == 1)


def run(s, checks):
    s.up()
    check_plain(s, checks)
    check_answers(s, checks)
    check_dead(s, checks)
    check_kills(s, checks)
    check_lag(s, checks)
    check_words(s, checks)
    check_skip(s, checks)
    check_seek(s, checks)
    check_consume(s, checks)
    check_ends(s, checks)
    check_unsettled(s, checks)
    check_outside(s, checks)
    check_partitions(s, checks)
    check_lost(s, checks)
    check_docs(checks)


def main():
    build, rest = build_folder(sys.argv[1:])
    if rest:
        print(__doc__, file=sys.stderr)
        return 2
    return run_checked(System(build), run)


if __name__ == "__main__":
    sys.exit(main())
