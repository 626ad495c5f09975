#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""docs/backup.md is true: its commands do what stands below them. And the settings of docs/disk.md are taken.

    tests/e2e/docs_backup.py [--build FOLDER]
"""

import os
import re
import shutil
import subprocess
import sys

from checks import run_checked
from shop import ROOT, Shop, build_folder

BLOCK = re.compile(r"^```(sh|text|yaml)\n(.*?)^```$", re.M | re.S)


def blocks(name):
    with open(os.path.join(ROOT, "docs", name), encoding="utf-8") as f:
        return BLOCK.findall(f.read())


def fits(shown, said):
    """ "..." stands for anything; columns may stand further apart."""
    pattern = ".*?".join(re.escape(part) for part in " ".join(shown.split()).split("..."))
    return re.fullmatch(pattern, " ".join(said.split()), re.S) is not None


def script(shop, commands):
    """The commands as a user would type them; only the gateway's port is the test's."""
    prefix = f'ficus() {{ if [ "$1" = up ]; then shift; command ficus up --set gateway.listen=127.0.0.1:{shop.port} "$@"; else command ficus "$@"; fi; }}\nset -e\n'
    env = dict(shop.env, PATH=shop.build + ":" + os.environ["PATH"], BACKUPS=os.path.join(shop.folder, "backups"))
    return subprocess.run(["sh", "-c", prefix + commands], cwd=os.path.join(ROOT, "shop"), env=env, capture_output=True, text=True, timeout=200, check=False)


def check_settings(shop, checks):
    """Each example is taken, in the root or in a service's part; without a unit it is not."""
    examples = [text for kind, text in blocks("disk.md") if kind == "yaml"]
    checks.check("there are examples", len(examples) == 2)
    for text in examples:
        for broken in (False, True):
            folder = os.path.join(shop.folder, "manifest")
            shutil.rmtree(folder, ignore_errors=True)
            os.makedirs(os.path.join(folder, "services/search"))
            text = text.replace("ms", "") if broken else text
            of_service = text.startswith("service:")
            with open(os.path.join(folder, "ficus.yaml"), "w", encoding="utf-8") as f:
                f.write("ficus: 1\nsystem: docs\ninclude: [services/*/service.yaml]\n" + ("" if of_service else text))
            with open(os.path.join(folder, "services/search/service.yaml"), "w", encoding="utf-8") as f:
                f.write((text if of_service else "service: search\n") + "team: t\ndoes: nothing\nrun: ./search\nstore: sqlite:search.db\n")
            done = subprocess.run([shop.ficus, "config", "check"], cwd=folder, capture_output=True, text=True, check=False)
            checks.check(f"{'without a unit refused' if broken else 'taken'}: {text.split()[-2:]}", (done.returncode == 0) != broken, done.stdout + done.stderr)


def run(shop, checks):
    os.makedirs(os.path.join(shop.folder, "backups"))
    check_settings(shop, checks)
    shop.up()
    parts, count = blocks("backup.md"), 0
    for (kind, commands), (next_kind, shown) in zip(parts, parts[1:] + [("", "")]):
        if kind != "sh":
            continue
        done = script(shop, commands)
        count += 1
        checks.check(f"works: {commands.splitlines()[-1]}", done.returncode == 0 and done.stderr == "", done.stderr)
        if next_kind == "text":
            checks.check("and says what is shown", fits(shown, done.stdout), done.stdout)
    checks.check("all four were found", count == 4)
    checks.check("the shop is there", shop.request("GET", "/api/v1/products?limit=1").status == 200)


def main():
    build, rest = build_folder(sys.argv[1:])
    if rest:
        print(__doc__, file=sys.stderr)
        return 2
    shop = Shop(build, "docs-backup")
    return run_checked(shop, lambda shop, checks: run(shop, checks))


if __name__ == "__main__":
    sys.exit(main())
