#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""`ficus doctor` on faults that are really there: each is named by its check, with a remedy, and by the exit code; and
what `ficus up` says of some of them.

    tests/e2e/doctor.py [--build FOLDER]
"""

import json
import os
import shutil
import socket
import subprocess
import sys

from checks import Checks
from shop import build_folder, free_port

MANIFEST = "ficus: 1\nsystem: small\ngateway: { listen: 127.0.0.1:%d }\n"
SERVICE = "service: %s\nteam: t\ndoes: nothing\nrun: %s\n"


class Patient:
    def __init__(self, build, checks):
        self.ficus = os.path.join(os.path.abspath(build), "ficus")
        self.folder = os.path.join(os.path.abspath(build), "e2e-doctor")
        self.checks = checks
        self.port = free_port()
        self.env = dict(os.environ)
        self.env.pop("FICUS_STATE", None)
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)

    def write(self, name, text):
        path = os.path.join(self.folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        return path

    def run(self, *args, **env):
        return subprocess.run(
            [self.ficus, *args],
            cwd=self.folder,
            env=dict(self.env, **env),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def look(self, what, expected, *args, **env):
        """expected: check to (level, words of its sentence); everything else of the system must be ok."""
        said = self.run("doctor", "--json", *args, **env)
        document = json.loads(said.stdout)
        found = {c["name"]: c for c in document["checks"]}
        wrong = []
        for name in ("manifest", "programs", "port", "state", "disk", "sockets", "processes"):
            level, words = expected.get(name, (None, ""))
            if name == "disk" and level is None:
                continue  # whatever lies below the build folder
            c = found[name]
            if c["level"] != (level or "ok") or words not in c["text"] or (c["level"] != "ok" and not c["remedy"]):
                wrong.append(c)
        bad = any(c["level"] == "problem" for c in document["checks"])
        if document["ok"] == bad or said.returncode != (1 if bad else 0):
            wrong.append({"exit": said.returncode, "ok": document["ok"]})
        self.checks.check(what, not wrong, json.dumps(wrong))


def examine(p):
    p.look("nothing here is no fault", {"manifest": ("ok", "there is no ficus.yaml here")})
    p.look("a manifest that is named is", {"manifest": ("problem", "none.yaml")}, "-f", "none.yaml")
    p.write("ficus.yaml", MANIFEST % p.port + "systm: x\n")
    p.look("errors of the manifest are counted", {"manifest": ("problem", "1 error: ")})
    p.write("ficus.yaml", MANIFEST % p.port)
    p.look("a small system", {"manifest": ("ok", "system small, 0 services"), "port": ("ok", f":{p.port} is free")})

    with socket.create_server(("127.0.0.1", p.port)):
        p.look("who holds the port is named", {"port": ("problem", f"(pid {os.getpid()})")})
        said = p.run("up", "-d")
        words = f"gateway: 127.0.0.1:{p.port} is in use: --set gateway.listen=ADDRESS:PORT takes another"
        p.checks.check("up says so too", said.returncode == 1 and words in said.stderr, said.stdout + said.stderr)
        p.look("--set takes another", {"port": ("ok", "is free")}, "--set", f"gateway.listen=127.0.0.1:{free_port()}")
    p.look("an address that is not ours", {"port": ("problem", "annot")}, "--set", "gateway.listen=192.0.2.1:80")

    said = p.run("up", "-d", "--wait", "60s")
    p.checks.check("the small system starts", said.returncode == 0, said.stdout + said.stderr)
    p.look("while it runs", {"port": ("ok", "this system's gateway"), "processes": ("ok", "the system runs")})
    p.run("down")
    other = f"gateway.listen=127.0.0.1:{free_port()}"
    with socket.create_server(("127.0.0.1", p.port)):
        p.run("up", "-d", "--wait", "60s", "--set", other)
        runs = {"port": ("ok", other.split("=")[1] + " is this system's gateway"), "processes": ("ok", "runs")}
        p.look("while it runs elsewhere, the manifest's port does not matter", runs)
        p.run("down")
    state = os.path.join(p.folder, ".ficus")
    os.chmod(state, 0o755)
    p.look("others may read the state", {"state": ("warning", "mode 0755")})
    os.chmod(state, 0o700)
    now = os.stat(os.path.join(state, "run")).st_mtime
    os.utime(os.path.join(state, "run/children.json"), (now + 5000, now + 5000))
    clock = next(c for c in json.loads(p.run("doctor", "--json").stdout)["checks"] if c["name"] == "clock")
    p.checks.check("a clock that was set back", clock["level"] == "warning" and "set back" in clock["text"], str(clock))
    p.run("down", "--purge")

    p.write("other/file", "x")
    other = os.path.join(p.folder, "other")
    p.look("a folder of somebody else", {"state": ("problem", "was not made by Ficus")}, FICUS_STATE=other)
    memory = "/dev/shm/ficus-doctor-%d" % os.getpid()
    if os.path.isdir("/dev/shm"):
        p.look("a state in memory", {"disk": ("warning", "tmpfs")}, FICUS_STATE=memory)
        p.checks.check("nothing was made there", not os.path.exists(memory))

    p.write("ficus.yaml", MANIFEST % p.port + "include: [a.yaml, b.yaml]\n")
    p.write("a.yaml", SERVICE % ("a", "./a"))
    p.write("b.yaml", SERVICE % ("b", "sh"))
    p.look("a program that is not built", {"programs": ("problem", "not executable: " + os.path.join(p.folder, "a"))})
    said = p.run("up", "-d")
    p.checks.check(
        "up refuses it at once, at its place",
        said.returncode == 2 and f"a.yaml:4:6: run: {p.folder}/a is not there" in said.stderr,
        said.stdout + said.stderr,
    )
    p.checks.check("and makes nothing", not os.path.exists(state))
    os.chmod(p.write("a", "#!/bin/sh\necho no frobnicator\nexit 3\n"), 0o755)
    said = p.run("up", "-d", "--wait", "1s", "-f", "ficus.yaml")
    words = "  a: ended with status 3; ficus logs a shows what it said\n"
    p.checks.check(
        "up says of one that ends how it ends",
        said.returncode == 4 and "not healthy after 1s: " in said.stderr and words in said.stderr,
        said.stdout + said.stderr,
    )
    p.run("down", "--purge")
    p.look("and one that is", {"manifest": ("ok", "2 services"), "programs": ("ok", "are there")})

    p.write("b.yaml", SERVICE % ("b", "./a b"))
    said = p.run("doctor", PATH="/nonexistent")
    words = "-> apt-get install gcc libc6-dev\n"
    p.checks.check("without a compiler it says what to install", words in said.stdout, said.stdout + said.stderr)
    p.checks.check("which is no problem for what runs", said.returncode == 0, said.stdout)
    p.checks.check("no file is left", not [f for f in os.listdir(p.folder) if "doctor" in f])


def main():
    build, rest = build_folder(sys.argv[1:])
    if rest:
        print(__doc__, file=sys.stderr)
        return 2
    checks = Checks()
    patient = Patient(build, checks)
    try:
        examine(patient)
    finally:
        patient.run("down", "--purge")
    return checks.end()


if __name__ == "__main__":
    sys.exit(main())
