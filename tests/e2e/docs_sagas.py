#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/sagas.md and Ficus agree: `ficus config check` takes each of its examples, no word of the settings, no state and no
command lacks its line, and each line's command is one. What is wrong with a saga is said with its line.

    tests/e2e/docs_sagas.py [--build FOLDER]
"""

import os
import re
import shutil
import subprocess
import sys

from checks import Checks
from shop import ROOT, build_folder

PREFIX = "service: desk\nteam: t\ndoes: nothing\nrun: ./desk\n"
SERVICES = ("orders", "inventory", "payments", "seats", "accounts")

# What somebody writes wrong: replaced in the example that has it; so many lines behind the first one replaced; what is said of it.
WRONG = [
    ("- cool_off: { wait: 10m }", "- cool_off: { wait: 10 }", 0, 'sagas.trip.steps[1].cool_off.wait: "10" has no unit'),
    ("- cool_off: { wait: 10m }", "- cool_off: { weit: 10m }", 0, "did you mean wait?"),
    ('/buy", pivot: true }', '/buy", pivot: true }\n      - late: { wait: 1m }', 1, 'waits behind the pivot "buy"; move it before the pivot'),
    ("{ signal: signed, timeout: never }", "{ signal: signed }", 0, 'needs a timeout: how long it is waited for, such as "timeout: 24h"'),
    ("{ signal: signed, timeout: never }", "{ signal: approved, timeout: never }", 0, '"approved" is waited for by "approval" already'),
    ("{signals.approved.by}", "{signals.aproved.by}", 0, "{signals.aproved}: no step before this one waits for a signal"),
    ("given_by: payment.settled", "given_by: payment.setled", 0, '"payment.setled" is published by no service (did you mean payment.settled?)'),
    ("refused_by: payment.failed", "refused_by: payment.settled", 0, 'is what the signal of "payment" is given by already'),
    ("on_timeout: undo", "on_timeout: redo", 0, "on_timeout"),
    ("          - tell: {", "          - parallel:\n              - tell: {", 0, 'stands inside another "parallel"'),
    ("- tell: {", "- take: {", 0, '"take" occurs twice, first in line'),
    (', undo: "DELETE seats:/v1/holds/{id}" }\n          - clear', " }\n          - clear", 0, 'steps[1].parallel[1].seat: needs an undo'),
    ("saga: packing,", "saga: paking,", 0, '"paking" is no saga of this system (did you mean packing?)'),
    ("saga: packing,", 'saga: packing, call: "PUT orders:/x/{id}",', 0, "call: and saga exclude each other: make two steps of it"),
    (', undo: "DELETE inventory:/v1/parcels/{id}", give_up: 2d, code: not_packed }', " }", 0, "needs an undo: it is a saga that may be completed before the pivot"),
    ('/v1/parcels/{input.gift}", pivot: true }', '/v1/parcels/{input.gift}", pivot: true }\n      - more: { saga: gift }', 1,
     'is a saga behind the pivot "send"; a saga may end undone'),
    ('- ok:   { signal: weighed, timeout: 1d }', '- ok:   { saga: gift, undo: "DELETE inventory:/v1/x/{id}" }', 0, "is a circle: gift -> packing -> gift"),
    ('- ok:   { signal: weighed, timeout: 1d }', '- ok:   { saga: packing, undo: "DELETE inventory:/v1/x/{id}" }', 0, "is a circle: packing -> packing"),
    ("body: { gift:", "retry: forever, body: { gift:", 0, "and saga exclude each other: a saga may end undone"),
    ('body: { gift: "{id}", items: "{input.items}" }, undo: "DELETE inventory:/v1/parcels', 'body: "{input}", undo: "DELETE inventory:/v1/parcels', 0,
     "must be an object: it is the saga's input"),
    ("          - tell:", "      - tell:", -2, "has 1 step; 2 to 8 may run at the same time"),
]


def write(folder, name, text):
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def ficus(build, *arguments, folder=None):
    command = [os.path.join(os.path.abspath(build), "ficus"), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, (done.stdout + done.stderr).strip()


def check(build, example):
    """The example is what the service says that the saga belongs to."""
    folder = os.path.join(os.path.abspath(build), "e2e-docs-sagas")
    shutil.rmtree(folder, ignore_errors=True)
    write(folder, "ficus.yaml", "ficus: 1\nsystem: docs\ninclude: [services/*/service.yaml]\n")
    for name in SERVICES:
        publishes = "publishes: { payment.settled: { key: id }, payment.failed: { key: id } }\n" if name == "payments" else ""
        write(folder, f"services/{name}/service.yaml", f"service: {name}\nteam: t\ndoes: nothing\nrun: ./{name}\n{publishes}")
    write(folder, "services/desk/service.yaml", PREFIX + example)
    code, said = ficus(build, "config", "check", folder=folder)
    return code == 0, said


def cells(text, heading):
    """First cells of the table behind the heading line."""
    table = text.split(heading, 1)[1]
    rows = re.match(r"\n\|[-|]+\|\n((?:\|.*\n)+)", table).group(1).splitlines()
    return [re.search(r"`([^`]+)`", row).group(1) for row in rows]


def check_commands(build, checks, text):
    """Each option of the page's table of commands is one."""
    for line in text.split("| command | what it does |", 1)[1].split("\n\n")[0].splitlines()[2:]:
        name = re.search(r"`ficus (saga \w+)", line).group(1)
        _, help_text = ficus(build, *name.split(), "--help")
        lacking = [o for o in re.findall(r"--\w+", line) if o not in help_text]
        checks.check(f"{name} has the options that its line says", not lacking, ", ".join(lacking))


