#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The gateway beside nginx, HAProxy, h2o and a relay that reads nothing: one machine, the same minutes, one table.

bench/proxy.py [BUILD] [--rounds N] [--seconds S] [--only MODE,MODE] [--quick]

Client and origin on core 0, the proxy that is measured alone on core 1. In each round every proxy has its turn, in an
order that rotates; a ratio is taken inside a round, and the median of the rounds is shown with its quartiles. The modes
and how to read them: bench/README.md.
"""

import json
import os
import re
import resource
import socket
import ssl
import subprocess
import threading
import time

from peers import PATH, PEERS, Ficus, Peer, Relay, certificate
from rounds import Failed, Rounds, aimed, arguments, run
from system import cpu_ns, free_port, machine, program, rss_bytes

FILES = 40000
CONNECTIONS = 64
WARM_S = 0.3        # of each turn, before what is measured
RATE = 10000        # requests/s of mode "rate"
HANDSHAKES = 400    # new TLS connections/s of mode "newtls"
IDLE = 10000
IDLE_TLS = 2000     # the client's TLS is Python's, and slow
ROUTES = 10000
SETTLE_S = 1.0      # until what is idle has given back what it does not need
CHURN_SERVICES, CHURN_RATE = 1000, 100
H2LOAD_WARM_S = 0.5
H2_STREAMS = ["-c16", "-m16"]
HEADERS = ("Accept: application/json", "Accept-Encoding: gzip, deflate",
           "Cookie: session=5f0c1d9be24a4b7c93d1a6e2087745cb",
           "Authorization: Bearer Zm9yIHRoZSBiZW5jaG1hcmsgb25seTogdGhpcyBpcyBubyB0b2tlbiwgYnV0IGl0"
           "IGlzIGFzIGxvbmcgYXMgYSBzaG9ydCBvbmUgaXM6IGEgaHVuZHJlZCBieXRlcw==")


# ---- the machine ----


def files_raise():
    """Proxies and idle clients inherit it; the number that it is now."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (FILES, max(hard, FILES)))
    except ValueError:      # not for us to raise
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


# ---- one turn ----


