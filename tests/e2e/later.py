#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Events that wait for their time, schedules, and what operators say and read in the log, in a real system whose hub is killed again
and again: each event comes, not early, and once. And the commands of docs/events.md about them do what it says.

    tests/e2e/later.py [--build FOLDER]
"""

import calendar
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

from checks import run_checked
from shop import ROOT, Shop, build_folder, wait_for

COUNT = 300
KILLS = 6


class System(Shop):
    def __init__(self, build):
        super().__init__(build, "later")
        self.manifest = os.path.join(ROOT, "tests/e2e/later/ficus.yaml")

    def came(self, topic=None):
        answer = self.request("GET", "/came")
        if answer.status != 200:
            return []
        return [e for e in answer.json if topic in (None, e["topic"])]

    def waiting(self):
        return [v for v in self.lines("events", "scheduled") if "number" in v]

    def hub_log(self, event):
        lines = self.run("logs", "hub", "--json").stdout.splitlines()
        return [line for line in map(json.loads, lines) if line.get("event") == event]

    def kill_hub(self):
        pid = self.pids().get("hub")
        if pid:
            os.kill(pid, signal.SIGKILL)
            wait_for("the next hub", lambda: self.pids().get("hub", pid) != pid)

    def curl(self, method, path, *args):
        """As an operator: (status, body)."""
        with open(os.path.join(self.state, "run/sockets"), encoding="utf-8") as f:
            sock = os.path.join(f.read().strip(), "hub-ops.sock")
        command = ["curl", "-sS", "--max-time", "20", "--unix-socket", sock, "-X", method, "-w", "\n%{http_code}", *args, "http://hub" + path]
        out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        body, status = out.rsplit("\n", 1)
        return int(status), body


def check_reminders(system, checks):
    """Hundreds of them, due while the hub is killed again and again."""
    for i in range(COUNT):
        answer = system.request("PUT", f"/reminders/r{i}/{2000 + i * 30}")
        assert answer.status == 204, answer
    checks.check("the hub has them", wait_for("them to wait", lambda: len(system.waiting()) + len(system.came("reminder.due")) > COUNT // 2))
    for _ in range(KILLS):
        system.kill_hub()
        time.sleep(0.7)
    wait_for("all of them", lambda: len(system.came("reminder.due")) >= COUNT, 60)
    time.sleep(1)
    events = system.came("reminder.due")
    checks.check(f"{COUNT} reminders came once each through {KILLS} kills", sorted(e["subject"] for e in events) == sorted(f"r{i}" for i in range(COUNT)),
                 f"{len(events)} events, {len({e['subject'] for e in events})} subjects")
    checks.check("none came early", not any(e["early"] for e in events))
    checks.check("none waits any more", system.waiting() == [])


def check_schedule(system, checks):
    """A time of each second: none twice; after a pause the last, and how many there were before."""
    wait_for("times", lambda: len(system.came("report.due")) >= 3)
    pid = system.pids()["hub"]
    os.kill(pid, signal.SIGSTOP)
    time.sleep(4)
    os.kill(pid, signal.SIGKILL)
    before = len(system.came("report.due"))
    wait_for("times again", lambda: len(system.came("report.due")) >= before + 3, 40)
    events = [e["data"] for e in system.came("report.due")]
    times = [e["at"] for e in events]
    checks.check("each time once, in order", times == sorted(set(times)), str(times))
    checks.check("all of the one schedule", all(e["schedule"] == "often" for e in events), str(events))
    first, last = (calendar.timegm(time.strptime(t[:19], "%Y-%m-%dT%H:%M:%S")) for t in (times[0], times[-1]))
    told = sum(1 + e["missed"] for e in events[1:])
    checks.check("what was missed is counted", told == last - first and any(e["missed"] >= 2 for e in events), f"{told} of {last - first}")
    ids = [e["id"] for e in system.lines("events", "read", "report.due")]
    checks.check("their ids are made of the times", len(ids) == len(set(ids)) and all(i[14] == "8" for i in ids), str(ids[:3]))
    listed = [v for v in system.lines("events", "scheduled") if "schedule" in v]
    checks.check("both schedules are listed", sorted(v["schedule"] for v in listed) == ["/reminders/schedules/nightly", "/reminders/schedules/often"], str(listed))
    checks.check("nightly is at two", next(v for v in listed if "nightly" in v["schedule"])["next"][11:] == "02:00:00.000Z", str(listed))


def check_operator(system, checks):
    """Publishing, reading, removing by hand."""
    begin = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 1))
    said = system.run("events", "publish", "reminder.due", "--subject", "by-hand", "--data", '{"id": "by-hand"}', "--id", "one")
    again = system.run("events", "publish", "reminder.due", "--subject", "by-hand", "--data", '{"id": "by-hand"}', "--id", "one")
    checks.check("an operator publishes, twice is once", said.returncode == 0 and again.returncode == 0, said.stderr + again.stderr)
    path = os.path.join(system.folder, "data.json")
    with open(path, "w", encoding="utf-8") as f:
        f.write('{\n  "id": "file"\n}\n')
    said = system.run("events", "publish", "reminder.due", "--subject", "file", "--data", "@" + path)
    checks.check("from a file", said.returncode == 0, said.stderr)
    wait_for("it", lambda: any(e["subject"] == "file" for e in system.came("reminder.due")))
    found = [e for e in system.lines("events", "read", "reminder.due", "--since", begin) if e["id"] == "one"]
    checks.check("read by time finds it once, with who said it", len(found) == 1 and found[0]["source"] == f"/operator/{os.geteuid()}", str(found))
    offset = str(int(found[0]["sequence"]) - 1)
    same = system.lines("events", "read", "reminder.due", "report.due", "--after", offset, "--limit", "1")
    checks.check("read by offset finds it", [e["id"] for e in same] == ["one"], str(same))
    same = system.lines("events", "read", "reminder.due", "--subject", "by-hand")
    checks.check("read by subject finds it", [e["id"] for e in same] == ["one"], str(same))
    checks.check("the hub's log says who", any(line.get("id") == "one" and line.get("uid") == os.geteuid() for line in system.hub_log("events.operator_published")))
    later = system.run("events", "publish", "reminder.due", "--subject", "never", "--data", '{"id":"never"}', "--at", "1h")
    listed = [v for v in system.waiting() if v["event"]["subject"] == "never"]
    checks.check("for later: it waits", later.returncode == 0 and "waits until" in later.stdout and len(listed) == 1, later.stdout + later.stderr)
    number = str(listed[0]["number"])
    system.kill_hub()
    gone = wait_for("the hub to remove it", lambda: (lambda d: d if d.returncode == 0 else None)(system.run("events", "unschedule", number)), 20)
    checks.check("removed, and not twice", "does not come" in gone.stdout and system.run("events", "unschedule", number).returncode == 1)
    checks.check("and said so", any(line.get("subject") == "never" for line in system.hub_log("events.unscheduled")))
    for what, args, message in (
        ("a topic that nobody has", ["reminder.du"], "no service publishes reminder.du, and the log has no event of it (did you mean reminder.due?); ficus events topics"),
        ("one among others, to follow", ["reminder.due", "nobody.has", "--follow"], "no service publishes nobody.has"),
    ):
        done = system.run("events", "read", *args)
        checks.check(f"read is refused: {what}", done.returncode == 1 and message in done.stderr and done.stdout == "", f"{done.returncode} {done.stderr}")
    checks.check("the log's own topics are there without an event", system.run("events", "read", "ficus.dead.closed").returncode == 0)
    for what, args, message, code in (
        ("a topic of nobody", ["nobody.has", "--data", "1"], "published by no service", 1),
        ("data that is no JSON", ["reminder.due", "--data", "{"], "data", 2),
        ("too far ahead", ["reminder.due", "--at", "2999-01-01T00:00:00Z"], "more than 366 days ahead", 2),
        ("too far ahead, as a duration", ["reminder.due", "--data", "{}", "--at", "400d"], "more than 366 days ahead", 2),
        ("no time", ["reminder.due", "--at", "tomorrow"], "no time", 2),
    ):
        done = system.run("events", "publish", *args)
        checks.check(f"refused: {what}", done.returncode == code and message in done.stderr, f"{done.returncode} {done.stderr}")


def check_follow(system, checks):
    """What comes is printed as it comes."""
    reader = subprocess.Popen([system.ficus, "events", "read", "reminder.due", "--since", "0s", "--follow", "--limit", "1", "--json", "-f", system.manifest],
                              env=system.env, stdout=subprocess.PIPE, text=True)
    ender = threading.Timer(60, reader.kill)
    ender.start()
    time.sleep(1)
    system.kill_hub()
    for i in range(200):
        if reader.poll() is not None:
            break
        system.run("events", "publish", "reminder.due", "--subject", f"follow{i}", "--data", "{}")
        time.sleep(0.1)
    out = reader.communicate()[0]
    ender.cancel()
    checks.check("followed", reader.returncode == 0 and json.loads(out)["subject"].startswith("follow"), out)


def check_cloudevents(system, checks):
    """The three content modes, and what is wrong in them, on the socket."""
    source = f"/operator/{os.geteuid()}"
    event = {"specversion": "1.0", "id": "s1", "source": source, "type": "reminder.due", "subject": "s", "data": {"id": "s"}}
    one, batch = ("-H", "Content-Type: application/cloudevents+json"), ("-H", "Content-Type: application/cloudevents-batch+json")
    binary = ["-H", "Content-Type: application/json", "-H", "ce-specversion: 1.0", "-H", f"ce-source: {source}", "-H", "ce-type: reminder.due"]
    post = lambda *args: system.curl("POST", "/v1/events", *args)  # noqa: E731
    checks.check("structured", post(*one, "-d", json.dumps(event))[0] == 200)
    checks.check("batch", post(*batch, "-d", json.dumps([dict(event, id="s2"), dict(event, id="s3")]))[0] == 200)
    checks.check("binary", post(*binary, "-H", "ce-id: s4", "-H", "ce-subject: Euro%20%E2%82%AC", "-d", '{"id": "s4"}')[0] == 200)
    read = {e["id"]: e for e in system.lines("events", "read", "reminder.due")}
    checks.check("all are there", all(i in read for i in ("s1", "s2", "s3", "s4")) and read["s4"]["subject"] == "Euro €" and read["s4"]["data"] == {"id": "s4"})
    for what, status, place, args in (
        ("another version", 400, "specversion", [*one, "-d", json.dumps(dict(event, specversion="0.3"))]),
        ("no id", 400, "event 1: event: id is missing", [*batch, "-d", json.dumps([event, {k: v for k, v in event.items() if k != "id"}])]),
        ("a bad name", 400, "Trace-Id", [*one, "-d", json.dumps({**event, "Trace-Id": "x"})]),
        ("data twice", 400, "data_base64", [*one, "-d", json.dumps(dict(event, data_base64="AA=="))]),
        ("bytes", 415, "data_base64", [*one, "-d", json.dumps({**{k: v for k, v in event.items() if k != "data"}, "data_base64": "AA=="})]),
        ("text", 415, "text/plain", ["-H", "Content-Type: text/plain", *binary[2:], "-H", "ce-id: t", "-d", "hello"]),
        ("XML", 415, "cloudevents+xml", ["-H", "Content-Type: application/cloudevents+xml", "-d", "<event/>"]),
        ("a broken escape", 400, "ce-subject", [*binary, "-H", "ce-id: t", "-H", "ce-subject: %C0%A0", "-d", "1"]),
        ("another's name", 403, "source", [*one, "-d", json.dumps(dict(event, source="/reminders"))]),
        ("a time that is none", 400, "deliverat", [*one, "-d", json.dumps(dict(event, deliverat="soon"))]),
    ):
        got, body = post(*args)
        checks.check(f"{what}: {status}", got == status and place in body, f"{got} {body}")


def check_docs(system, checks):
    """The commands of docs/events.md that stand in sh blocks, as a user would type them."""
    with open(os.path.join(ROOT, "docs/events.md"), encoding="utf-8") as f:
        text = f.read().split("## For later", 1)[1].split("\n## Dead letters", 1)[0]
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.M | re.S)
    checks.check("there are commands", len(blocks) >= 2)
    manifest = "ficus: 1\nsystem: docs\ninclude: [s.yaml]\n" + re.search(r"^    (events: .*\n)", text, re.M).group(1)
    part = "".join(line[4:] for line in re.search(r"^    publishes: .*\n    schedules:\n(?:      .*\n)+", text, re.M).group(0).splitlines(True))
    for name, content in (("ficus.yaml", manifest), ("s.yaml", "service: s\nteam: t\ndoes: d\nrun: ./s\n" + part)):
        with open(os.path.join(system.folder, name), "w", encoding="utf-8") as f:
            f.write(content)
    done = subprocess.run([system.ficus, "config", "check"], cwd=system.folder, env=system.env, capture_output=True, text=True, check=False)
    checks.check("the examples of settings are taken", done.returncode == 0, done.stdout + done.stderr)
    env = dict(system.env, PATH=system.build + ":" + os.environ["PATH"])
    for block in blocks:
        done = subprocess.run(["sh", "-e", "-c", block], cwd=os.path.join(ROOT, "tests/e2e/later"), env=env, capture_output=True, text=True, timeout=60, check=False)
        checks.check(f"works: {block.splitlines()[0]}", done.returncode == 0, done.stdout + done.stderr)


def run(system, checks):
    system.up()
    check_reminders(system, checks)
    check_schedule(system, checks)
    check_operator(system, checks)
    check_follow(system, checks)
    check_cloudevents(system, checks)
    check_docs(system, checks)
    dead = system.run("events", "dead")
    checks.check("nothing died of it", "0 dead letters" in dead.stderr, dead.stdout + dead.stderr)


def main():
    build, rest = build_folder(sys.argv[1:])
    if rest:
        print(__doc__, file=sys.stderr)
        return 2
    return run_checked(System(build), run)


if __name__ == "__main__":
    sys.exit(main())