def check_examples(build, checks, page, least, take, wrongs):
    """take(build, example) tells whether `ficus config check` takes it, and what it said. The page's text."""
    with open(os.path.join(ROOT, "docs", page + ".md"), encoding="utf-8") as f:
        text = f.read()
    examples = re.findall(r"^```yaml\n(.*?)^```$", text, re.M | re.S)
    checks.check("there are examples", len(examples) >= least, str(len(examples)))
    for i, example in enumerate(examples):
        fine, said = take(build, example)
        checks.check(f"example {i + 1} is taken", fine, said)
    for right, wrong, below, message in wrongs:
        example = next(e for e in examples if right in e)
        fine, said = take(build, example.replace(right, wrong, 1))
        line = PREFIX.count("\n") + example[: example.index(right)].count("\n") + 1 + below
        checks.check(f"{wrong!r} is refused", not fine and message in said, said)
        checks.check(f"{wrong!r} is refused at its line", f"services/desk/service.yaml:{line}:" in said, f"{line}: {said}")
    return text


def check_depth(build, checks):
    """Four sagas in each other are taken, and a fifth is refused; so are two steps of one name that begin the same saga."""
    call = '{ call: "PUT orders:/a/{id}", undo: "DELETE orders:/a/{id}" }'
    for count in (4, 5):
        sagas = "".join(f'  s{i}: {{ steps: [ {{ go: {{ saga: s{i + 1}, undo: "DELETE orders:/b/{{id}}" }} }} ] }}\n' for i in range(1, count))
        fine, said = check(build, f"sagas:\n{sagas}  s{count}: {{ steps: [ {{ go: {call} }} ] }}\n")
        wanted = fine if count == 4 else not fine and 'sagas.s1.steps[0].go.saga: is one too many: with "s1" there are 5 sagas in each other' in said
        checks.check(f"{count} sagas in each other are {'taken' if count == 4 else 'refused'}", wanted, said)
    two = "".join(f'  {n}: {{ steps: [ {{ pack: {{ saga: child, undo: "DELETE orders:/b/{{id}}" }} }} ] }}\n' for n in ("one", "two"))
    fine, said = check(build, f"sagas:\n{two}  child: {{ steps: [ {{ go: {call} }} ] }}\n")
    checks.check("two steps that would begin the same instance are refused", not fine and "would begin the same instance, ID.pack: give it another name" in said, said)


def check_reach(build, checks):
    """What a flow expects may be published by a service that only a saga in the saga calls."""
    for service in ("payments", "orders"):
        text = ("publishes: { gift.ordered: { key: id } }\nsagas:\n"
                '  gift: { start: gift.ordered, steps: [ { pay: { saga: paying, undo: "DELETE orders:/a/{id}" } } ] }\n'
                f'  paying: {{ steps: [ {{ go: {{ call: "PUT {service}:/a/{{id}}", undo: "DELETE {service}:/a/{{id}}" }} }} ] }}\n'
                "flows:\n  told: { start: gift.ordered, steps: [ { settled: { event: payment.settled, within: 1m } } ] }\n")
        fine, said = check(build, text)
        wanted = fine if service == "payments" else not fine and "is called because of it" in said
        checks.check(f"a flow knows whom a saga in a saga calls ({service})", wanted, said)


def check_tables(build, checks, text):
    with open(os.path.join(ROOT, "src/saga/saga_def.c"), encoding="utf-8") as f:
        words = set(re.findall(r'(?:\{\.name|\.group_word) = "(\w+)"', f.read())) - {"name"}
    checks.check("each word has its line", words == set(cells(text, "| word | meaning |")), str(words ^ set(cells(text, "| word | meaning |"))))
    with open(os.path.join(ROOT, "src/saga/saga_machine.h"), encoding="utf-8") as f:
        states = set(re.findall(r'X\([A-Z]+, "(\w+)"\)', f.read().split("#define SAGA_STATE_LIST")[1].split("enum saga_state_name")[0]))
    with open(os.path.join(ROOT, "docs/hub-api.yaml"), encoding="utf-8") as f:
        api = set(re.search(r"SagaState: \{ enum: \[(.*?)\] \}", f.read()).group(1).split(", "))
    checks.check("each state has its line", states == set(cells(text, "| state | meaning |")), str(states))
    checks.check("the API knows the same states", states == api, str(states ^ api))
    lines = cells(text, "| command | what it does |")
    _, overview = ficus(build, "help")
    commands = set(re.findall(r"^ +(saga \w+)", overview, re.M))
    checks.check("each command has its line", commands == {" ".join(line.split()[1:3]) for line in lines}, str(commands))
    check_commands(build, checks, text)


def main():
    build, rest = build_folder(sys.argv[1:])
    if rest:
        print(__doc__, file=sys.stderr)
        return 2
    checks = Checks()
    text = check_examples(build, checks, "sagas", 3, check, WRONG)
    for count in (64, 65):
        topics = [f"topic.n{i}" for i in range(count)]
        saga = "  s{0}:\n    start: {1}\n    steps:\n      - a: {{ call: \"PUT orders:/a/{{id}}\", undo: \"DELETE orders:/a/{{id}}\" }}\n"
        many = "publishes:\n" + "".join(f"  {t}: {{ key: id }}\n" for t in topics) + "sagas:\n" + "".join(saga.format(i, t) for i, t in enumerate(topics))
        fine, said = check(build, many)
        wanted = fine if count == 64 else not fine and "sagas.s64.start: is one more than the 64 topics" in said
        checks.check(f"sagas with {count} topics are {'taken' if count == 64 else 'refused'}", wanted, said)
    check_depth(build, checks)
    check_reach(build, checks)
    check_tables(build, checks, text)
    return checks.end()


if __name__ == "__main__":
    sys.exit(main())
