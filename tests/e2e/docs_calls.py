#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/calls.md and Ficus agree: `ficus config check` takes each of its examples, and no word of the settings lacks one.

    tests/e2e/docs_calls.py [--build FOLDER]
"""

import os
import re
import shutil
import subprocess
import sys

from checks import Checks
from shop import build_folder

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
MANIFEST = "ficus: 1\nsystem: docs\ninclude: [services/*/service.yaml]\n"
SERVICE = "service: %s\nteam: t\ndoes: nothing\nrun: ./%s\n"
CALLEES = ("greetings", "catalog", "payments", "search", "cart")


def write(folder, name, text):
    path = os.path.join(folder, name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


def check(build, example):
    """The example is what the root says of its gateway, or what a service says of its calls."""
    folder = os.path.join(os.path.abspath(build), "e2e-docs-calls")
    shutil.rmtree(folder, ignore_errors=True)
    gateway = example.startswith("gateway:")
    write(folder, "ficus.yaml", MANIFEST + (example if gateway else ""))
    for name in CALLEES:
        write(folder, "services/%s/service.yaml" % name, SERVICE % (name, name))
    write(folder, "services/orders/service.yaml", SERVICE % ("orders", "orders") + ("" if gateway else example))
    said = subprocess.run(
        [os.path.join(os.path.abspath(build), "ficus"), "config", "check"],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return said.returncode == 0, (said.stdout + said.stderr).strip()


def main():
    build, rest = build_folder(sys.argv[1:])
    if rest:
        print(__doc__, file=sys.stderr)
        return 2
    checks = Checks()
    with open(os.path.join(ROOT, "docs", "calls.md"), encoding="utf-8") as f:
        examples = re.findall(r"^```yaml\n(.*?)^```$", f.read(), re.M | re.S)
    with open(os.path.join(ROOT, "src", "call", "call_policy.c"), encoding="utf-8") as f:
        words = set(re.findall(r'\{\.name = "(\w+)"', f.read())) - {"keeps_keys", "upstream"}  # not for people: derived of the callee
    counts = f"{len(examples)} examples, {len(words)} words"
    checks.check("there are examples and words", len(examples) > 8 and len(words) > 30, counts)
    for i, example in enumerate(examples):
        fine, said = check(build, example)
        checks.check("example %d is taken" % (i + 1), fine, said)
        fine, said = check(build, re.sub(r"\{ ?", "{ zz_stranger: 1, ", example, count=1))
        checks.check("example %d with a word that is none is refused" % (i + 1), not fine, said)
    lacking = [w for w in sorted(words) if not any(re.search(r"\b%s:" % w, e) for e in examples)]
    checks.check("each word has an example", not lacking, ", ".join(lacking))
    return checks.end()


if __name__ == "__main__":
    sys.exit(main())
