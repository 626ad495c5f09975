# SPDX-License-Identifier: Apache-2.0
"""A Ficus system for one benchmark, in a folder of its own and on a free port; what the kernel knows of processes."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def program(name, package):
    """The path of an outside program; ends the benchmark when it is missing."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None:
        sys.exit(f"{name} is missing: apt-get install {package}")
    return path


def machine():
    """One line on what the figures were taken on, and how busy it was."""
    with open("/proc/cpuinfo", encoding="ascii") as f:
        models = [line.split(":", 1)[1].strip() for line in f if line.startswith("model name")]
    model = models[0] if models else "unknown processor"
    return f"{os.cpu_count()} x {model}, load {os.getloadavg()[0]:.1f}"


class System:
    """With-block: everything is stopped and removed at its end."""

    def __init__(self, build, manifest=None):
        self.ficus = os.path.join(os.path.abspath(build), "ficus")
        if not os.access(self.ficus, os.X_OK):
            sys.exit(f"{self.ficus} is missing: make build")
        self.folder = tempfile.mkdtemp(prefix="ficus-bench-")
        self.manifest = manifest or os.path.join(ROOT, "shop/ficus.yaml")
        self.port = free_port()
        self.env = dict(os.environ, FICUS_STATE=os.path.join(self.folder, "state"))

    def __enter__(self):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        return self

    def __exit__(self, *exception):
        self.stop()

    def stop(self):
        self.run("down")
        shutil.rmtree(self.folder, ignore_errors=True)

    def run(self, *args):
        command = [self.ficus, *args, "-f", self.manifest]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=120, check=False)

    def up(self):
        """Start and wait until all is healthy; seconds that it took."""
        begun = time.monotonic()
        done = self.run("up", "-d", "--wait", "60s", "--set", f"gateway.listen=127.0.0.1:{self.port}")
        took = time.monotonic() - begun
        if done.returncode != 0:
            sys.exit(f"ficus up: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return took

    def down(self):
        done = self.run("down", "--purge")
        if done.returncode != 0:
            sys.exit(f"ficus down: exit code {done.returncode}\n{done.stdout}{done.stderr}")

    def operator(self, method, target, body=None):
        """One request at the hub's operator socket (docs/hub-api.yaml); the body of its answer."""
        connection = UnixConnection(os.path.join(self.env["FICUS_STATE"], "run/hub-ops.sock"))
        connection.request(method, target, body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        if answer.status // 100 != 2:
            sys.exit(f"{method} {target}: {answer.status} {text!r}")
        return text

    def processes(self):
        """Name to what `ficus status` says of it, with "pid"; the supervisor too."""
        status = json.loads(self.run("status", "--json").stdout)
        found = {name: status[name] for name in ("supervisor", "gateway", "hub")}
        for service in status["services"]:
            for i, instance in enumerate(service["instances"]):
                found[service["name"] + (f".{i + 1}" if i else "")] = instance
        return found


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost")
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


# ---- processes ----


def start(command, core, log):
    """A program on one core, with what it says in a file."""
    with open(log, "ab") as out:
        # pylint: disable-next=consider-using-with,subprocess-popen-preexec-fn
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                preexec_fn=lambda: os.sched_setaffinity(0, {core}))


def pss_bytes(pid):
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("Pss:"))


def threads(pid):
    return os.listdir(f"/proc/{pid}/task")


def rss_bytes(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) * 1024 for line in f if line.startswith("VmRSS:"))


def cpu_ns(pid):
    """Time on a processor, of all threads that live."""
    total = 0
    for tid in threads(pid):
        with open(f"/proc/{pid}/task/{tid}/schedstat", encoding="ascii") as f:
            total += int(f.read().split()[0])
    return total


def wakeups(pid):
    """How often a thread went to sleep, and so woke: voluntary context switches, of all threads that live."""
    total = 0
    for tid in threads(pid):
        with open(f"/proc/{pid}/task/{tid}/status", encoding="ascii") as f:
            total += next(int(line.split()[1]) for line in f if line.startswith("voluntary_ctxt_switches:"))
    return total
