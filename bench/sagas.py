#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Durable saga steps a second, beside a plain loop on SQLite that does the same durable writes and nothing else.

bench/sagas.py [BUILD] [--rounds N] [--seconds S] [--quick]

The hub alone on core 1; the participant, a real service that answers at once, and the load on core 0. How to read it:
bench/README.md.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

from brokers import SERVER_CORE, Ficus, disk
from rounds import CLIENT_CORE, Failed, Rounds, aimed, print_table, private_network
from system import cpu_ns, machine

AT_ONCE = (1, 16, 64, 256)
STEPS_AIM = 10000   # a second
STEPS = 3           # of the saga

STARTER = """\
service: starter
team: bench
does: starts sagas; its place is taken by the load
run: %(build)s/bench/load place
publishes: { bench.started: {} }
sagas:
  bench:
    start: bench.started
    steps:
      - first:  { call: "PUT participant:/v1/first/{id}", undo: "DELETE participant:/v1/first/{id}" }
      - second: { call: "PUT participant:/v1/second/{id}", undo: "DELETE participant:/v1/second/{id}" }
      - third:  { call: "PUT participant:/v1/third/{id}", pivot: true }
"""

PARTICIPANT = """\
service: participant
team: bench
does: answers each step at once
run: %(build)s/bench/saga_bench
settings: { tell: "TELL" }
"""


class Bench(Rounds):
    def __init__(self, build, folder, rounds, seconds):
        super().__init__(rounds)
        self.folder, self.seconds = folder, seconds
        self.program = f"{build}/bench/saga_load"
        self.tell = f"{folder}/tell"
        self.ficus = Ficus(build, folder, {"starter": STARTER, "participant": PARTICIPANT.replace("TELL", self.tell)})
        os.mkfifo(self.tell)
        self.files = 0

    def load(self, *arguments, at_once):
        command = [self.program, *arguments, "--at-once", str(at_once), "--seconds", str(self.seconds)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise Failed(done.stderr.strip())
        return json.loads(done.stdout)

    def run(self, at_once):
        participant = self.ficus.system.processes()["participant"]["pid"]
        before = self.ficus.cpu_ns(), cpu_ns(participant)
        said = self.load("run", self.ficus.to, self.tell, at_once=at_once)
        each = said["sagas"] * STEPS * 1000
        return {"rps": said["rps"], "cpu": (self.ficus.cpu_ns() - before[0]) / each,
                "participant": (cpu_ns(participant) - before[1]) / each}

    def plain(self, at_once):
        folder = f"{self.folder}/plain-{self.files}"
        self.files += 1
        os.mkdir(folder)
        said = self.load("plain", f"{folder}/plain.db", at_once=at_once)
        shutil.rmtree(folder)
        return {"rps": said["rps"]}

    def measure(self, at_once):
        self.mode = f"x{at_once}"
        turns = {"ficus": lambda: self.run(at_once), "sqlite, each alone": lambda: self.plain(1)}
        if at_once > 1:
            turns[f"sqlite, {at_once} a commit"] = lambda: self.plain(at_once)
        self.add(self.mode, self.turns(turns), "ficus", {}, of="rps")
        for row in self.rows:
            if row["peer"] == "ficus" and row["mode"] == self.mode:
                row["said"] = aimed(row["rps"], STEPS_AIM, "/s", least=True)
                self.notes.append(f"{self.mode}: the participant takes {row['participant']:.0f} us of the other core "
                                  "for each step")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", nargs="?", default="build")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each turn")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 0.5 s: whether it works")
    args = parser.parse_args()
    if args.quick:
        args.rounds, args.seconds = 2, 0.5
    if not {CLIENT_CORE, SERVER_CORE} <= os.sched_getaffinity(0):
        sys.exit("two cores are needed: the hub has one for itself")
    private_network()
    os.sched_setaffinity(0, {CLIENT_CORE})
    folder = tempfile.mkdtemp(prefix="ficus-bench-")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(f"{machine()}; {disk(folder)}", flush=True)
    bench = Bench(os.path.abspath(args.build), folder, args.rounds, args.seconds)
    try:
        bench.ficus.start()
        for at_once in AT_ONCE:
            bench.measure(at_once)
        print_table(bench.rows, "what", "steps/s")
        for note in dict.fromkeys(bench.notes):
            print(note)
    finally:
        bench.ficus.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
