#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a proxied request costs the gateway in instructions of its own, by valgrind's callgrind: the one figure that a
busy machine does not change. The kernel's part is not in it.

bench/count.py [BUILD] [--misses [--second KIB]] [--origin unix|tcp] [--body N] [--routes N] [--conns N] [--seconds S] [--out FILE] [--top N]

A gateway of a running system is started once more, under callgrind and on a port of its own, and asked by bench/load.
--misses: cache lines instead, of a simulated core with caches of 32 KiB and 1 MiB; what is not in the second comes from
memory that all cores share. Ask with as many connections as are to be under way at a time. --second 128 has room for the
code and one request, and so shows what a connection costs whose lines were pushed out: by the bodies of others, say.
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

CACHES = ["--cache-sim=yes", "--I1=32768,8,64", "--D1=32768,8,64"]
EVENTS = ("Ir", "Dr", "Dw", "I1mr", "D1mr", "D1mw", "ILmr", "DLmr", "DLmw")     # as callgrind prints them
PATH_ONE, PATH_MANY = "/api/v1/items/42", "/api/v1/r#####/42"


def environment(pid):
    with open(f"/proc/{pid}/environ", "rb") as f:
        return dict(v.split("=", 1) for v in f.read().decode().split("\0") if "=" in v and not v.startswith("NOTIFY"))


def start(build, gateway, out, log, second):
    """The same gateway under callgrind, which waits for callgrind_control; the process and its port."""
    env = environment(gateway)
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(int(env["LISTEN_FDS"]))]

    def place():
        parked = [os.dup2(s.fileno(), 100 + i) for i, s in enumerate(sockets)]
        for i, fd in enumerate(parked):
            os.dup2(fd, 3 + i, inheritable=True)
            os.close(fd)

    command = [program("valgrind", "valgrind"), "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={out}",
               *([*CACHES, f"--LL={second * 1024},16,64"] if second else []), os.path.join(os.path.abspath(build), "ficus"), "gateway"]
    # pylint: disable-next=consider-using-with,subprocess-popen-preexec-fn
    process = subprocess.Popen(command, env=env, stdout=log, stderr=log, preexec_fn=place, close_fds=False)
    return process, sockets[0].getsockname()[1]


def load(args, system, port, origin, seconds):
    command = [f"{args.build}/bench/load", "run", "--to", f"tcp:127.0.0.1:{port}", "--host", f"127.0.0.1:{system.port}",
               "--origin", origin, "--conns", str(args.conns), "--path", PATH_MANY if args.routes else PATH_ONE,
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
            process, port = start(args.build, ficus.gateway, args.out, log, args.misses and args.second)
        time.sleep(5 + args.routes / 400)  # it reads its configuration and the addresses; who asks too early fails below
        if args.misses:
            control(process, "-i", "on")    # the caches fill
        load(args, ficus.system, port, origin, 1 + args.routes / 2000)
        control(process, "-z")
        control(process, "-i", "on")
        answers = load(args, ficus.system, port, origin, args.seconds)
        control(process, "-i", "off")
        process.terminate()
        process.wait(60)
        with open(f"{folder}/log", encoding="utf-8", errors="replace") as log:
            collected = [int(n) for n in re.search(r"Collected : ([\d ]+)", log.read())[1].split()]
        return answers, collected
    finally:
        ficus.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", nargs="?", default="build")
    parser.add_argument("--origin", choices=("unix", "tcp"), default="unix")
    parser.add_argument("--body", type=int, default=600)
    parser.add_argument("--routes", type=int, default=0)
    parser.add_argument("--conns", type=int, default=8)
    parser.add_argument("--misses", action="store_true")
    parser.add_argument("--second", type=int, default=1024, metavar="KIB")
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--out", help="keep callgrind's file there, for callgrind_annotate or kcachegrind")
    parser.add_argument("--top", type=int, default=25, help="functions that are listed")
    args = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="ficus-count-")
    args.out = args.out or f"{folder}/callgrind"
    try:
        answers, collected = measure(args, folder)
        said = dict(zip(EVENTS, (n / answers for n in collected)))
        print(f"{said['Ir']:.0f} instructions a request, {answers} requests")
        if args.misses:
            print(f"{said['I1mr']:.0f} lines of code and {said['D1mr'] + said['D1mw']:.0f} of data that are not in the first cache, "
                  f"{said['ILmr']:.1f} and {said['DLmr'] + said['DLmw']:.1f} not in the second; data not in the second by function:")
        show = ["--show=DLmr,DLmw", "--sort=DLmr"] if args.misses else []
        text = subprocess.run(["callgrind_annotate", "--show-percs=no", *show, args.out], capture_output=True, text=True, check=True).stdout
        own = {}
        for costs, where in re.findall(r"^\s*([\d,. ]+)\s+\S*?:([\w.']+)(?: \[|$)", text, re.M):
            own[where] = own.get(where, 0) + sum(int(n.replace(",", "")) for n in costs.split() if n != ".")
        for name, cost in sorted(own.items(), key=lambda item: -item[1])[:args.top]:
            print(f"{cost / answers:8.{2 if args.misses else 0}f}  {name}")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