class Bench(Rounds):
    def __init__(self, build, folder, rounds, seconds):
        super().__init__(rounds)
        self.build, self.folder, self.seconds = build, folder, seconds
        self.origins = {"tcp": f"tcp:127.0.0.1:{free_port()}", "unix": f"unix:{folder}/origin.sock"}
        self.proxies = {}   # all that run, by name
        self.absent = set() # kinds of Ficus that this build has not

    def start(self):
        for name in PEERS:
            self.proxies[name] = Peer(self.folder, self.origins, name)
            self.proxies[name].start()
        self.proxies["relay"] = Relay(self.folder, self.origins, self.build)
        self.proxies["relay"].start()

    def stop(self):
        for proxy in self.proxies.values():
            proxy.stop()

    def ficus(self, origin="tcp", routes=0, tls=False, threads=1, spread=False):
        """The name of a gateway of that kind, started; None when this build does not have it."""
        name = ("ficus" + f" {origin}" * (origin != "tcp") + f" {routes}" * (routes > 0) + " tls" * tls
                + f" x{threads}" * (threads > 1) + " spread" * spread)
        if name in self.absent:
            return None
        if name not in self.proxies:
            proxy = Ficus(self.build, self.folder, self.origins[origin], routes, tls, threads, spread)
            self.proxies[name] = proxy
            if not proxy.accepted():
                self.proxies.pop(name).stop()
                self.absent.add(name)
                return None
            proxy.start()
        return name

    def cpu_ns(self, name):
        return sum(cpu_ns(pid) for pid in self.proxies[name].pids())

    def load(self, name, listener, origin="tcp", body=600, rate=0, routes=0, spread=False):
        """One turn of our own client and origin. spread: on all cores, asleep when they have nothing to do."""
        port = self.proxies[name].ports[listener]
        command = [*(["taskset", "--cpu-list", "0,1"] if spread else []), f"{self.build}/bench/load", "run", "--to", f"tcp:127.0.0.1:{port}", "--host", f"127.0.0.1:{port}",
                   "--origin", self.origins[origin], "--conns", str(CONNECTIONS), *([] if spread else ["--spin"]),
                   "--path", "/api/v1/r#####/42" if routes > 0 else PATH, "--routes", str(routes),
                   "--warm", str(WARM_S), "--seconds", str(self.seconds), "--body", str(body), "--rate", str(rate)]
        before = self.cpu_ns(name)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        cpu = self.cpu_ns(name) - before
        if done.returncode != 0:
            raise Failed(done.stderr.strip())
        said = json.loads(done.stdout)
        if said["errors"] > 0 or said["answers"] == 0:
            raise Failed(f"{said['errors']} errors, {said['answers']} answers; {done.stderr.strip()}")
        return {"rps": said["rps"], "cpu": cpu / said["answers"] / 1000, "p50": said["p50_us"], "p99": said["p99_us"]}

    # ---- modes ----

    def mode_plain(self):
        ours = self.ficus()
        names = [ours, "nginx", "haproxy", "h2o", "relay"]
        figures = self.turns({name: lambda name=name: self.load(name, "tcp") for name in names})
        self.add("plain", figures, ours, {"nginx": 0.63, "relay": 1.4})

    def mode_unix(self):
        ours = self.ficus("unix")
        turns = {"nginx": lambda: self.load("nginx", "tcp")}
        for name in (ours, "nginx", "haproxy", "relay"):
            turns[name if name == ours else f"{name} unix"] = lambda name=name: self.load(name, "unix", "unix")
        self.add("unix", self.turns(turns), ours, {"nginx": 0.5})

    def mode_body(self):
        ours = self.ficus()
        names = [ours, "nginx", "haproxy", "h2o", "relay"]
        figures = self.turns({name: lambda name=name: self.load(name, "tcp", body=16000) for name in names})
        self.add("body", figures, ours, {"nginx": 0.6})


    def mode_routes(self):
        few, many = self.ficus(routes=10), self.ficus(routes=ROUTES)
        figures = self.turns({few: lambda: self.load(few, "tcp", routes=10),
                              many: lambda: self.load(many, "tcp", routes=ROUTES)}, 2 * self.rounds)
        self.add("routes", figures, many, {few: 1.05})

    def mode_threads(self):
        """What a second thread costs (on one core), and what it brings when both may use both cores, which client and
        origin need as well."""
        one, two = self.ficus("unix"), self.ficus("unix", threads=2)
        figures = self.turns({name: lambda name=name: self.load(name, "unix", "unix") for name in (one, two)})
        self.add("threads", figures, two, {})
        one, two = self.ficus("unix", spread=True), self.ficus("unix", threads=2, spread=True)
        figures = self.turns({name: lambda name=name: self.load(name, "unix", "unix", spread=True)
                              for name in (one, two)})
        self.add("threads", figures, two, {}, of="rps")

    def mode_tls(self):
        self.h2load("tls", self.ficus(tls=True), "tls", ["--h1", f"-c{CONNECTIONS}", "-m1"], {"nginx": 0.7})

    def mode_newtls(self):
        count = int(HANDSHAKES * (self.seconds + 2 * H2LOAD_WARM_S))
        self.h2load("newtls", self.ficus(tls=True), "tls",
                    ["--h1", f"-c{count}", f"-n{count}", f"-r{HANDSHAKES // 10}", "--rate-period=100ms"], {})

    def mode_h2(self):
        self.h2load("h2", self.ficus(tls=True), "tls", H2_STREAMS, {"h2o": 1.0}, "h2")

    def mode_h2c(self):
        self.h2load("h2c", self.ficus(), "h2c", H2_STREAMS, {"h2o": 1.0}, "h2c")

    def h2load(self, mode, ours, listener, options, aims, protocol="http/1.1"):
        names = self.with_ficus(ours, "nginx", "haproxy", "h2o")
        with Origin(self) as origin:
            figures = self.turns({name: lambda name=name: origin.h2load(name, listener, options, protocol)
                                  for name in names})
        self.add(mode, figures, ours, aims)

    def mode_rate(self):
        ours = self.ficus()
        names = [ours, "nginx", "haproxy", "relay"]
        figures = self.turns({name: lambda name=name: self.load(name, "tcp", rate=RATE) for name in names})
        self.add("rate", figures, ours, {"nginx": 1.0}, of="p99")

    def mode_memory(self):
        """In processes that have done nothing yet."""
        folder = f"{self.folder}/memory"
        os.mkdir(folder)
        certificate(folder)
        fresh = Bench(self.build, folder, self.rounds, self.seconds)
        try:
            fresh.start()
            with Origin(fresh):
                fresh.memory("tcp", fresh.with_ficus(fresh.ficus(), "nginx", "haproxy", "h2o"), IDLE, 1.0)
                fresh.memory("tls", fresh.with_ficus(fresh.ficus(tls=True), "nginx", "haproxy", "h2o"), IDLE_TLS, 10.0)
        finally:
            fresh.stop()
        kinds = ["memory", "idle", "idle tls"]
        self.rows += sorted(fresh.rows, key=lambda row: kinds.index(row["mode"]))
        self.notes += fresh.notes

    def with_ficus(self, ours, *others):
        """Who takes part: Ficus first, unless this build does not have that kind."""
        if ours is None:
            self.notes.append("ficus: not in TLS modes, as this build refuses gateway.tls")
        return ([ours] if ours is not None else []) + list(others)

    def memory(self, listener, names, count, aim_kb):
        """Resident memory of each, idle and for each of count connections that had one answer and are idle."""
        for name in names:
            proxy = self.proxies[name]
            idle = sum(rss_bytes(pid) for pid in proxy.pids())
            clients = []
            try:
                for _ in range(count):
                    clients.append(idle_client(proxy.ports[listener], listener == "tls"))
            except OSError as e:
                self.notes.append(f"memory: {name}: {len(clients)} idle connections: {e}")
            time.sleep(SETTLE_S)
            full = sum(rss_bytes(pid) for pid in proxy.pids())
            each = (full - idle) / max(len(clients), 1) / 1000
            for client in clients:
                client.close()
            row = {"mode": "memory", "peer": name, "memory": f"{idle / 1e6:.1f} MB"}
            rows = [] if listener == "tls" else [row]
            kind = "idle tls" if listener == "tls" else "idle"
            rows.append({"mode": kind, "peer": name, "memory": f"{each:.2f} kB/conn"})
            if name.startswith("ficus"):
                row["said"] = aimed(idle / 1e6, 8.0, " MB")
                rows[-1]["said"] = aimed(each, aim_kb, f" kB, {len(clients)} connections")
            self.rows += rows

    def mode_churn(self):
        """Many services whose endpoints change often: what a change costs the gateway, and its requests meanwhile."""
        ours = self.ficus("tcp", 1)     # one of its own: the others' hubs stay quiet
        proxy = self.proxies[ours]
        with Churn(proxy) as churn:
            before, changes = self.cpu_ns(ours), churn.changes
            time.sleep(2 * self.seconds)
            cost = (self.cpu_ns(ours) - before) / max(churn.changes - changes, 1) / 1000
            rate = (churn.changes - changes) / (2 * self.seconds)

        def turn_busy():
            with Churn(proxy):
                return self.load(ours, "tcp")
        figures = self.turns({"ficus still": lambda: self.load(ours, "tcp"), "ficus changing": turn_busy})
        self.add("churn", figures, "ficus changing", {})
        self.notes.append(f"churn: {CHURN_SERVICES} services with 3 endpoints each, {rate:.0f} changes/s, no requests: "
                          f"{cost:.0f} us of the gateway's CPU for each change")


