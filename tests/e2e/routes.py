#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`ficus routes` and `ficus routes explain` on a manifest whose answers are known, and the examples of docs/gateway.md: each
is a manifest that `ficus config check` takes.

    tests/e2e/routes.py [--build FOLDER]
"""

import json
import os
import re
import shutil
import subprocess
import sys

from certificates import certificate
from checks import Checks
from shop import ROOT, build_folder

MANIFEST = """ficus: 1
system: small
include: ["*.service.yaml"]
gateway:
  hosts: [shop.example]
  routes:
    - { method: GET, path: "/api/orders/{id}", to: "orders:/v1/orders/{id}" }
    - { method: GET, path: "/api/orders/{id}", headers: { X-Beta: "1" }, to: "orders:/v2/orders/{id}" }
    - { method: PUT, path: "/api/orders/{id}", query: { v: { present: true } }, to: "orders:/v1/orders/{id}" }
    - path: /split
      split: [{ to: "orders:/v1/split", weight: 95 }, { to: "tenants:/v2/split", weight: 5 }]
      sticky: cookie ab
      fallback: { stale: 5m, to: "tenants:/v1/spare", status: 200 }
    - { host: "*.shop.example", path: "/**", to: "tenants:/**" }
    - { path: "/**", answer: 404 }
"""
SERVICES = ("orders", "tenants")


class Table:
    def __init__(self, build, checks):
        self.ficus = os.path.join(os.path.abspath(build), "ficus")
        self.folder = os.path.join(os.path.abspath(build), "e2e-routes")
        self.checks = checks
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)
        self.write("ficus.yaml", MANIFEST)
        for name in SERVICES:
            self.service(name)

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)

    def service(self, name):
        self.write(name + ".service.yaml", f"service: {name}\nteam: t\ndoes: nothing\nrun: ./{name}\n")

    def run(self, *args):
        return subprocess.run(
            [self.ficus, *args], cwd=self.folder, capture_output=True, text=True, timeout=60, check=False
        )

    def explain(self, what, line, code, words, *args):
        """The line of the route that is taken (None: none), the exit code, and words that are said."""
        text = self.run("routes", "explain", *args)
        document = json.loads(self.run("routes", "explain", *args, "--json").stdout)
        found = document["match"]["line"] if "match" in document else None
        missing = [w for w in words if w not in text.stdout]
        self.checks.check(
            what, found == line and text.returncode == code and not missing, f"line {found}, {missing}\n{text.stdout}"
        )


def look_at_list(t):
    lines = t.run("routes").stdout.splitlines()
    places = [int(re.search(r"ficus\.yaml:(\d+)\)$", line).group(1)) for line in lines]
    t.checks.check("routes are listed by precedence", places == [14, 8, 7, 9, 10, 15], "\n".join(lines))
    document = json.loads(t.run("routes", "--json").stdout)
    t.checks.check("so in JSON", [r["line"] for r in document] == places, str(document))
    t.checks.check("with what they ask for", document[1]["route"]["headers"] == {"X-Beta": "1"}, str(document[1]))


def look_at_explanations(t):
    t.explain("the plain route", 7, 0, ["asks   orders:/v1/orders/7?x=1", 'needs header X-Beta to be "1", which is absent'],
              "GET", "/api/orders/7?x=1")
    t.explain("more headers go first", 8, 0, ["orders:/v2/orders/7", "asks for fewer headers"],
              "GET", "/api/orders/7", "-H", "x-beta: 1")
    t.explain("another value", 7, 0, ['which is "2"'], "GET", "/api/orders/7", "--header", "X-Beta: 2")
    t.explain("a host goes before any path", 14, 0, ["tenants:/api/orders/7", "its host is less specific"],
              "GET", "https://a.shop.example/api/orders/7")
    t.explain("the host of a header", 14, 0, ["is for PUT"], "GET", "/api/orders/7", "-H", "Host: a.shop.example:1")
    t.explain("another method", None, 1, ["405", "Allow: GET, HEAD", "is for GET", "stands back"],
              "POST", "/api/orders/7")
    t.explain("a parameter that is absent", None, 1, ["needs parameter v, which is absent"], "PUT", "/api/orders/7")
    t.explain("a parameter that is there", 9, 0, ["asks   orders:/v1/orders/7?v"], "PUT", "/api/orders/7?v")
    t.explain("a split", 10, 0, ["95.0 % orders:/v1/split, 5.0 % tenants:/v2/split, sticky by cookie ab",
                                 "fallback stale 5m or tenants:/v1/spare or 200",
                                 "asks   orders:/v1/split?a", "or     tenants:/v2/split?a"], "GET", "/split?a")
    t.explain("a path that is refused", None, 1, ["400"], "GET", "/api/../orders")
    t.explain("a stranger's host", None, 1, ["421"], "GET", "http://evil.example/")
    t.explain("the gateway's own", None, 1, ["200", "its own health"], "GET", "/health")
    for wrong in (["GE T", "/"], ["GET", "api"], ["GET", "/", "-H", "no colon"], ["GET"]):
        said = t.run("routes", "explain", *wrong)
        t.checks.check(f"usage: {wrong}", said.returncode == 2 and said.stderr != "", said.stderr)
    t.write("ficus.yaml", MANIFEST.replace("answer: 404", "answer: 4"))
    t.checks.check("a wrong manifest", t.run("routes").returncode == 2)


def examples(text):
    """The yaml blocks: whole gateways, or lists of routes."""
    for block in re.findall(r"^```yaml\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if block.startswith("- "):
            block = "gateway:\n  auth: { jwks: \"identity:/jwks\", issuer: shop }\n  routes:\n" + re.sub(
                r"^", "    ", block, flags=re.MULTILINE).rstrip(" ")
        yield block


def look_at_docs(t):
    with open(os.path.join(ROOT, "docs", "gateway.md"), encoding="utf-8") as f:
        blocks = list(examples(f.read()))
    t.checks.check("docs/gateway.md has examples", len(blocks) >= 5, str(len(blocks)))
    for block in blocks:
        text = block.replace("[...]", "[]")
        for name in set(re.findall(r'\b(?:to|get|jwks): *"?([a-z0-9-]+)[:",} ]', text)):
            t.service(name)
        os.makedirs(os.path.join(t.folder, "storefront"), exist_ok=True)
        t.write("storefront/index.html", "")
        os.makedirs(os.path.join(t.folder, "certs"), exist_ok=True)
        for name in set(re.findall(r"certs/(\w+)\.pem", text)):
            certificate(os.path.join(t.folder, "certs"), name, f"DNS:{name}.example")
        t.write("ficus.yaml", 'ficus: 1\nsystem: small\ninclude: ["*.service.yaml"]\n' + text)
        said = t.run("config", "check")
        t.checks.check("the example of the docs is a manifest", said.returncode == 0, said.stderr + text)


def main():
    build, rest = build_folder(sys.argv[1:])
    if rest:
        print(__doc__, file=sys.stderr)
        return 2
    checks = Checks()
    t = Table(build, checks)
    look_at_list(t)
    look_at_explanations(t)
    look_at_docs(t)
    shutil.rmtree(t.folder)
    return checks.end()


if __name__ == "__main__":
    sys.exit(main())
