#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/migrations.md is true: the lint prints what is shown of its example, each release of it works with the tables that it may meet, and each rule is named.
And the command itself: exit codes, JSON, and that the shop's migrations have no findings.

    tests/e2e/docs_migrations.py [--build FOLDER]
"""

import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys

from checks import Checks
from shop import build_folder

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# The migrations that ran, and the releases that have to work then: the one that they came with, and those before and behind that may run as well.
STEPS = (("0001_item.sql",), (1,)), (("0001_item.sql", "0002_title.sql"), (1, 2, 3)), (("0001_item.sql", "0002_title.sql", "0003_text_goes.sql"), (3,))


def lint(build, folder, *paths):
    """Lint a folder of these files, called so in what is printed; the exit code and what was printed."""
    shutil.rmtree(folder, ignore_errors=True)
    name = os.path.dirname(paths[-1][0]) or "right"
    os.makedirs(os.path.join(folder, name))
    for path, text in paths:
        with open(os.path.join(folder, name, os.path.basename(path)), "w", encoding="utf-8") as f:
            f.write(text)
    said = subprocess.run(
        [os.path.join(os.path.abspath(build), "ficus"), "migrations", "lint", name + "/"], cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )
    return said.returncode, said.stdout + said.stderr


def works(db, statements, key, text):
    """Write and read back as a release does; None, or what went wrong."""
    write, read = [s for s in statements.split(";") if s.strip()]
    try:
        for value in (text, text + " again"):
            db.execute(write, {"id": key, "text": value})
            found = db.execute(read, {"id": key}).fetchall()
            if found != [(value,)]:
                return f"reads {found}"
    except sqlite3.Error as e:
        return str(e)
    return None


def database(*texts):
    db = sqlite3.connect(":memory:", isolation_level=None)
    db.execute("PRAGMA foreign_keys = ON")
    for text in texts:
        db.executescript(text)
    return db


def check_example(checks, files, says):
    for names, releases in STEPS:
        db = database(*[files[n] for n in names])
        for r in releases:
            wrong = works(db, says[r], f"of {r}", "a text")
            checks.check(f"release {r} works after {names[-1]}", wrong is None, wrong)
    db = database(files["0001_item.sql"])
    works(db, says[1], "old", "a text")
    db.executescript(files["0002_title.sql"])
    checks.check("a row of before is read by release 2", db.execute("SELECT title FROM item").fetchall() == [("a text again",)], "")
    for writer, reader in ((1, 2), (2, 1)):
        works(db, says[writer], "both", f"by {writer}")
        found = db.execute(says[reader].split(";")[1], {"id": "both"}).fetchall()
        checks.check(f"release {reader} reads what release {writer} wrote", found == [(f"by {writer} again",)], str(found))
    for text, release in ((files["wrong/0002_title.sql"], 1), (files["0002_title.sql"] + files["0003_text_goes.sql"], 2)):
        db = database(files["0001_item.sql"], text)
        checks.check(f"release {release} does not work where the lint says so", works(db, says[release], "x", "y") is not None, "it does")


def check_lint(checks, build, files, shown):
    folder = os.path.join(os.path.abspath(build), "e2e-docs-migrations")
    first = ("0001_item.sql", files["0001_item.sql"])
    wrong = ("wrong/0002_title.sql", files["wrong/0002_title.sql"])
    code, said = lint(build, folder, first, wrong)
    checks.check("the wrong way is refused as shown", (code, said) == (1, shown[0]), f"{code}: {said}")
    right = [(n, files[n]) for n in STEPS[-1][0]]
    code, said = lint(build, folder, *right)
    checks.check("the right way is taken as shown", (code, said) == (0, shown[1]), f"{code}: {said}")
    for i, line in enumerate(l for l in right[2][1].splitlines() if "ficus:nolint" in l):
        lines = right[2][1].splitlines(keepends=True)
        at = [n for n, l in enumerate(lines) if "ficus:nolint" in l][i]
        code, said = lint(build, folder, right[0], right[1], (right[2][0], "".join(lines[:at] + lines[at + 1 :])))
        rule = re.search(r"nolint ([a-z-]+)", line)[1]
        checks.check(f"without comment {i + 1} it is not", code == 1 and said.count(f" error: {rule}: ") == 1, f"{code}: {said}")


def check_command(checks, build, files):
    folder = os.path.join(os.path.abspath(build), "e2e-docs-migrations")
    lint(build, folder, ("0001_item.sql", files["0001_item.sql"]), ("wrong/0002_title.sql", files["wrong/0002_title.sql"]))

    def run(*args):
        said = subprocess.run(
            [os.path.join(os.path.abspath(build), "ficus"), "migrations", "lint", *args], cwd=folder, capture_output=True, text=True, timeout=60, check=False
        )
        return said.returncode, said.stdout, said.stderr

    code, out, err = run("-f", os.path.join(ROOT, "shop", "ficus.yaml"))
    checks.check("the shop's migrations have no findings", code == 0 and " of 9 databases: 0 errors, 0 warnings" in out, out + err)
    code, out, err = run("wrong/", "--json")
    report = json.loads(out)
    found = [(f["file"], f["line"], f["level"], f["rule"], f["object"], f["allowed"]) for f in report["findings"]]
    expected = [("wrong/0002_title.sql", 2, "error", "rename-column", "item.text", None)]
    checks.check("JSON has the same", (code, report["ok"], report["errors"], found) == (1, False, 1, expected), out)
    code, out, err = run("wrong/", "--released", "2")
    checks.check("what was released is not judged", code == 0, out + err)
    for args, shown in (
        (("wrong/", "--released", "3"), "there are only 2 migrations"),
        (("wrong/", "--released", "-1"), "is no number of a migration"),
        (("--released", "1"), "name it"),
        (("-f", os.path.join(ROOT, "shop", "ficus.yaml"), "nobody"), "nobody is no service"),
        ((), "ficus.yaml"),
    ):
        code, out, err = run(*args)
        checks.check(f"{' '.join(args[-2:])!r} is wrong usage", code == 2 and shown in err and out == "", f"{code}: {err}{out}")
    for path in ("nowhere/", "./"):
        code, out, err = run(path)
        checks.check(f"{path} has no migrations", code == 1 and out == "", f"{code}: {err}{out}")


def main():
    build, rest = build_folder(sys.argv[1:])
    if rest:
        print(__doc__, file=sys.stderr)
        return 2
    checks = Checks()
    with open(os.path.join(ROOT, "docs", "migrations.md"), encoding="utf-8") as f:
        doc = f.read()
    blocks = {b.split("\n", 1)[0][3:]: b for b in re.findall(r"^```sql\n(.*?)^```$", doc, re.M | re.S)}
    files = {n: b for n, b in blocks.items() if n.endswith(".sql")}
    says = {int(n.split()[1]): b.split("\n", 1)[1] for n, b in blocks.items() if n.startswith("release")}
    shown = re.findall(r"^```text\n(.*?)^```$", doc, re.M | re.S)
    checks.check("there is an example", (len(files), len(says), len(shown)) == (4, 3, 2), str(sorted(blocks)))
    check_example(checks, files, says)
    check_lint(checks, build, files, shown)
    check_command(checks, build, files)
    with open(os.path.join(ROOT, "src", "data", "migrate_lint_report.c"), encoding="utf-8") as f:
        rules = re.findall(r'\] = \{"([a-z-]+)", LINT_', f.read())
    lacking = [r for r in rules if f"`{r}`" not in doc]
    checks.check("each rule is named", len(rules) > 25 and not lacking, f"{len(rules)} rules; lacking: {', '.join(lacking)}")
    return checks.end()


if __name__ == "__main__":
    sys.exit(main())
