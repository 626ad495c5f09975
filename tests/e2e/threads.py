#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A gateway with two threads: both serve, and it is still one gateway, for operators, under load, when it is killed.

    tests/e2e/threads.py [--build FOLDER]
"""

import glob
import json
import os
import re
import subprocess
import sys

from checks import run_checked
from drain import Client
from reload import CLIENTS, OwnShop, status_of, under_load
from shop import build_folder, wait_for

CONNECTIONS, LOAD_S = 64, 2
LISTEN = "  listen: 127.0.0.1:8080\n"


class ThreadedShop(OwnShop):
    def __init__(self, build, name):
        super().__init__(build, name)
        assert LISTEN in self.text
        self.text = self.text.replace(LISTEN, LISTEN + "  threads: 2\n")
        self.write(self.text)


def loops_cpu_ms(pid):
    """Of each thread that serves clients: the first one, and those beside it."""
    cpu = []
    for task in sorted(glob.glob(f"/proc/{pid}/task/*"), key=lambda path: int(os.path.basename(path))):
        with open(task + "/comm", encoding="utf-8") as f:
            name = f.read().strip()
        with open(task + "/stat", encoding="utf-8") as f:
            fields = f.read().rpartition(")")[2].split()
        if task.endswith(f"/{pid}") or name == "ficus-loop":
            cpu.append((int(fields[11]) + int(fields[12])) * 1000 // os.sysconf("SC_CLK_TCK"))
    return cpu


def metric(shop, name):
    """The sum of a metric's series."""
    text = shop.request("GET", "/metrics").raw.decode()
    return sum(float(line.rpartition(" ")[2]) for line in text.splitlines() if re.match(name + r"[{ ]", line))


def wrk(shop, path):
    """(requests that were answered, what was not well)"""
    done = subprocess.run(
        ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{LOAD_S}s", shop.url + path], capture_output=True, text=True, check=True
    )
    bad = re.findall(r"Socket errors.*|Non-2xx.*", done.stdout)
    return int(re.search(r"(\d+) requests in", done.stdout).group(1)), bad


def load(shop, checks):
    pid = shop.gateway()["pid"]
    cpu = loops_cpu_ms(pid)
    checks.check("two threads serve", len(cpu) == 2, str(cpu))
    before = metric(shop, "gateway_requests_total")
    count, bad = wrk(shop, "/api/v1/products?limit=3")
    checks.check(f"wrk: {count} requests, all well", count > 100 and not bad, str(bad))
    spent = [b - a for a, b in zip(cpu, loops_cpu_ms(pid))]
    checks.check("both had their part", min(spent) > 0, str(spent))
    # wrk does not count what was under way when it ended
    counted = metric(shop, "gateway_requests_total") - before
    checks.check("metrics are the sum of both", count <= counted <= count + CONNECTIONS + 16, f"{counted} of {count}")
    checks.check("its connections are gone", wait_for("few connections", lambda: metric(shop, "gateway_connections") < 4))
    lines = bad_lines = 0
    files = glob.glob(os.path.join(shop.state, "log/gateway.1.log*"))
    for name in files:
        with open(name, "rb") as f:
            for line in f:
                lines += 1
                try:
                    json.loads(line)
                except ValueError:
                    bad_lines += 1
    # a fast machine fills the file more than once, and of those that were full only the last is kept
    checks.check(f"the log: {lines} lines, each is whole", (lines > count or len(files) > 1) and bad_lines == 0, f"{bad_lines} are not")


def killed(shop, checks):
    """An instance that was killed is left alone by both threads at once, and taken again by both."""
    pid = shop.pids()["catalog"]
    os.kill(pid, 9)
    wait_for("another catalog", lambda: shop.pids().get("catalog") not in (None, pid))
    wait_for("an answer", lambda: status_of(shop, "/api/v1/products") == 200)
    count, bad = wrk(shop, "/api/v1/products?limit=3")
    checks.check(f"after its service was killed: wrk: {count} requests, all well", count > 100 and not bad, str(bad))
    pid = shop.gateway()["pid"]
    os.kill(pid, 9)
    wait_for("another gateway", lambda: shop.gateway()["pid"] not in (None, pid))
    answer = wait_for("an answer", lambda: status_of(shop, "/api/v1/products"))
    checks.check("after it was killed itself", answer == 200 and len(loops_cpu_ms(shop.gateway()["pid"])) == 2, str(answer))


def run(shop, checks):
    shop.up()
    admin, token = shop.admin(), shop.user("customer@example.org")
    shop.product(admin, "P", 100, 1000000)
    load(shop, checks)
    under_load(shop, checks, [Client(shop, token, i) for i in range(CLIENTS)])
    killed(shop, checks)
    shop.write(shop.text.replace("threads: 2", "threads: 1"))
    done = shop.run("reload")
    checks.check("another number of threads: refused by name", done.returncode == 1 and "threads" in done.stderr, done.stderr)
    done = shop.run("restart", "gateway")
    checks.check("and taken up by a restart", done.returncode == 0 and len(loops_cpu_ms(shop.gateway()["pid"])) == 1)
    checks.check("ficus down", shop.down().returncode == 0)


def main():
    build, _ = build_folder(sys.argv[1:])
    return run_checked(ThreadedShop(build, "threads"), run)


if __name__ == "__main__":
    sys.exit(main())