class Origin:
    """The origin as a process of its own, for clients that are programs of others; it counts what it answered."""

    def __init__(self, bench):
        self.bench = bench
        command = [f"{bench.build}/bench/load", "origin", "--origin", bench.origins["tcp"]]
        # pylint: disable-next=consider-using-with
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.answers()      # it listens

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(10)

    def answers(self):
        self.process.stdin.write(b"?")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())

    def h2load(self, name, listener, options, protocol):
        """One turn of h2load. It says nothing of its course, so the origin's count and the proxy's CPU are read at
        begin and end of a time within its run, when all connections stand."""
        bench = self.bench
        port = bench.proxies[name].ports[listener]
        command = [program("h2load", "nghttp2-client"), "-t1", *options]
        if "--rate-period=100ms" not in options:    # else it ends by number
            command.append(f"--duration={round(1000 * (bench.seconds + 2 * H2LOAD_WARM_S))}ms")
        for header in HEADERS:
            command += ["-H", header]
        command.append(f"{'https' if listener == 'tls' else 'http'}://127.0.0.1:{port}{PATH}")
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as client:
            time.sleep(H2LOAD_WARM_S)
            cpu, answers, begun = bench.cpu_ns(name), self.answers(), time.monotonic()
            time.sleep(bench.seconds)
            cpu, answers, took = bench.cpu_ns(name) - cpu, self.answers() - answers, time.monotonic() - begun
            try:
                text = client.communicate(timeout=30)[0]
            except subprocess.TimeoutExpired:
                client.kill()
                raise Failed("h2load does not end") from None
        failed = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", text)
        if failed is None or failed[2] != "0" or failed[3] != "0" or answers == 0:
            raise Failed(f"h2load: {failed[0] if failed else text[-300:]}; {answers} answers in the time")
        said = re.search(r"Application protocol: (\S+)", text)
        if said is None or said[1] != protocol:
            raise Failed(f"speaks {said[1] if said else 'nothing'} instead of {protocol}")
        return {"rps": answers / took, "cpu": cpu / answers / 1000}


