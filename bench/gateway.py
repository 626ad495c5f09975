#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The gateway beside nginx: the same backend, the same machine, the same minutes.

bench/gateway.py [BUILD] [--rounds N] [--seconds S]

The backend (echo.c) is a raw HTTP/1.1 server that no work hides behind: it answers each request with the same 200, and
does not look at the Ficus-Identity that only the gateway sends. Both proxies are one thread, keep connections to the
backend's unix socket, and write one log line a request. Rounds alternate; the ratio is the median over pairs of rounds.

What differs: the gateway signs an identity, makes a trace and request id, counts metrics, and holds each call to its
deadline, breaker and retry budget; nginx does none of it.
"""

import argparse
import http.client
import os
import re
import statistics
import subprocess
import sys
import time

from system import ROOT, System, cpu_ns, free_port, machine, program

PATH = "/api/v1/ping"
CONNECTIONS = (32, 1)

MANIFEST = """\
ficus: 1
system: bench
include: [echo.yaml]
gateway:
  listen: 127.0.0.1:8080
  timeout: 15s
  routes:
    - { method: GET, path: %s, to: "echo:%s" }
""" % (PATH, PATH)

SERVICE = """\
service: echo
team: bench
does: answers
run: %s
"""

# Limits on requests per connection are lifted: they would make nginx connect anew and again.
NGINX = """\
daemon off;
worker_processes 1;
%(user)s
pid %(folder)s/nginx.pid;
error_log %(folder)s/error.log;
events { worker_connections 1024; }
http {
    access_log %(folder)s/access.log;
    client_body_temp_path %(folder)s/t1; proxy_temp_path %(folder)s/t2; fastcgi_temp_path %(folder)s/t3;
    uwsgi_temp_path %(folder)s/t4; scgi_temp_path %(folder)s/t5;
    keepalive_requests 1000000000;
    tcp_nodelay on;
    upstream echo { server unix:%(socket)s; keepalive 64; keepalive_requests 1000000000; }
    server {
        listen 127.0.0.1:%(port)d;
        location / { proxy_pass http://echo; proxy_http_version 1.1; proxy_set_header Connection ""; }
    }
}
"""


def write(path, text):
    with open(path, "w", encoding="ascii") as f:
        f.write(text)


def prepare(system, cc):
    """Put the backend and a manifest with nothing else into the system's folder."""
    echo = os.path.join(system.folder, "echo")
    subprocess.run([cc, "-std=gnu17", "-D_GNU_SOURCE", "-O2", "-o", echo, f"{ROOT}/bench/echo.c"], check=True)
    system.manifest = os.path.join(system.folder, "ficus.yaml")
    write(system.manifest, MANIFEST)
    write(os.path.join(system.folder, "echo.yaml"), SERVICE % echo)


class Nginx:
    def __init__(self, binary, folder, socket):
        self.port = free_port()
        conf = os.path.join(folder, "nginx.conf")
        user = "user root;" if os.geteuid() == 0 else ""    # the backend's socket lets only its owner in
        write(conf, NGINX % {"folder": folder, "socket": socket, "port": self.port, "user": user})
        self.process = subprocess.Popen([binary, "-p", folder, "-c", conf, "-e", f"{folder}/error.log"])

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.terminate()
        self.process.wait(10)

    def worker(self):
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as f:
            return int(f.read().split()[0])


def wait_answer(port):
    """What is answered there, once it is 200."""
    deadline = time.monotonic() + 20
    while True:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", PATH)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status == 200:
                return body
            problem = f"{answer.status} {body!r}"
        except OSError as e:
            problem = str(e)
        finally:
            connection.close()
        if time.monotonic() > deadline:
            sys.exit(f"port {port} does not answer: {problem}")
        time.sleep(0.1)


def milliseconds(text):
    number, unit = re.fullmatch(r"([0-9.]+)(us|ms|s)", text).groups()
    return float(number) * {"us": 0.001, "ms": 1.0, "s": 1000.0}[unit]


def one_round(wrk, port, pid, connections, seconds):
    """One run of wrk against one proxy."""
    command = [wrk, "-t1", f"-c{connections}", f"-d{seconds}s", "--latency", f"http://127.0.0.1:{port}{PATH}"]
    before = cpu_ns(pid)
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    cpu = cpu_ns(pid) - before
    if "Non-2xx" in text or "Socket errors" in text:
        sys.exit(f"not all was answered:\n{text}")
    count = int(re.search(r"(\d+) requests in", text).group(1))
    return {
        "req/s": float(re.search(r"Requests/sec:\s+([0-9.]+)", text).group(1)),
        "p50 ms": milliseconds(re.search(r"50%\s+(\S+)", text).group(1)),
        "p99 ms": milliseconds(re.search(r"99%\s+(\S+)", text).group(1)),
        "CPU us/req": cpu / count / 1000,
    }


def print_rounds(connections, rounds):
    """rounds: of pairs {"ficus": figures, "nginx": figures}"""
    columns = list(rounds[0]["ficus"])
    print(f"\n{connections} connection{'s' if connections > 1 else ''}, {len(rounds)} rounds: median")
    print(f"{'':<14}" + "".join(f"{c:>12}" for c in columns))
    for who in ("ficus", "nginx"):
        print(f"{who:<14}" + "".join(f"{statistics.median(r[who][c] for r in rounds):12.2f}" for c in columns))
    ratios = [[r["ficus"][c] / r["nginx"][c] for r in rounds] for c in columns]
    print(f"{'ficus / nginx':<14}" + "".join(f"{statistics.median(r):12.2f}" for r in ratios))
    print(f"{'   from':<14}" + "".join(f"{min(r):12.2f}" for r in ratios))
    print(f"{'   to':<14}" + "".join(f"{max(r):12.2f}" for r in ratios))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", nargs="?", default="build")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=5)
    args = parser.parse_args()
    wrk, binary, cc = program("wrk", "wrk"), program("nginx", "nginx-light"), program("cc", "gcc")
    print(machine())
    with System(args.build) as system:
        prepare(system, cc)
        system.up()
        processes = system.processes()
        with Nginx(binary, system.folder, processes["echo"]["address"].removeprefix("unix:")) as nginx:
            if wait_answer(system.port) != wait_answer(nginx.port):
                sys.exit("the two do not answer the same")
            proxies = {"ficus": (system.port, processes["gateway"]["pid"]), "nginx": (nginx.port, nginx.worker())}
            for connections in CONNECTIONS:
                rounds = []
                for i in range(args.rounds):
                    order = ("ficus", "nginx") if i % 2 == 0 else ("nginx", "ficus")
                    rounds.append({who: one_round(wrk, *proxies[who], connections, args.seconds) for who in order})
                print_rounds(connections, rounds)


if __name__ == "__main__":
    main()
