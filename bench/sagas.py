#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Durable saga steps a second, beside a plain loop on SQLite that does the same durable writes and nothing else.

bench/sagas.py [BUILD] [--rounds N] [--seconds S] [--only 1,16] [--quick]

The hub alone on core 1; the participant, a real service that answers at once, and the load on core 0. How to read it:
bench/README.md.
"""

import json
import os
import shutil
import subprocess

from brokers import Ficus, disk
from rounds import Failed, Rounds, aimed, arguments, run
from system import cpu_ns, machine

AT_ONCE = ("1", "16", "64", "256")  # sagas; the modes
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

    def start(self):
        self.ficus.start()

    def stop(self):
        self.ficus.stop()

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

    def measure(self, mode):
        at_once = int(mode)
        turns = {"ficus": lambda: self.run(at_once), "sqlite, each alone": lambda: self.plain(1)}
        if at_once > 1:
            turns[f"sqlite, {at_once} a commit"] = lambda: self.plain(at_once)
        row = self.add(f"x{mode}", self.turns(turns), "ficus", {}, of="rps").get("ficus")
        if row is not None:
            row["said"] = aimed(row["rps"], STEPS_AIM, "/s", least=True)
            self.notes.append(f"x{mode}: the participant takes {row['participant']:.0f} us of the other core for each step")


def main():
    args = arguments(__doc__, AT_ONCE, 0.5)
    run(lambda folder: Bench(args.build, folder, args.rounds, args.seconds), args,
        lambda folder: f"{machine()}; {disk(folder)}", "what", "steps/s")


if __name__ == "__main__":
    main()
