#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""ficus upgrade under load, over TLS with HTTP/1.1 and HTTP/2; programs that cannot take over; death in the middle.

    tests/e2e/upgrade.py [--build FOLDER]

Lost is a request that got no whole answer though the protocol did not allow its client to send it again: no GOAWAY below its id,
no Connection: close before it (drain.py, h2_client.py). Wanted: none, and no 5xx.
"""

import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time

import drain
import h2_client
from checks import run_checked
from shop import GOOD, ROOT, build_folder, wait_for
from tls_shop import TLS, TlsShop

H1_CLIENTS, H2_CLIENTS, STREAMS = 3, 3, 4
SETTLE_S = 0.6
REAL_BUT_A_SCRIPT = '#!/bin/sh\nexec {} "$@"\n'
FAILING = "#!/bin/sh\necho 'wrong machine'\nexit 7\n"


class OwnShop(TlsShop):
    """With programs of its own, which may be replaced."""

    def __init__(self, build, name):
        super().__init__(build, name)
        self.program = self.ficus
        self.bin = self.folder_of_programs("bin")
        self.ficus = os.path.join(self.bin, "ficus")
        self.install(self.bin)

    def folder_of_programs(self, name):
        folder = os.path.join(self.folder, name)
        os.makedirs(os.path.join(folder, "shop"))
        for entry in os.scandir(os.path.join(self.build, "shop")):
            if entry.is_file() and os.access(entry.path, os.X_OK):
                os.symlink(entry.path, os.path.join(folder, "shop", entry.name))
        return folder

    def install(self, folder, script=None, name="ficus"):
        """A new file in the place of a program, as a package manager does it."""
        path = os.path.join(folder, name)
        if script is None:
            shutil.copy2(self.program, path + ".new")
        else:
            with open(path + ".new", "w", encoding="utf-8") as f:
                f.write(script)
            os.chmod(path + ".new", stat.S_IRWXU)
        os.rename(path + ".new", path)
        return path

    def operator(self, *args, seconds=120):
        """A command, whatever lies in the place of the program."""
        copy, self.ficus = self.ficus, self.program
        try:
            return self.run(*args, seconds=seconds)
        finally:
            self.ficus = copy

    def status(self):
        return json.loads(self.operator("status", "--json").stdout)


class H1Client(drain.Client):
    def connect(self):
        self.connection = self.shop.connect(self.shop.context("one"))
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""


def h2_requests(token):
    body = json.dumps({"items": [{"product_id": "P", "quantity": 1}], "payment": {"card_number": GOOD}}).encode()
    fields = (("authorization", "Bearer " + token),)

    def requests():
        order = (("idempotency-key", os.urandom(8).hex()), ("content-type", "application/json"), ("content-length", str(len(body))))
        yield "POST", "/api/v1/orders", fields + order, body
        for path in ("/api/v1/products?limit=3", "/api/v1/orders?limit=3", "/api/v1/users/me")[: STREAMS - 1]:
            yield "GET", path, fields, None

    return requests


def same_file(pid, path):
    running, there = os.stat(f"/proc/{pid}/exe"), os.stat(path)
    return (running.st_dev, running.st_ino) == (there.st_dev, there.st_ino)


def refusals(shop, checks):
    """Whatever cannot take over is refused with its reason, and nothing has changed."""
    before = shop.pids()
    other = shop.folder_of_programs("other")
    garbage = os.path.join(shop.folder, "garbage")
    with open(garbage, "wb") as f:
        f.write(os.urandom(4096))
    cases = (
        ("is not there", os.path.join(shop.folder, "nowhere"), 2, "No such file"),
        ("is no ficus", shutil.which("true"), 1, "is not a ficus that can take over"),
        ("fails", shop.install(other, FAILING, "failing"), 1, "wrong machine"),
        ("may not be run", garbage, 1, "cannot take over"),
    )
    for name, program, code, why in cases:
        done = shop.run("upgrade", "--binary", program)
        checks.check(f"a program that {name}: exit code {code} and why", done.returncode == code and why in done.stderr, f"{done.returncode} {done.stderr}")
    done = shop.run("upgrade", "--binary", shutil.which("true"), "--json")
    answer = json.loads(done.stdout)
    checks.check("--json says it too", done.returncode == 1 and answer["ok"] is False and "take over" in answer["text"], done.stdout)
    script = shop.install(other, REAL_BUT_A_SCRIPT.format(shop.program), "script")
    done = shop.run("upgrade", "--binary", script)
    checks.check("one that can be tried and not become: exit code 1 and why", done.returncode == 1 and script in done.stderr, f"{done.returncode} {done.stderr}")
    with open(shop.manifest, encoding="utf-8") as f:
        manifest = f.read()
    shop.write(TLS.replace("hsts: 180d", "hsts: often"))
    done = shop.run("upgrade")
    checks.check("errors in the manifest: exit code 2, with their place", done.returncode == 2 and "ficus.yaml:" in done.stderr, f"{done.returncode} {done.stderr}")
    with open(shop.manifest, "w", encoding="utf-8") as f:
        f.write(manifest)
    file = os.path.join(shop.state, "run/hub.json")
    os.rename(file, file + ".kept")
    os.mkdir(file + ".tmp")
    done = shop.run("upgrade")
    os.rmdir(file + ".tmp")
    os.rename(file + ".kept", file)
    checks.check(
        "one that fails after all gives everything back",
        done.returncode == 1 and "could not take over" in done.stderr and "hub.json.tmp" in done.stderr,
        f"{done.returncode} {done.stdout}{done.stderr}",
    )
    shown = shop.run("status").stdout
    checks.check("ficus status says so", "upgrade to " in shown and "failed: " in shown, shown)
    checks.check("and all the time no process was touched", shop.pids() == before, f"{before} {shop.pids()}")
    checks.check("which serve", shop.request("GET", "/api/v1/products").status == 200)


def documented():
    """The words of each `ficus upgrade` of docs/gateway.md."""
    with open(os.path.join(ROOT, "docs/gateway.md"), encoding="utf-8") as f:
        return [line.split()[1:] for line in f if line.startswith("    ficus upgrade")]


def under_load(shop, checks, token):
    def connect():
        return h2_client.tls_stream(shop)

    h1 = [H1Client(shop, token, i) for i in range(H1_CLIENTS)]
    h2 = [h2_client.Client(connect, f"127.0.0.1:{shop.port}", h2_requests(token)) for _ in range(H2_CLIENTS)]
    for client in h1 + h2:
        client.start()
    time.sleep(SETTLE_S)
    commands = documented()
    checks.check("docs/gateway.md has both forms", len(commands) == 2 and any("--binary" in c for c in commands), str(commands))
    for number, words in enumerate(commands):
        before = shop.pids()
        elsewhere = "--binary" in words
        program = shop.install(shop.folder_of_programs(f"bin{number}") if elsewhere else shop.bin)
        done = shop.operator(*(program if w.startswith("/") else w for w in words))
        after = shop.pids()
        wanted = '"ok":true,"from":"' if "--json" in words else "upgraded from "
        checks.check(f"{' '.join(words)} under load", done.returncode == 0 and wanted in done.stdout, f"{done.returncode} {done.stdout}{done.stderr}")
        checks.check("the supervisor has kept its pid, and runs the new program", after["supervisor"] == before["supervisor"]
                     and same_file(after["supervisor"], program))
        checks.check("gateway and hub run the new program", all(same_file(after[n], program) for n in ("gateway", "hub")))
        checks.check("every process was restarted once", all(after[n] != before[n] for n in after if n != "supervisor") and set(after) == set(before))
        time.sleep(SETTLE_S)
    for client in h1 + h2:
        client.end()
    for name, clients in (("HTTP/1.1", h1), ("HTTP/2", h2)):
        bad = [b for c in clients for b in c.bad]
        count = sum(sum(c.count.values()) for c in clients)
        checks.check(f"{name}: of {count} requests none lost, no 5xx", count > 100 and not bad, f"{len(bad)}: {bad[:6]}")
    orders = [o for c in h1 for o in c.orders]
    orders += [json.loads(body)["id"] for c in h2 for path, status, body in c.answered if path == "/api/v1/orders" and status == 202]
    states = {shop.ended(token, order)["status"] for order in orders}
    checks.check(f"each of {len(orders)} orders has ended well", len(orders) > 20 and states == {"confirmed"}, str(states))


def resumption(shop, checks):
    """Tickets of before are good: their keys outlive the gateway."""
    context = shop.context("one")

    def session(before=None):
        stream = shop.connect(context, session=before)
        stream.sendall(f"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{shop.port}\r\nConnection: close\r\n\r\n".encode())
        while stream.recv(65536):
            pass
        return stream.session, stream.session_reused

    kept, _ = session()
    shop.operator("stop", "search")
    done = shop.operator("upgrade")
    checks.check("a TLS session is resumed by the gateway of the new program", done.returncode == 0 and session(kept)[1], done.stderr)
    held = [p["state"] for s in shop.status()["services"] if s["name"] == "search" for p in s["instances"]]
    checks.check("what is held down stays so", held == ["stopped"] and shop.operator("start", "search").returncode == 0, str(held))


def half_way(shop, checks):
    """A service whose new program does not run ends the roll, and the rest is as it was."""
    catalog = os.path.join(shop.bin, "shop/catalog")
    target = os.readlink(catalog)
    program = shop.install(shop.bin)
    shop.install(os.path.join(shop.bin, "shop"), FAILING, "catalog")
    before = shop.pids()
    done = shop.operator("upgrade", "--binary", program)
    checks.check("a service that does not come back: exit code 1, and its name", done.returncode == 1 and "catalog dies again and again" in done.stderr,
                 f"{done.returncode} {done.stdout}{done.stderr}")
    after = shop.pids()
    checks.check("the gateway runs on as it was", after["gateway"] == before["gateway"])
    shown = shop.operator("status").stdout
    checks.check("ficus status says how far it came", "failed: catalog" in shown and "were restarted" in shown, shown)
    os.remove(catalog)
    os.symlink(target, catalog)
    done = shop.operator("upgrade")
    checks.check("repaired, the same again goes through", done.returncode == 0, f"{done.returncode} {done.stdout}{done.stderr}")
    checks.check("for all", all(p["state"] == "running" for s in shop.status()["services"] for p in s["instances"]))


def foreground(shop, checks):
    """A supervisor that is somebody's child keeps its pid, its terminal and what Ctrl-C does."""
    shop.operator("down")
    command = [shop.ficus, "up", "--set", f"gateway.listen=127.0.0.1:{shop.port}", "-f", shop.manifest]
    with open(os.path.join(shop.folder, "foreground.txt"), "w+", encoding="utf-8") as said:
        up = subprocess.Popen(command, env=shop.env, stdout=said, stderr=subprocess.STDOUT)
        try:
            wait_for("all processes", lambda: shop.operator("status").returncode == 0 and "administrator" in open(said.name, encoding="utf-8").read(), 60)
            program = shop.install(shop.bin)
            done = shop.operator("upgrade")
            checks.check("in the foreground: upgraded", done.returncode == 0 and same_file(up.pid, program), f"{done.returncode} {done.stderr}")
            checks.check("it serves", shop.request("GET", "/api/v1/products").status == 200)
        finally:
            up.send_signal(signal.SIGINT)
        code = up.wait(60)
        said.seek(0)
        text = said.read()
    checks.check("Ctrl-C stops everything, as before", code == 0 and "stopping ..." in text and not shop.pids(), f"{code} {text[-500:]} {shop.pids()}")
    shop.up()


