#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""ficus reload and restarts of the gateway, also with a new program, under load.

    tests/e2e/reload.py [--build FOLDER]

The clients are those of drain.py: one request after another on connections that stay open. Lost is a request without a
whole answer, unless the answer before it on its connection had said Connection: close. Wanted: none, and no 5xx.
"""

import os
import shutil
import stat
import sys
import time

from checks import run_checked
from drain import Client
from shop import Shop, build_folder, copy_shop, free_port, wait_for

CLIENTS = 6
RELOADS, RESTARTS = 10, 3
LOAD_S = 10.0
FIRST_ROUTE = "    - { method: GET,  path: /.well-known/jwks.json, to: identity }\n"
FAILING = "#!/bin/sh\nexit 1\n"
NEVER_READY = "#!/bin/sh\nexec sleep 60\n"


class OwnShop(Shop):
    """With a manifest and a program of its own, which may be changed."""

    def __init__(self, build, name):
        super().__init__(build, name)
        own = os.path.join(self.folder, "shop")
        copy_shop(own)
        self.manifest = os.path.join(own, "ficus.yaml")
        self.orders_yaml = os.path.join(own, "services/orders/service.yaml")
        with open(self.manifest, encoding="utf-8") as f:
            self.text = f.read()
        assert FIRST_ROUTE in self.text
        self.program = self.ficus
        bin_folder = os.path.join(self.folder, "bin")
        os.makedirs(bin_folder)
        os.symlink(os.path.join(self.build, "shop"), os.path.join(bin_folder, "shop"))
        self.ficus = os.path.join(bin_folder, "ficus")
        self.install(None)

    def install(self, script):
        """A new file in the place of the program, as a package manager does it; None: a copy of the real one."""
        new = self.ficus + ".new"
        if script is None:
            shutil.copy2(self.program, new)
        else:
            with open(new, "w", encoding="utf-8") as f:
                f.write(script)
            os.chmod(new, stat.S_IRWXU)
        os.rename(new, self.ficus)

    def operator(self, *args):
        """A command, whatever lies in the place of the program."""
        copy, self.ficus = self.ficus, self.program
        try:
            return self.run(*args)
        finally:
            self.ficus = copy

    def write(self, text):
        with open(self.manifest, "w", encoding="utf-8") as f:
            f.write(text)

    def with_route(self, line):
        self.write(self.text.replace(FIRST_ROUTE, FIRST_ROUTE + "    - " + line + "\n"))

    def gateway(self):
        return self.json("status")["gateway"]


def status_of(shop, path):
    return shop.request("GET", path).status


def errors(shop, checks):
    """Every error is told, and nothing has changed: neither the gateway nor a file."""
    resolved = os.path.join(shop.state, "run/gateway.json")
    before = os.stat(resolved)
    shop.write(shop.text.replace("timeout: 15s", "timeout: fifteen").replace("to: identity }", "to: nobody }"))
    done = shop.run("reload")
    places = [line for line in done.stderr.splitlines() if "ficus.yaml:" in line]
    checks.check("errors: all are shown, exit code 2", done.returncode == 2 and len(places) >= 2, done.stderr)
    after = os.stat(resolved)
    checks.check("errors: no file was touched", (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns))
    shop.write(shop.text.replace("listen: 127.0.0.1:8080", f"listen: 127.0.0.1:{free_port()}"))
    checks.check("--set of ficus up still goes before the file", shop.run("reload").returncode == 0)
    left = os.path.dirname(shop.orders_yaml).replace("orders", "search")
    shop.write(shop.text)
    os.rename(left + "/service.yaml", left + "/away")
    shop.write(shop.text.replace('to: "search:/v1/search"', 'to: "catalog:/v1/products"'))
    done = shop.run("reload")
    checks.check(
        "a service that left: refused by name, with what to do",
        done.returncode == 2 and "search has left" in done.stderr and "ficus down" in done.stderr,
        done.stderr,
    )
    os.rename(left + "/away", left + "/service.yaml")
    shop.write(shop.text)


def changes(shop, checks):
    shop.with_route('{ method: GET, path: /api/v1/added, to: "catalog:/v1/products" }')
    checks.check("before the reload a new route is 404", status_of(shop, "/api/v1/added") == 404)
    pids = shop.pids()
    done = shop.run("reload")
    checks.check("reload", done.returncode == 0 and done.stdout == "reloaded\n", done.stdout + done.stderr)
    checks.check("after it the route is there", status_of(shop, "/api/v1/added") == 200)
    checks.check("and no process was started anew", shop.pids() == pids)
    page = os.path.join(os.path.dirname(shop.manifest), "storefront/added.html")
    with open(page, "w", encoding="utf-8") as f:
        f.write("new\n")
    shop.run("reload")
    checks.check("a new file of a folder is there", shop.request("GET", "/added.html").raw == b"new\n")
    with open(shop.orders_yaml, encoding="utf-8") as f:
        text = f.read()
    with open(shop.orders_yaml, "w", encoding="utf-8") as f:
        f.write(text + "\nlog_level: warn\n")
    done = shop.json("reload")
    checks.check("what a service takes up at its start is named", done["ok"] and done["restart"] == ["orders"], str(done))
    shown = shop.run("status").stdout
    checks.check("ficus status says so too", "changed since it started: ficus restart orders" in shown, shown)
    shop.run("restart", "orders")
    checks.check("until it is restarted", "changed since" not in shop.run("status").stdout and shop.json("reload")["restart"] == [])
    shop.run("stop", "gateway")
    done = shop.run("reload")
    checks.check("a reload without a gateway waits for none", done.returncode == 0, done.stderr)
    shop.run("start", "gateway")


def under_load(shop, checks, clients):
    for client in clients:
        client.start()
    begin = time.monotonic()
    steps = ["reload"] * RELOADS
    for i in range(RESTARTS):
        steps.insert(2 + i * 4, "restart")
    bad_rounds = []
    for number, step in enumerate(steps):
        if step == "restart":
            before = shop.gateway()["pid"]
            done = shop.run("restart", "gateway")
            good = done.returncode == 0 and shop.gateway()["pid"] != before
        else:
            shop.with_route(f'{{ method: GET, path: /api/v1/round/{number}, to: "catalog:/v1/products" }}')
            done = shop.run("reload")
            good = done.returncode == 0 and status_of(shop, f"/api/v1/round/{number}") == 200
            good = good and status_of(shop, f"/api/v1/round/{number - 1}") == 404
        if not good:
            bad_rounds.append((step, done.stdout + done.stderr))
        time.sleep(max(0.0, begin + LOAD_S * (number + 1) / len(steps) - time.monotonic()))
    for client in clients:
        client.end()
    bad = [b for c in clients for b in c.bad]
    count = sum(sum(c.count.values()) for c in clients)
    checks.check(f"{RELOADS} reloads and {RESTARTS} restarts of the gateway: each took effect", not bad_rounds, str(bad_rounds))
    checks.check(f"under {count} requests: none lost, no 5xx", count > 500 and not bad, f"{len(bad)}: {bad[:6]}")


def programs(shop, checks):
    """A new program takes over only when it is ready; one that fails leaves the old one alone."""
    shop.write(shop.text)
    before = shop.gateway()["pid"]
    for name, script, why in (("ends at once", FAILING, "ended"), ("is never ready", NEVER_READY, "was not ready in time")):
        shop.install(script)
        done = shop.operator("restart", "gateway")
        checks.check(
            f"a new program that {name}: the restart fails and says why",
            done.returncode == 1 and "the new process " + why in done.stderr,
            f"{done.returncode} {done.stdout}{done.stderr}",
        )
        checks.check(f"a new program that {name}: the old one serves", status_of(shop, "/api/v1/products") == 200)
    status = shop.operator("status").stdout
    checks.check("ficus status says it", "restart failed" in status, status)
    os.kill(before, 9)
    wait_for("the gateway after its death", lambda: str(before) not in shop.operator("status").stdout)
    answer = wait_for("an answer", lambda: status_of(shop, "/api/v1/products"))
    checks.check("after a death the program that has served is started, not the new one", answer == 200, str(answer))
    shop.install(None)
    done = shop.run("restart", "gateway")
    running = os.stat(f"/proc/{shop.gateway()['pid']}/exe")
    checks.check(
        "a new program that works takes over",
        done.returncode == 0 and running.st_ino == os.stat(shop.ficus).st_ino,
        done.stdout + done.stderr,
    )
    checks.check("and serves", status_of(shop, "/api/v1/products") == 200)


def run(shop, checks):
    shop.up()
    admin, token = shop.admin(), shop.user("customer@example.org")
    shop.product(admin, "P", 100, 1000000)
    errors(shop, checks)
    changes(shop, checks)
    under_load(shop, checks, [Client(shop, token, i) for i in range(CLIENTS)])
    programs(shop, checks)


def main():
    build, _ = build_folder(sys.argv[1:])
    return run_checked(OwnShop(build, "reload"), run)


if __name__ == "__main__":
    sys.exit(main())
