#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`ficus new service`, as a newcomer uses it: Ficus is installed into a folder of its own; in an empty folder a system
is made, built, tested, started, asked, killed and started again; then a second service comes into it, and a third one
that calls the first as docs/calls.md says.

    tests/e2e/new_service.py [--build FOLDER]
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.error
import urllib.request

from checks import Checks
from shop import build_folder, free_port, wait_for

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
REFUSED = ("Hello", "2be", "a_b", "hub", "gateway", "main", "test", "makefile", "migrations", "a" * 33, "", "../x", "a/b", "a b")


class Newcomer:
    def __init__(self, build):
        self.base = os.path.join(os.path.abspath(build), "e2e-new_service")
        shutil.rmtree(self.base, ignore_errors=True)
        self.folder = os.path.join(self.base, "My Shop 2")
        self.port = free_port()
        root = os.path.join(self.base, "root")
        os.makedirs(self.folder)
        subprocess.run(["meson", "install", "-C", build, "--destdir", root, "--no-rebuild", "--quiet"], check=True)
        package = next(folder for folder, _, files in os.walk(root) if "ficus.pc" in files)
        program = next(folder for folder, _, files in os.walk(root) if "ficus" in files)
        self.env = dict(os.environ, PKG_CONFIG_PATH=package, PKG_CONFIG_SYSROOT_DIR=root)
        self.env["PATH"] = program + ":" + os.environ["PATH"]
        self.env.pop("FICUS_STATE", None)

    def sh(self, *command, folder=None):
        return subprocess.run(
            command, cwd=folder or self.folder, env=self.env, capture_output=True, text=True, timeout=120, check=False
        )

    def up(self):
        return self.sh("ficus", "up", "-d", "--wait", "60s", "--set", f"gateway.listen=127.0.0.1:{self.port}")

    def ask(self, method, path, body=None):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}{path}", method=method)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return answer.status, json.loads(answer.read())
        except urllib.error.HTTPError as e:
            return e.code, json.loads(e.read())

    def service(self, name):
        for service in json.loads(self.sh("ficus", "status", "--json").stdout)["services"]:
            if service["name"] == name:
                return service["instances"][0]
        return None

    def tree(self):
        return sorted(os.path.join(folder, f) for folder, _, files in os.walk(self.folder) for f in files)


def words(said):
    return said.stdout + said.stderr


def make(n, checks, name, folder):
    said = n.sh("make", "-C", folder)
    checks.check(f"{name} builds without a word", said.returncode == 0 and not said.stderr, words(said))
    said = n.sh("make", "-C", folder, "test")
    checks.check(f"{name}'s tests pass", said.returncode == 0 and "[  PASSED  ] 4 test(s)" in words(said), words(said))


def first_service(n, checks):
    said = n.sh("ficus", "new", "service", "greetings")
    checks.check("a service is made in an empty folder", said.returncode == 0 and not said.stderr, words(said))
    for command in ("make -C services/greetings\n", "make -C services/greetings test\n", "  ficus up\n", "  curl -X PUT"):
        checks.check(f"it says what is next: {command.strip()}", command in said.stdout, said.stdout)
    left = [path for path in n.tree() if "sample" in path.lower() or "sample" in open(path, encoding="utf-8").read().lower()]
    checks.check("no word of the template is left", not left, str(left))
    make(n, checks, "greetings", "services/greetings")
    said = n.sh("ficus", "config", "check")
    checks.check("the manifest is right", "system my-shop-2, 1 service," in said.stdout, words(said))
    said = n.up()
    checks.check("the system starts", said.returncode == 0, words(said))
    status, item = n.ask("PUT", "/api/v1/greetings/one", {"text": "Hello"})
    checks.check("a text is kept", (status, item.get("id"), item.get("text")) == (201, "one", "Hello"), repr(item))
    checks.check("it is shown", n.ask("GET", "/api/v1/greetings/one") == (200, item))
    checks.check("and listed", n.ask("GET", "/api/v1/greetings") == (200, {"items": [item], "next": None}))
    status, problem = n.ask("PUT", "/api/v1/greetings/one", {"text": 1})
    checks.check("a wrong one is refused", status == 400 and problem["errors"][0]["pointer"] == "/text", repr(problem))

    old = n.service("greetings")["pid"]
    os.kill(old, signal.SIGKILL)
    wait_for("a new process", lambda: n.service("greetings")["state"] == "running" and n.service("greetings")["pid"] != old)
    checks.check("after kill -9 it is there", n.ask("GET", "/api/v1/greetings/one") == (200, item))
    n.sh("ficus", "down")
    said = n.up()
    checks.check("the system starts again", said.returncode == 0, words(said))
    found = n.ask("GET", "/api/v1/greetings/one")
    checks.check("after a restart it is there", found == (200, item), repr(found))
    n.sh("ficus", "down")


