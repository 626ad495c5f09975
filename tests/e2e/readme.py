#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The README's example, as printed there: its program is built, its system started, asked, and started again.

    tests/e2e/readme.py [--build FOLDER]

Against the library in the build folder (pkg-config finds it in meson-uninstalled), so with no installation. The one
thing changed is the port.
"""

import http.client
import json
import os
import re
import shutil
import sqlite3
import subprocess
import sys
import urllib.parse

from kill import Checks
from shop import ROOT, build_folder, free_port, wait_for


def example():
    """The line that builds it, and name to text of its files."""
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as f:
        text = f.read()
    files = {}
    for language, block in re.findall(r"^```(\w+)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        files["greeter.c" if language == "c" else re.match(r"# (\S+)", block)[1]] = block
    name, migration = re.search(r"# (0001_greeting\.sql): (CREATE .*)", files["service.yaml"]).groups()
    files["migrations/" + name] = migration + "\n"
    return re.search(r"^    (cc greeter\.c .*)$", text, re.MULTILINE)[1], files


class Hello:
    def __init__(self, build):
        self.build = os.path.abspath(build)
        self.folder = os.path.join(self.build, "e2e-readme")
        self.port = free_port()
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(os.path.join(self.folder, "migrations"))
        self.build_line, files = example()
        for name, text in files.items():
            with open(os.path.join(self.folder, name), "w", encoding="utf-8") as f:
                f.write(text)
        self.env = dict(os.environ, PKG_CONFIG_PATH=os.path.join(self.build, "meson-uninstalled"))
        self.env["LD_LIBRARY_PATH"] = os.path.join(self.build, "src/service/install")
        self.env.pop("FICUS_STATE", None)

    def sh(self, command):
        return subprocess.run(
            command, shell=True, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=120, check=False
        )

    def ficus(self, *args):
        command = [os.path.join(self.build, "ficus"), *args]
        return subprocess.run(
            command, cwd=self.folder, env=self.env, capture_output=True, text=True, timeout=120, check=False
        )

    def up(self):
        return self.ficus("up", "-d", "--wait", "60s", "--set", f"gateway.listen=127.0.0.1:{self.port}")

    def greet(self, name):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request("PUT", "/greetings/" + urllib.parse.quote(name))
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def greeted(self, count):
        """Whether so many events have come to the log; they go there by themselves, after the answer."""

        def look():
            topics = json.loads(self.ficus("events", "topics", "--json").stdout)["topics"]
            return {topic["topic"]: topic["count"] for topic in topics} == {"greeted": count}

        return wait_for(f"{count} events", look)

    def names(self):
        connection = sqlite3.connect(os.path.join(self.folder, ".ficus/data/greeter.db"))
        try:
            return [row[0] for row in connection.execute("SELECT name FROM greeting ORDER BY name")]
        finally:
            connection.close()


def run(hello, checks):
    built = hello.sh(hello.build_line)
    checks.check("the program builds without a word", built.returncode == 0 and not built.stderr, built.stderr)
    said = hello.ficus("config", "check")
    checks.check("the manifest is right", said.returncode == 0, said.stdout + said.stderr)
    said = hello.up()
    checks.check("the system starts", said.returncode == 0, said.stdout + said.stderr)
    first = hello.greet("Ada")
    checks.check("the first request after the start is answered", first == (201, {"hello": "Ada"}), repr(first))
    again = hello.greet("Ada")
    checks.check("so is the same once more", again == (201, {"hello": "Ada"}), repr(again))
    checks.check("each told an event", hello.greeted(2))

    hello.ficus("down")
    names = hello.names()
    checks.check("its row is in the database", names == ["Ada"], repr(names))
    said = hello.up()
    checks.check("the system starts again", said.returncode == 0, said.stdout + said.stderr)
    after = hello.greet("Grace")
    checks.check("it answers again", after == (201, {"hello": "Grace"}), repr(after))
    checks.check("the events of both times are there", hello.greeted(3))
    said = hello.ficus("down", "--purge")
    left = os.path.exists(os.path.join(hello.folder, ".ficus"))
    checks.check("down --purge leaves nothing", said.returncode == 0 and not left, said.stdout + said.stderr)


def main():
    build, rest = build_folder(sys.argv[1:])
    if rest:
        print(__doc__, file=sys.stderr)
        return 2
    hello, checks = Hello(build), Checks()
    try:
        run(hello, checks)
    finally:
        if os.path.exists(os.path.join(hello.folder, ".ficus")):
            print(hello.ficus("logs", "-n", "40").stdout)
        hello.ficus("down")
    print(f"{checks.passed} passed, {checks.failed} failed")
    return 0 if checks.failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
