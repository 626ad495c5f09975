#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Protocol scripts (*.vtc, for varnishtest) against one real `ficus gateway` process.

    tests/proto/run.py [--build FOLDER] [NAME...]

Each script plays the client, the service, or both. What it finds there:
    ${gw}   where the gateway listens ("127.0.0.1 PORT")
    ${at}   path of its own route: ${at}/x leads to /x at its own service, a WebSocket too
    ${up}   where that service has to listen; without a server there the gateway answers 503
Every script has a service of its own, so that no connection or breaker of one is another's. The gateway has short limits:
head 2 s, idle 3 s, body 2 s, the route's timeout 3 s (30 s in scripts with
"large" in their name), body 128 MiB; the head 8 KiB, 50 fields.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))

from checks import Checks  # noqa: E402
from shop import build_folder, wait_for  # noqa: E402

POLICY = {"timeout": "3s", "retry": {"attempts": 1}, "breaker": {"enabled": False, "failures": 5, "open": "1s"}}
RSS_MAX_KB = 48 * 1024


def write(path, text):
    with open(path, "w", encoding="utf-8") as f:
        f.write(text)


class Gateway:
    def __init__(self, build, folder, names, prefix=()):
        """prefix: of the command that starts it."""
        self.folder, self.log = folder, os.path.join(folder, "gateway.log")
        self.services = {name: os.path.join(folder, f"{i}.sock") for i, name in enumerate(names)}
        write(os.path.join(folder, "system.key"), "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n")
        os.chmod(os.path.join(folder, "system.key"), 0o600)
        addresses = {name: ["unix:" + path] for name, path in self.services.items()}
        write(os.path.join(folder, "endpoints.json"),
              json.dumps({"ficus_endpoints": 1, "version": 1, "services": addresses}))
        write(os.path.join(folder, "gateway.json"), json.dumps(self.config()))
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(64)
        self.port = self.socket.getsockname()[1]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [*prefix, "/bin/sh", "-c", 'exec 3<&"$1" && export LISTEN_PID=$$ && exec "$2" gateway', "sh",
                 str(self.socket.fileno()), os.path.join(os.path.abspath(build), "ficus")],
                env={**os.environ, "FICUS_CONFIG": os.path.join(folder, "gateway.json"), "LISTEN_FDS": "1"},
                pass_fds=[self.socket.fileno()], stdout=log, stderr=log)
        wait_for("the gateway", self.is_up)

    def config(self):
        def path(name):
            return os.path.join(self.folder, name)

        return {
            "version": 1, "system": "proto", "process": "gateway", "instance": 1, "state": self.folder,
            "key_file": path("system.key"), "log_level": "info", "hub": "unix:" + path("no-hub"),
            "snapshot_file": path("endpoints.json"), "edges": {name: POLICY for name in ["hub", *self.services]},
            "listen": ["fd:3"], "hosts": ["a", "localhost", "127.0.0.1"], "timeout": "3s",
            "limits": {"head": "8KiB", "fields": 50, "target": "2KiB", "head_time": "2s", "idle_time": "3s",
                       "body_time": "2s"},
            "routes": [{"method": "", "path": f"/t/{name}/**", "service": name, "target": "/**",
                        "timeout": "30s" if "large" in name else "3s", "body_max": "128MiB", "websocket": True} for name in self.services]
                      + [{"method": "", "path": "/answer/**", "answer": 404},
                         {"method": "GET", "path": "/t/only-get", "service": "r18-methods", "target": "/"}],
        }

    def is_up(self):
        if self.process.poll() is not None:
            with open(self.log, encoding="utf-8", errors="replace") as f:
                raise AssertionError("the gateway ended: " + f.read()[-2000:])
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as s:
                s.sendall(b"GET /alive HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                return s.recv(64).startswith(b"HTTP/1.1 2")
        except OSError:
            return False

    def rss_max_kb(self):
        with open(f"/proc/{self.process.pid}/status", encoding="utf-8") as f:
            return int(next(line for line in f if line.startswith("VmHWM")).split()[1])

    def stop(self):
        """The exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return -1
        finally:
            self.socket.close()


def documented():
    """Names in docs/http-strictness.md that look like those of scripts."""
    with open(os.path.join(os.path.dirname(os.path.dirname(HERE)), "docs", "http-strictness.md"), encoding="utf-8") as f:
        return set(re.findall(r"`([a-z][0-9][0-9]_[a-z0-9_]+)`", f.read()))


def script(gateway, name):
    """Why it failed; None: it did not."""
    service = name.replace("_", "-")
    done = subprocess.run(
        ["varnishtest", "-t", "20", "-D", f"gw=127.0.0.1 {gateway.port}", "-D", f"at=/t/{service}",
         "-D", f"up={gateway.services[service]}", os.path.join(HERE, name + ".vtc")],
        capture_output=True, text=True, timeout=60, check=False, cwd=gateway.folder)
    return None if done.returncode == 0 else (done.stdout + done.stderr)[-6000:]


def main():
    build, wanted = build_folder(sys.argv[1:])
    names = sorted(name[:-4] for name in os.listdir(HERE) if name.endswith(".vtc"))
    if any(name not in names for name in wanted):
        print(__doc__, file=sys.stderr)
        return 2
    if shutil.which("varnishtest") is None:
        print("varnishtest is missing: tools/install test")
        return 77
    checks = Checks()
    checks.check("docs/http-strictness.md has each script", documented() == set(names),
                 ", ".join(sorted(documented() ^ set(names))))
    with tempfile.TemporaryDirectory(prefix="ficus-proto-") as folder:
        gateway = Gateway(build, folder, [name.replace("_", "-") for name in names])
        try:
            for name in wanted or names:
                began = time.monotonic()
                failed = script(gateway, name)
                checks.check(f"{name} ({time.monotonic() - began:.1f} s)", failed is None, failed or "")
            checks.check("the gateway runs", gateway.process.poll() is None)
            if not wanted and os.environ.get("FICUS_SANITIZED") is None:
                rss = gateway.rss_max_kb()
                checks.check("its memory stayed small", rss <= RSS_MAX_KB, f"{rss} KiB")
        finally:
            code = gateway.stop()
        checks.check("it ends when asked", code == 0, str(code))
    return checks.end()


if __name__ == "__main__":
    sys.exit(main())