def second_service(n, checks):
    """Into a manifest that is there already: its file is not touched, the routes are to be pasted."""
    before = n.tree()
    manifest = os.path.join(n.folder, "ficus.yaml")
    with open(manifest, encoding="utf-8") as f:
        text = f.read()
    said = n.sh("ficus", "new", "service", "price-list", "-f", "../My Shop 2/ficus.yaml", folder=n.base + "/root")
    checks.check("-f names a manifest elsewhere; there it is made", said.returncode == 0, words(said))
    with open(manifest, encoding="utf-8") as f:
        checks.check("the manifest is as it was", f.read() == text)
    routes = re.findall(r"^    - \{ .*\}$", said.stdout, re.MULTILINE)
    checks.check("it prints three routes", len(routes) == 3, said.stdout)
    with open(manifest, "a", encoding="utf-8") as f:
        f.write("\n".join(routes) + "\n")
    make(n, checks, "price-list", "services/price-list")
    said = n.up()
    checks.check("both start", said.returncode == 0 and n.service("price-list")["state"] == "running", words(said))
    status, item = n.ask("PUT", "/api/v1/price-list/a%2Fb", {"text": "x"})
    checks.check("the second one answers", (status, item.get("id")) == (201, "a/b"), repr(item))
    checks.check("the first one too", n.ask("GET", "/api/v1/greetings")[1]["items"][0]["text"] == "Hello")
    n.sh("ficus", "down", "--purge")
    checks.check("nothing of the first was touched", set(before) >= {p for p in n.tree() if "price-list" not in p})


def caller(n, checks):
    """What docs/calls.md says of a service that calls another, word by word."""
    with open(os.path.join(ROOT, "docs", "calls.md"), encoding="utf-8") as f:
        text = f.read()
    handler = re.search(r"^```c\n(.*?)^```$", text, re.M | re.S).group(1)
    calls = re.search(r"^```yaml\n(.*?)^```$", text, re.M | re.S).group(1)
    route = re.search(r'`(\{"GET", .*?\},)`', text).group(1)
    n.sh("ficus", "new", "service", "desk")
    source = os.path.join(n.folder, "services/desk/desk.c")
    with open(source, encoding="utf-8") as f:
        code = f.read()
    with open(source, "w", encoding="utf-8") as f:
        f.write(re.sub(r"(static const struct ficus_route routes\[\] = \{\n)", lambda m: handler + "\n" + m.group(1) + route + "\n", code))
    with open(os.path.join(n.folder, "ficus.yaml"), "a", encoding="utf-8") as f:
        f.write('    - { method: GET, path: "/api/v1/desk/{id}/greeting", to: "desk:/v1/desk/{id}/greeting" }\n')
    said = n.sh("ficus", "config", "check")
    checks.check("a system of three", said.returncode == 0, words(said))
    make(n, checks, "the caller", "services/desk")
    n.up()
    n.ask("PUT", "/api/v1/greetings/ann", {"text": "Hello Ann"})
    status, problem = n.ask("GET", "/api/v1/desk/ann/greeting")
    logs = n.sh("ficus", "logs", "desk").stdout
    checks.check("a call that is not declared fails", (status, problem.get("code")) == (500, "internal"), repr(problem))
    checks.check("and the log says what to write", "greetings is not declared in service.yaml (calls: { greetings: {} })" in logs, logs)
    with open(os.path.join(n.folder, "services/desk/service.yaml"), "a", encoding="utf-8") as f:
        f.write(calls)
    for command in re.findall(r"^  ficus (restart \S+)$", n.sh("ficus", "reload").stdout, re.M):
        n.sh("ficus", *command.split())
    found = n.ask("GET", "/api/v1/desk/ann/greeting")
    checks.check("declared and restarted as reload says, it is answered", found == (200, {"said": "Hello Ann"}), repr(found))
    checks.check("what the callee does not know is 404", n.ask("GET", "/api/v1/desk/eve/greeting")[0] == 404)
    n.sh("ficus", "stop", "greetings")
    status, problem = n.ask("GET", "/api/v1/desk/ann/greeting")
    checks.check("without the callee it is 503", (status, problem.get("code")) == (503, "try_again"), repr(problem))
    n.sh("ficus", "down", "--purge")


def refusals(n, checks):
    before = n.tree()
    for name in REFUSED:
        said = n.sh("ficus", "new", "service", "--", name)
        checks.check(f'the name "{name}" is refused in words', said.returncode == 2 and said.stderr, words(said))
    said = n.sh("ficus", "new", "service", "greetings")
    checks.check("a folder that is there is left alone", said.returncode != 0 and "is there already" in said.stderr, words(said))
    said = n.sh("ficus", "new", "service", "other", folder=os.path.join(n.folder, "services"))
    checks.check("in a folder of a system its manifest is named", said.returncode == 2 and "say -f" in said.stderr, words(said))
    said = n.sh("ficus", "new", "service", "other", "-f", "none.yaml")
    checks.check("a manifest that is named must be there", said.returncode != 0 and "none.yaml" in said.stderr, words(said))
    said = n.sh("ficus", "new", "service", "other", "--dir", "services/greetings/main.c/other")
    checks.check("what cannot be made says why", said.returncode != 0 and "main.c" in said.stderr, words(said))
    checks.check("none of that left anything", n.tree() == before)
    said = n.sh("ficus", "new", "service", "other", "--dir", "elsewhere/other")
    want = "include: [..., elsewhere/other/service.yaml]"
    checks.check("--dir outside of include: is said", said.returncode == 0 and want in said.stdout, words(said))
    checks.check("and is made there", os.path.exists(os.path.join(n.folder, "elsewhere/other/other.c")))


def main():
    build, rest = build_folder(sys.argv[1:])
    if rest:
        print(__doc__, file=sys.stderr)
        return 2
    n, checks = Newcomer(build), Checks()
    try:
        first_service(n, checks)
        second_service(n, checks)
        caller(n, checks)
        refusals(n, checks)
    finally:
        if os.path.exists(os.path.join(n.folder, ".ficus")):
            print(n.sh("ficus", "logs", "-n", "40").stdout)
        n.sh("ficus", "down")
    return checks.end()


if __name__ == "__main__":
    sys.exit(main())
