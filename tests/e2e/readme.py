#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The README as a newcomer reads it: its shell blocks are run in one shell, in their order, against a fresh shop, and
what they print has the shape that is printed there.

    tests/e2e/readme.py [--build FOLDER]

Run are the blocks fenced as sh; the text block that follows is compared with what came. Only three things are changed:
the build folder, the ports, and where home and state are.

The shape: ids, times, numbers and folders may be any; "..." stands for anything within its line, and as a line of its own
for any lines, and then the others may come in any order.
"""

import os
import re
import shutil
import subprocess
import sys
import threading
import urllib.request

from checks import Checks
from shop import ROOT, Shop, build_folder, free_port, wait_for

MARK = "--- end of the block ---"
VARIABLE = (
    (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "ID"),
    (r"\b[0-9a-f]{16,}\b", "HEX"),
    (r"\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
    (r"/\S*/", "/"),
    (r"\d+(\.\d+)?", "N"),
    (r"\s+", " "),
)


def blocks(text):
    """Pairs of a shell block and the text block before the next, or ""; the first pair has no shell block."""
    pairs = [["", ""]]
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if language == "sh":
            pairs.append([block, ""])
        elif language == "text":
            pairs[-1][1] = block
    return pairs


def shape(line):
    for pattern, name in VARIABLE:
        line = re.sub(pattern, name, line)
    return line.strip()


def pattern_of(line):
    """\\x00 stands for "..." while the rest is brought into shape."""
    return re.compile(re.escape(shape(line.replace("...", "\x00"))).replace("\x00", ".*"))


def missing(shown, came):
    """The first line of what is shown that did not come as it should, or None."""
    lines = [shape(line) for line in came.splitlines()]
    patterns = shown.splitlines()
    if "..." not in patterns and len(patterns) != len(lines):
        return f"{len(lines)} lines instead of {len(patterns)}"
    for i, line in enumerate(patterns):
        where = lines if "..." in patterns else lines[i : i + 1]
        if line != "..." and not any(pattern_of(line).fullmatch(each) for each in where):
            return line
    return None


class Reader:
    """One shell, as a person has one open."""

    def __init__(self, shop, port):
        self.shop, self.port = shop, port
        home = os.path.join(shop.folder, "home")
        os.makedirs(home)
        self.log = os.path.join(shop.folder, "shell.log")
        self.came = []
        self.shell = subprocess.Popen(
            ["bash", "--norc"],
            cwd=ROOT,
            env=dict(os.environ, HOME=home, FICUS_STATE=shop.state),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.lines = threading.Thread(target=self.collect, daemon=True)
        self.lines.start()

    def collect(self):
        for line in self.shell.stdout:
            self.came.append(line)

    def say(self, text):
        """What the commands print."""
        begun = len(self.came)
        text = text.replace("127.0.0.1:8080", f"127.0.0.1:{self.shop.port}")
        text = text.replace("127.0.0.1:8081", f"127.0.0.1:{self.port}").replace("$PWD/build", self.shop.build)
        # A person reads for two seconds before the next block; what is asynchronous is done by then.
        self.shell.stdin.write(f"sleep 2; {text}\necho; echo '{MARK}'\n")
        self.shell.stdin.flush()
        wait_for("the end of a block", lambda: MARK + "\n" in self.came[begun:], seconds=90)
        end = self.came.index(MARK + "\n", begun)
        return "".join(self.came[begun:end]).rstrip("\n") + "\n"

    def close(self):
        self.shell.stdin.close()
        self.shell.wait(timeout=30)


def start(shop):
    """shop/up, as make up starts it; what it prints until the data is loaded."""
    path = os.path.join(shop.folder, "up.log")
    with open(path, "w", encoding="utf-8") as out:
        process = subprocess.Popen(
            [os.path.join(ROOT, "shop/up"), shop.build, shop.manifest, "--set", f"gateway.listen=127.0.0.1:{shop.port}"],
            env=shop.env,
            stdout=out,
            stderr=subprocess.STDOUT,
        )

    def printed():
        with open(path, encoding="utf-8") as f:
            return f.read()

    wait_for("the real data", lambda: "The shop was fresh" in printed() or process.poll() is not None, seconds=120)
    return process, printed()


def check_block(checks, name, shown, came):
    line = missing(shown, came)
    checks.check(f"{name} prints what is shown", line is None, f"{line}\nis not in what came:\n{came}")


def run(shop, checks, text):
    first, *rest = blocks(text)
    process, printed = start(shop)
    check_block(checks, "make up", first[1], printed)
    with urllib.request.urlopen(shop.url, timeout=20) as answer:
        page = answer.read().decode()
        checks.check("the storefront is there", answer.status == 200 and "<title>" in page, page[:300])
    reader = Reader(shop, free_port())
    for command, shown in rest:
        lines = command.strip().splitlines()
        if lines[0].startswith("mkdir ~"):
            reader.say("unset FICUS_STATE")
        came = reader.say(command)
        check_block(checks, f"block {lines[0]!r} ... {lines[-1]!r}", shown, came)
    reader.say("ficus down --purge")
    excerpt = re.search(r"^```c\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)[1]
    with open(os.path.join(shop.folder, "home/hello/services/greetings/greetings.c"), encoding="utf-8") as f:
        checks.check("the code that is shown is the code that is made", excerpt in f.read())
    reader.close()
    shop.run("down")
    process.wait(timeout=60)


def check_commands(shop, checks, text):
    """Each command of `ficus help` stands in the list of commands."""
    listed = [set(re.findall(r"[a-z]+", line)) for line in re.findall(r"^    ficus (.*)$", text, re.MULTILINE)]
    commands = re.findall(r"^  ([a-z]+(?: [a-z]+)?) ", shop.run("help").stdout, re.MULTILINE)
    absent = [c for c in commands if not any(set(c.split()) <= words for words in listed)]
    checks.check(f"all {len(commands)} commands are listed", commands and not absent, str(absent))


def main():
    build, rest = build_folder(sys.argv[1:])
    if rest:
        print(__doc__, file=sys.stderr)
        return 2
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as f:
        text = f.read()
    checks = Checks()
    shop = Shop(build, "readme")
    try:
        check_commands(shop, checks, text)
        run(shop, checks, text)
    finally:
        shop.run("down")
        hello = os.path.join(shop.folder, "home/hello")
        if os.path.exists(os.path.join(hello, ".ficus")):
            subprocess.run([shop.ficus, "down", "-f", hello + "/ficus.yaml"], check=False)
    if not checks.failed:
        shutil.rmtree(shop.folder)
    return checks.end()


if __name__ == "__main__":
    sys.exit(main())