class Churn(threading.Thread):
    """Tells the hub other endpoints, CHURN_RATE times a second; all that time the origin's service stays."""

    def __init__(self, proxy):
        super().__init__()
        self.proxy = proxy
        self.changes = 0
        self.over = threading.Event()

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *exception):
        self.over.set()
        self.join()

    def run(self):
        services = {f"s{i}": [f"tcp:127.0.0.{1 + k}:{10000 + i}" for k in range(3)] for i in range(CHURN_SERVICES - 1)}
        services["echo"] = [self.proxy.origin]
        due = time.monotonic()
        while not self.over.is_set():
            one = services[f"s{self.changes % (CHURN_SERVICES - 1)}"]
            one[0] = one[0][:-1] + str((int(one[0][-1]) + 1) % 10)
            self.proxy.tell(services)
            self.changes += 1
            due = max(due + 1 / CHURN_RATE, time.monotonic() - 1)
            self.over.wait(max(due - time.monotonic(), 0))


def idle_client(port, tls):
    """A connection that had one answer."""
    client = socket.create_connection(("127.0.0.1", port), 5)
    if tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        client = context.wrap_socket(client)
    client.sendall(f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
    got = b""
    while not got.endswith(b'x"'):      # the end of the origin's body
        part = client.recv(4096)
        if not part or not (got + part).startswith(b"HTTP/1.1 200"[:len(got + part)]):
            raise OSError(f"refused: {(got + part)[:60]!r}")
        got += part
    return client


MODES = [name.removeprefix("mode_") for name in vars(Bench) if name.startswith("mode_")]


def main():
    args = arguments(__doc__, MODES)

    def where(folder):
        files_raise()
        certificate(folder)
        return machine()
    run(lambda folder: Bench(args.build, folder, args.rounds, args.seconds), args, where, "proxy", "req/s")


if __name__ == "__main__":
    main()