def killed(shop, checks, token):
    """kill -9 while everything is restarted is the end of a supervisor like any other."""
    order = shop.order(token, {"P": 1}).json["id"]
    shop.install(shop.bin)
    reply = shop.operator("upgrade", "--wait", "0s")
    checks.check("who does not wait is told that it goes on: exit code 4", reply.returncode == 4 and "it goes on" in reply.stderr, f"{reply.returncode} {reply.stderr}")
    pids = shop.pids()
    os.kill(pids["supervisor"], signal.SIGKILL)
    wait_for("the end of all", lambda: not any(os.path.exists(f"/proc/{pid}") for pid in pids.values()))
    shop.up()
    checks.check("ficus up starts all again, and the order ends", shop.ended(token, order)["status"] == "confirmed")
    checks.check("nothing is known of the upgrade", "upgrade" not in shop.status()["supervisor"])


def run(shop, checks):
    shop.up()
    admin, token = shop.admin(), shop.user("customer@example.org")
    shop.product(admin, "P", 100, 1000000)
    refusals(shop, checks)
    under_load(shop, checks, token)
    resumption(shop, checks)
    shop.down()
    shop.up()  # from the first folder again
    half_way(shop, checks)
    foreground(shop, checks)
    killed(shop, checks, token)


def main():
    build, _ = build_folder(sys.argv[1:])
    return run_checked(OwnShop(build, "upgrade"), run)


if __name__ == "__main__":
    sys.exit(main())
