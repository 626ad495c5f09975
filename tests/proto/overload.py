#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A real gateway that may open few files, and clients that want more of it: what is under way is answered, what is new is
refused at once, and afterwards all is as before.

    tests/proto/overload.py [--build FOLDER]
"""

import os
import re
import socket
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "e2e"))
sys.path.insert(0, HERE)
from checks import Checks  # noqa: E402
from run import Gateway  # noqa: E402
from shop import build_folder, wait_for  # noqa: E402

FILES = 256
STREAMS = 100  # of a connection of HTTP/2


class Service:
    """Holds every request until it is told to answer."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.bind(path)
        self.socket.listen(512)
        self.held, self.hold = [], True
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            peer = self.socket.accept()[0]
            threading.Thread(target=self.serve, args=(peer,), daemon=True).start()

    def serve(self, peer):
        head = b""
        try:
            while data := peer.recv(65536):
                head += data
                if not head.endswith(b"\r\n\r\n"):
                    continue
                head = b""
                if self.hold:
                    self.held.append(peer)
                else:
                    self.answer(peer)
        except OSError:
            pass

    @staticmethod
    def answer(peer):
        peer.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nheld")

    def release(self):
        self.hold = False
        for peer in self.held:
            self.answer(peer)


def ask(gateway, service):
    with socket.create_connection(("127.0.0.1", gateway.port), timeout=20) as s:
        s.sendall(b"GET /t/%s/x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" % service.encode())
        return b"".join(iter(lambda: s.recv(65536), b""))


def flood(gateway, service, connections):
    return subprocess.Popen(
        ["h2load", "-n", str(STREAMS * connections), "-c", str(connections), "-m", str(STREAMS),
         f"http://127.0.0.1:{gateway.port}/t/{service}/x", "-H", ":authority: a"], stdout=subprocess.PIPE, text=True)


def counts(running):
    """How many answers of 2xx and of 5xx, and the line that says so."""
    said = running.communicate(timeout=60)[0]
    line = next(line for line in said.splitlines() if line.startswith("status codes:"))
    return int(re.search(r"(\d+) 2xx", line).group(1)), int(re.search(r"(\d+) 5xx", line).group(1)), line


def run(gateway, checks):
    # Nearly all of them: what is under way goes on, what is new is refused.
    first = Service(gateway.services["large-first"])
    running = flood(gateway, "large-first", 2)
    wait_for("the service to have them all", lambda: len(first.held) == 2 * STREAMS)
    answer = wait_for("a refusal", lambda: (text := ask(gateway, "small")) and b"overloaded" in text and text)
    checks.check("a new request is refused", answer.startswith(b"HTTP/1.1 503 ") and b"Retry-After: 1\r\n" in answer, repr(answer[:300]))
    first.release()
    good, bad, line = counts(running)
    checks.check("all that was under way is answered", (good, bad) == (2 * STREAMS, 0), line)
    wait_for("the gateway to recover", lambda: ask(gateway, "large-first").startswith(b"HTTP/1.1 200 "))

    # More than there are: some get no connection to the service. None is left without an answer.
    second = Service(gateway.services["large-second"])
    running = flood(gateway, "large-second", 4)
    wait_for("the service to have what can be", lambda: len(second.held) >= FILES // 2)
    second.release()
    good, bad, line = counts(running)
    checks.check("each has an answer", good + bad == 4 * STREAMS and good >= FILES // 2 and bad > 0, line)
    wait_for("the gateway to recover", lambda: ask(gateway, "large-second").startswith(b"HTTP/1.1 200 "))
    checks.check("the gateway runs", gateway.process.poll() is None)
    with open(gateway.log, encoding="utf-8") as f:
        log = f.read()
    checks.check("its log says so", all(word in log for word in (
        '"gateway.overloaded"', '"why":"descriptors"', '"gateway.recovered"', '"flags":"OM"')), log[-2000:])


def main():
    build, rest = build_folder(sys.argv[1:])
    if rest:
        print(__doc__, file=sys.stderr)
        return 2
    checks = Checks()
    with tempfile.TemporaryDirectory(prefix="ficus-overload-") as folder:
        gateway = Gateway(build, folder, ["large-first", "large-second", "small"], ["prlimit", f"--nofile={FILES}:{FILES}"])
        try:
            run(gateway, checks)
        finally:
            code = gateway.stop()
        checks.check("it ends when asked", code == 0, str(code))
    return checks.end()


if __name__ == "__main__":
    sys.exit(main())
