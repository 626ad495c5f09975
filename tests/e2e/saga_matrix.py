#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`ficus test saga`: a participant that does as it should passes each kill, also with a saga in a saga, one that does not is caught, by name, and again by the command that
is printed; what is declared wrongly is refused with its place; one kill of the shop's checkout. docs/sagas-testing.md shows what is used here.

    tests/e2e/saga_matrix.py [--build FOLDER]
"""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys

from checks import Checks
from shop import ROOT, build_folder, wait_for

LEDGER = os.path.join(ROOT, "tests/e2e/ledger")


class Tester:
    def __init__(self, build):
        self.ficus = os.path.join(os.path.abspath(build), "ficus")
        self.base = os.path.join(os.path.abspath(build), "e2e-saga_matrix")
        self.count = 0
        shutil.rmtree(self.base, ignore_errors=True)
        os.makedirs(self.base)
        self.env = {k: v for k, v in os.environ.items() if k != "FICUS_STATE"}

    def run(self, *args, cwd=LEDGER, seconds=240):
        """(what it said, the folder that it worked in)"""
        self.count += 1
        state = os.path.join(self.base, str(self.count))
        command = [self.ficus, "test", "saga", *args, "--state", state]
        return subprocess.run(command, cwd=cwd, env=self.env, capture_output=True, text=True, timeout=seconds, check=False), state

    def copy(self, name, edit):
        """The ledger with another service.yaml."""
        folder = os.path.join(self.base, name)
        shutil.copytree(LEDGER, folder)
        path = os.path.join(folder, "service.yaml")
        with open(path, encoding="utf-8") as f:
            text = f.read()
        changed = edit(text)
        assert changed != text, "the edit changes nothing"
        with open(path, "w", encoding="utf-8") as f:
            f.write(changed)
        return folder


def says(done):
    return f"exit code {done.returncode}: {done.stdout}{done.stderr}"


def log_kills(state):
    """How many processes the supervisor saw end by SIGKILL."""
    with open(os.path.join(state, "state/log/supervisor.log"), encoding="utf-8") as f:
        lines = [json.loads(line) for line in f if line.startswith("{")]
    return sum(line.get("event") == "process.ended" and line.get("how") == "signal" and line.get("status") == 9 for line in lines)


def check_good(t, checks):
    """All kills of a saga in both directions: done, and undone."""
    done, state = t.run("booking", "--settle", "1s", "--json")
    checks.check("a sound participant passes", done.returncode == 0, says(done))
    told = json.loads(done.stdout)
    checks.check("both tests were made", [s["scenario"] for s in told["scenarios"]] == ["approved", "refused"], done.stdout)
    for s in told["scenarios"]:
        cells = {(c["process"], c["file"], c["number"], c["side"]) for c in s["cells"]}
        wanted = {(f["process"], f["file"], n + 1, side) for f in s["files"] if f["aimed"] for n in range(f["writes"]) for side in ("before", "after")}
        checks.check(f"{s['scenario']}: each write that was counted is a kill, before and after", cells == wanted and len(cells) >= 12, str(sorted(cells ^ wanted)))
        checks.check(f"{s['scenario']}: journal, log and participant", {c[1] for c in cells} >= {"hub-sagas.db-wal", "hub-log.db-wal", "ledger.db-wal"}, str(cells))
        checks.check(f"{s['scenario']}: all are well", all(c["verdict"] == "ok" for c in s["cells"]) and s["failed"] == 0 and not s["error"], done.stdout)
    checks.check("what passed leaves nothing behind", not os.path.exists(state), state)


def with_child(text):
    """The entry is made by a saga of its own."""
    child = '- enter: { saga: entering, body: { id: "{id}" }, undo: "DELETE ledger:/v1/entries/{id}" }'
    book = '{ book: { call: "PUT ledger:/v1/entries/{input.id}", undo: "DELETE ledger:/v1/entries/{input.id}" } }'
    return re.sub(r"- book: .*", child, text) + f"  entering: {{ steps: [ {book} ] }}\n"


def check_child(t, checks):
    """All kills of a saga with a saga in it, while the child is completed, and while it is undone by its step."""
    done, _ = t.run("booking", "--settle", "1s", "--json", cwd=t.copy("child", with_child))
    checks.check("a saga in a saga passes", done.returncode == 0, says(done))
    for s in json.loads(done.stdout)["scenarios"]:
        kills = sum(c["file"] == "hub-sagas.db-wal" and c["verdict"] == "ok" for c in s["cells"])
        checks.check(f"{s['scenario']}: it is killed at the writes of both", kills >= 10, done.stdout)


def check_bad(t, checks):
    """An effect outside the transaction: only the kill between the two shows it, and the test does."""
    fault = ["--set", "services.ledger.settings.effect=file", "--settle", "1s"]
    done, state = t.run("booking", "--scenario", "approved", "--process", "ledger", *fault)
    failed = re.findall(r"^approved +(\S+) +FAILED", done.stdout, re.M)
    checks.check("the fault is caught", done.returncode == 1 and failed, says(done))
    checks.check("before the commit of the entry, and there alone", len(failed) == 1 and failed[0].endswith(":before"), str(failed))
    checks.check("what is wrong is said", '{"sum":200}, expected {"sum":100}' in done.stdout, done.stdout)
    checks.check("the table says it", re.search(r"^ledger +ledger\.db-wal +\d+ +FAILED \d+ +\d+ ok", done.stdout, re.M), done.stdout)
    kills = int(re.search(r"(\d+) kills, 1 failed", done.stdout).group(1))
    checks.check("for each kill a process died", log_kills(state) >= kills >= 4, f"{kills} kills, {log_kills(state)} deaths")
    again = re.search(r"again: ficus test saga (.*)", done.stdout)
    checks.check("the command that repeats it is printed", again is not None, done.stdout)
    done, _ = t.run(*shlex.split(again.group(1)), *fault)
    checks.check("it fails again, alone", done.returncode == 1 and "1 kills, 1 FAILED" in done.stdout, says(done))
    done, _ = t.run(*shlex.split(again.group(1).replace(":before", ":after")), *fault)
    checks.check("the other side of that write is well", done.returncode == 0 and "1 kills, all as they have to be" in done.stdout, says(done))
    done, _ = t.run(*shlex.split(re.sub(r":\d+:", ":99:", again.group(1))), "--settle", "1s")
    checks.check("a kill at which nobody dies is no pass", done.returncode == 1 and "NOBODY DIED" in done.stdout, says(done))


def check_declared(t, checks):
    """Refused before anything is started, with place and remedy."""
    for what, args, cwd, wanted in (
        ("no such saga", ["boking"], LEDGER, 'has no saga "boking"; did you mean "booking"?'),
        ("no such test", ["booking", "--scenario", "aproved"], LEDGER, 'has no test "aproved"; did you mean "approved"?'),
        ("a kill that is none", ["booking", "--only", "ledger:1"], LEDGER, "expected PROCESS:FILE:NUMBER:before"),
        ("no test at all", ["booking"], t.copy("untested", lambda s: s[: s.index("    test:")]), r"service\.yaml:\d+: .*does not say how it is tested"),
        (
            "no such program",
            ["booking"],
            t.copy("no-program", lambda s: s.replace("./test/check, none", "./test/chek, none")),
            r"service\.yaml:\d+:\d+: sagas\.booking\.test\.refused\.check: .*/test/chek is not there, or may not be executed",
        ),
        ("no start", ["booking"], t.copy("no-start", lambda s: s.replace("start: [./test/start, bad], ", "")), r"service\.yaml:\d+:\d+: sagas\.booking\.test\.refused"),
        (
            "an end that is none",
            ["booking"],
            t.copy("no-end", lambda s: s.replace("ends: compensated", "ends: undone")),
            r"sagas\.booking\.test\.refused\.ends: .*compensated",
        ),
    ):
        done, _ = t.run(*args, cwd=cwd)
        checks.check(f"{what} is refused", done.returncode == 2 and re.search(wanted, done.stderr), says(done))
    done, _ = t.run("booking", "--settle", "1s", "--scenario", "refused", cwd=t.copy("wrong", lambda s: s.replace("[./test/check, none]", "[./test/check, booked]")))
    checks.check("a check that fails without any kill says so", done.returncode == 1 and "without any kill: check" in done.stderr, says(done))
    done, _ = t.run("booking", "--settle", "1s", "--scenario", "refused", cwd=t.copy("other", lambda s: s.replace("ends: compensated", "ends: completed")))
    checks.check("an end that is another one is wrong", done.returncode == 1 and "it has to be completed, whatever was killed" in done.stderr, says(done))


def check_docs(checks):
    """The example of the docs is what was tested here, file by file."""
    with open(os.path.join(ROOT, "docs/sagas-testing.md"), encoding="utf-8") as f:
        text = f.read()
    for name, language in (("service.yaml", "yaml"), ("test/start", "sh"), ("test/check", "sh")):
        with open(os.path.join(LEDGER, name), encoding="utf-8") as f:
            whole = f.read()
        shown = whole if language == "sh" else whole[whole.index("sagas:") :]
        checks.check(f"the docs show {name}", f"```{language}\n{shown}```" in text, "it has changed")
    with open(os.path.join(ROOT, "src/saga/saga_scenario.c"), encoding="utf-8") as f:
        words = re.findall(r'\{\.name = "(\w+)"', f.read())
    lacking = [w for w in words if f"| `{w}` |" not in text]
    checks.check("the docs explain each word", len(words) == 5 and not lacking, str(lacking))


def check_killed(t, checks):
    """Whoever kills the tester has nothing left running."""
    state = os.path.join(t.base, "killed")
    command = [t.ficus, "test", "saga", "booking", "--settle", "1s", "--state", state]
    with subprocess.Popen(command, cwd=LEDGER, env=t.env, stdout=subprocess.PIPE, text=True) as tester:
        line = next((line for line in tester.stdout if ":before" in line), "")
        tester.kill()
    checks.check("it was in the middle", " ok " in line, line)
    asked = [t.ficus, "status", "-f", os.path.join(LEDGER, "ficus.yaml")]
    env = dict(t.env, FICUS_STATE=os.path.join(state, "state"))

    def is_over():
        return subprocess.run(asked, env=env, capture_output=True, timeout=60, check=False).returncode == 3

    checks.check("its system ends with it", wait_for("the end of the system", is_over), "")


def check_shop(t, checks):
    aim = "orders:orders.db-wal:2:after"  # confirm, the pivot: committed, and nobody was told
    done, _ = t.run("checkout", "--scenario", "confirmed", "--only", aim, "--settle", "1s", cwd=os.path.join(ROOT, "shop"))
    checks.check("the shop's checkout is confirmed once though " + aim, done.returncode == 0 and "1 kills, all as they have to be" in done.stdout, says(done))


def main():
    build, rest = build_folder(sys.argv[1:])
    if rest:
        print(__doc__, file=sys.stderr)
        return 2
    checks, t = Checks(), Tester(build)
    check_docs(checks)
    check_declared(t, checks)
    check_good(t, checks)
    check_child(t, checks)
    check_bad(t, checks)
    check_killed(t, checks)
    check_shop(t, checks)
    return checks.end()


if __name__ == "__main__":
    sys.exit(main())
