#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/choreography.md and Ficus agree: `ficus config check` takes its examples, no word of the settings, no state and no command lacks its
line. What is wrong with a flow is said with its line.

    tests/e2e/docs_choreography.py [--build FOLDER]
"""

import os
import re
import shutil
import sys

from checks import Checks
from docs_sagas import PREFIX, cells, check_commands, check_examples, ficus, write
from shop import ROOT, build_folder

# What the examples need of others.
OTHERS = {
    "payments": "consumes: [order.placed]\npublishes: { payment.received: {}, payment.refused: {} }\n",
    "warehouse": "consumes: [payment.received]\npublishes: { parcel.sent: {}, price.changed: {} }\n",
    "mail": "consumes: [parcel.sent, order.cancelled]\n",
}

# What somebody writes wrong: replaced in the example that has it; so many lines behind the first one replaced; what is said of it.
WRONG = [
    ("within: 10m }", "within: 10 }", 0, 'flows.delivery.steps[0].paid.within: "10" has no unit'),
    ("within: 10m }", "within: 8d }", 0, "is longer than events are kept"),
    ("start: price.changed", "start: price.chnged", 0, '"price.chnged" is published by no service (did you mean price.changed?)'),
    ("after: payment.received, event: parcel.sent", "after: order.cancelled, event: parcel.sent", 0, 'which neither consumes "order.cancelled" nor is called because of it'),
    ("after: [parcel.sent, order.cancelled], consumed_by: mail", "after: [parcel.sent, payment.refused], consumed_by: mail", 0, '"mail" does not consume "payment.refused"'),
    ("failures: payment.refused", "failures: [payment.refused, parcel.sent]", 0, '"parcel.sent" is compensated by nothing'),
    ("- sent:      { after: payment.received", "- sent:      { after: payment.late", 0, '"payment.late" is neither a start nor the event of a step of this flow'),
    ("- sent:      { after: payment.received", "- sent:      { aftr: payment.received", 0, "did you mean after?"),
    ("after: payment.refused, event: order.cancelled", "after: order.cancelled, event: order.cancelled", 0, "closes a circle that has no end: order.cancelled -> order.cancelled"),
    ("consumed_by: desk", "consumed_by: dsek", 0, '"dsek" is no service of this system'),
]


def check(build, example):
    """The example is what one service says; the others are there."""
    folder = os.path.join(os.path.abspath(build), "e2e-docs-choreography")
    shutil.rmtree(folder, ignore_errors=True)
    write(folder, "ficus.yaml", "ficus: 1\nsystem: docs\ninclude: [services/*/service.yaml]\n")
    for name, says in OTHERS.items():
        write(folder, f"services/{name}/service.yaml", f"service: {name}\nteam: t\ndoes: nothing\nrun: ./{name}\n{says}")
    if "order.placed" not in example:  # whose events the others consume
        write(folder, "services/orders/service.yaml", "service: orders\nteam: t\ndoes: nothing\nrun: ./orders\npublishes: { order.placed: {}, order.cancelled: {} }\n")
    write(folder, "services/desk/service.yaml", PREFIX + example)
    code, said = ficus(build, "config", "check", folder=folder)
    return code == 0, said


def check_tables(build, checks, text):
    with open(os.path.join(ROOT, "src/flow/flow_def.c"), encoding="utf-8") as f:
        words = set(re.findall(r'\{\.name = "(\w+)"', f.read())) - {"name", "owner"}
    checks.check("each word has its line", words == set(cells(text, "| word | meaning |")), str(words ^ set(cells(text, "| word | meaning |"))))
    with open(os.path.join(ROOT, "src/flow/flow_machine.h"), encoding="utf-8") as f:
        states = set(re.findall(r'X\([A-Z]+, "(\w+)"\)', f.read()))
    with open(os.path.join(ROOT, "docs/hub-api.yaml"), encoding="utf-8") as f:
        api = set(re.search(r"FlowState: \{ enum: \[(.*?)\] \}", f.read()).group(1).split(", "))
    checks.check("each state has its line", states == set(cells(text, "| state | meaning |")), str(states))
    checks.check("the API knows the same states", states == api, str(states ^ api))
    check_commands(build, checks, text)


def main():
    build, rest = build_folder(sys.argv[1:])
    if rest:
        print(__doc__, file=sys.stderr)
        return 2
    checks = Checks()
    text = check_examples(build, checks, "choreography", 2, check, WRONG)
    check_tables(build, checks, text)
    return checks.end()


if __name__ == "__main__":
    sys.exit(main())
