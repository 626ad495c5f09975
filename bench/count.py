#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a proxied request costs the gateway in instructions of its own, by valgrind's callgrind: the one figure that a
busy machine does not change. The kernel's part is not in it.

bench/count.py [BUILD] [--origin unix|tcp] [--body N] [--routes N] [--seconds S] [--out FILE] [--top N]

A gateway of a running system is started once more, under callgrind and on a port of its own, and asked by bench/load.
"""

import argparse
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time

from peers import Ficus
from system import free_port, program

PATH_ONE, PATH_MANY = "/api/v1/items/42", "/api/v1/r#####/42"


def environment(pid):
    with open(f"/proc/{pid}/environ", "rb") as f:
        return dict(v.split("=", 1) for v in f.read().decode().split("\0") if "=" in v and not v.startswith("NOTIFY"))


def start(build, gateway, out, log):
    """The same gateway under callgrind, which waits for callgrind_control; the process and its port."""
    env = environment(gateway)
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(env["LISTEN_FDS"]))]

    def place():
        parked = [os.dup2(s.fileno(), 100 + i) for i, s in enumerate(sockets)]
        for i, fd in enumerate(parked):
            os.dup2(fd, 3 + i, inheritable=True)
            os.close(fd)

    command = [program("valgrind", "valgrind"), "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}",
               os.path.join(os.path.abspath(build), "ficus"), "gateway"]
    # pylint: disable-next=consider-using-with,subprocess-popen-preexec-fn
    process = subprocess.Popen(command, env=env, stdout=log, stderr=log, preexec_fn=place, close_fds=False)
    return process, sockets[0].getsockname()[1]


def load(args, system, port, origin, seconds):
    command = [f"{args.build}/bench/load", "run", "--to", f"tcp:127.0.0.1:{port}", "--host", f"127.0.0.1:{system.port}",
               "--origin", origin, "--conns", "8", "--path", PATH_MANY if args.routes else PATH_ONE,
               "--routes", str(args.routes), "--warm", "0", "--seconds", str(seconds), "--body", str(args.body)]
    said = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    if said["errors"] or not said["answers"]:
        sys.exit(f"{said['errors']} errors, {said['answers']} answers")
    return said["answers"]


def control(process, *what):
    subprocess.run([program("callgrind_control", "valgrind"), *what, str(process.pid)], check=True, capture_output=True)


def measure(args, folder):
    origin = f"unix:{folder}/origin.sock" if args.origin == "unix" else f"tcp:127.0.0.1:{free_port()}"
    ficus = Ficus(args.build, folder, origin, args.routes)
    try:
        ficus.start()
        with open(f"{folder}/log", "wb") as log:
            process, port = start(args.build, ficus.gateway, args.out, log)
        time.sleep(5)   # it reads its configuration and the addresses, slowly; who asks too early fails below
        load(args, ficus.system, port, origin, 1)
        control(process, "-i", "on")
        answers = load(args, ficus.system, port, origin, args.seconds)
        control(process, "-i", "off")
        process.terminate()
        process.wait(60)
        with open(f"{folder}/log", encoding="utf-8", errors="replace") as log:
            total = int(re.search(r"Collected : (\d+)", log.read())[1])
        return answers, total
    finally:
        ficus.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", nargs="?", default="build")
    parser.add_argument("--origin", choices=("unix", "tcp"), default="unix")
    parser.add_argument("--body", type=int, default=600)
    parser.add_argument("--routes", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--out", help="keep callgrind's file there, for callgrind_annotate or kcachegrind")
    parser.add_argument("--top", type=int, default=25, help="functions that are listed")
    args = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="ficus-count-")
    args.out = args.out or f"{folder}/callgrind"
    try:
        answers, total = measure(args, folder)
        print(f"{total / answers:.0f} instructions a request, {answers} requests")
        text = subprocess.run(["callgrind_annotate", "--show-percs=no", args.out], capture_output=True, text=True, check=True).stdout
        own = {}
        for cost, where in re.findall(r"^\s*([\d,]+)\s+\S*?:([\w.']+)(?: \[|$)", text, re.M):
            own[where] = own.get(where, 0) + int(cost.replace(",", ""))
        for name, cost in sorted(own.items(), key=lambda item: -item[1])[:args.top]:
            print(f"{cost / answers:8.0f}  {name}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
