#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The embedded event log beside NATS JetStream, Redis Streams, PostgreSQL and SQLite: one machine, the same minutes.

bench/events.py [BUILD] [--rounds N] [--seconds S] [--only MODE,MODE] [--quick] [--long]

The load (event_load.c) on core 0, the server that is measured alone on core 1. In each round every log has its turn, in
an order that rotates; a ratio is taken inside a round, and the median of the rounds is shown with its quartiles. The
modes and how to read them: bench/README.md.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile

from brokers import SERVER_CORE, Ficus, brokers, disk
from rounds import CLIENT_CORE, Failed, Rounds, aimed, print_table, private_network
from system import machine

BATCH = 100
FLIGHT = 16             # batches under way at once
CONSUMERS = (1, 4, 16)
DELIVER_RATE = 200      # messages/s of mode "deliver"
REPLAY = 50000
STORED = (10 ** 3, 10 ** 4, 10 ** 5, 10 ** 6)
STORED_LONG = 10 ** 7
LOAD_BUSY = 0.85        # of its core: then it is the load that is measured
PROBE = 500             # messages of a turn in mode "stored"


class Bench(Rounds):
    def __init__(self, build, folder, rounds, seconds, stored):
        super().__init__(rounds)
        self.build, self.folder, self.seconds, self.stored = os.path.abspath(build), folder, seconds, stored
        self.logs = {}
        self.idle = {}      # memory before the first message

    def start(self):
        self.logs = brokers(self.build, self.folder)
        for name, log in self.logs.items():
            log.start()
            self.idle[name] = log.pss_bytes()

    def stop(self):
        for log in self.logs.values():
            log.stop()

    def load(self, log, task, *options):
        """One run of event_load; what it says, and the server's CPU for each message in us."""
        before = log.cpu_ns()
        done = subprocess.run([log.load, task, log.kind, log.to, *map(str, options)], capture_output=True, text=True,
                              check=False)
        if done.returncode != 0:
            raise Failed(done.stderr.strip())
        said = json.loads(done.stdout)
        cpu = (log.cpu_ns() - before) / max(said["messages"], 1) / 1000
        figures = {c: said[c] for c in ("rps", "p50", "p99") if c in said}
        if log.pids():      # else server and load are one
            figures["cpu"] = cpu
            if said["rps"] * said["load_cpu"] > LOAD_BUSY * 1e6:
                self.notes.append(f"{self.mode}: {log.kind}: the load had its core for itself and needed all of it; the "
                                  "server could do more")
        return figures

    def publish(self, log, *options):
        """One turn of publishing."""
        if log.prepare().returncode != 0:
            raise Failed("no empty stream")
        return self.load(log, "publish", *options, "--seconds", self.seconds)

    def rounds_of(self, turn, without=()):
        """name in the table -> figures of its rounds; turn: what a log does."""
        names = {self.label(name): log for name, log in self.logs.items() if name not in without}
        return self.turns({name: lambda log=log: turn(log) for name, log in names.items()})

    def label(self, name):
        return f"{name}, cache only" if name == "nats" else name

    # ---- modes ----

    def mode_alone(self):
        figures = self.rounds_of(lambda log: self.publish(log, "--batch", 1))
        self.add("alone", figures, "ficus", {"sqlite": 0.5}, of="rps")

    def mode_batch(self):
        figures = self.rounds_of(lambda log: self.publish(log, "--batch", BATCH))
        self.add("batch", figures, "ficus", {}, of="rps")

    def mode_flight(self):
        """Many at once: batches of several publishers, and what the client of JetStream does of itself."""
        def turn(log):
            later = ["--later"] if log.kind == "nats" else ["--batch", BATCH, "--flight", FLIGHT]
            return self.publish(log, *later)
        figures = self.rounds_of(turn, without=("sqlite",))
        self.add("flight", figures, "ficus", {self.label("nats"): 1.5}, of="rps")
        self.notes.append("flight: sqlite: left out, it has one writer")

    def mode_deliver(self):
        for consumers in CONSUMERS:
            def turn(log, consumers=consumers):
                return self.load(log, "deliver", "--consumers", consumers, "--rate", DELIVER_RATE, "--seconds",
                                 self.seconds)
            figures = self.rounds_of(turn, without=("sqlite",))
            self.add(f"to {consumers}", figures, "ficus", {}, of="p50")
            for row in self.rows:
                if row["mode"] == f"to {consumers}" and row["peer"] == "ficus":
                    row["said"] = "p50: " + aimed(row["p50"] / 1000, 1.0, " ms")
        self.notes.append("to N: sqlite: left out, it tells nobody")

    def mode_replay(self):
        """One that reads from the first message on; and the server's memory when so many are stored."""
        ficus = Ficus(self.build, self.folder)      # the other's log has what the other modes left
        logs = dict(self.logs, ficus=ficus)
        try:
            ficus.start()
            for name, log in list(logs.items()):
                try:
                    if log.prepare().returncode != 0:
                        raise Failed("no empty stream")
                    self.load(log, "publish", "--batch", BATCH, "--count", REPLAY)
                except Failed as e:
                    self.notes.append(f"replay: {name}: left out, {e}")
                    del logs[name]
            turns = {}
            for name, log in logs.items():
                turns[self.label(name)] = lambda log=log: self.load(log, "replay", "--count", REPLAY)
            self.add("replay", self.turns(turns), "ficus", {}, of="rps")
            for row in self.rows:
                name = row["peer"].partition(",")[0]
                if row["mode"] == "replay" and logs[name].pids():
                    row["memory"] = f"{self.idle[name] / 1e6:.0f} -> {logs[name].pss_bytes() / 1e6:.0f} MB"
        finally:
            ficus.stop()
        self.notes.append(f"replay: {REPLAY} messages; memory (PSS): at start -> with them stored and read; "
                          "ficus: the hub alone, a fresh one")

    def mode_stored(self):
        """What one message costs Ficus when so many are in the log already: a system for each number, none of which
        the few messages of a turn change much."""
        systems = {f"ficus {count:,}": (count, Ficus(self.build, self.folder)) for count in self.stored}
        try:
            for count, ficus in systems.values():
                ficus.start()
                self.load(ficus, "publish", "--batch", BATCH, "--flight", FLIGHT, "--count", count)

            def turn(ficus):
                figures = self.load(ficus, "publish", "--batch", BATCH, "--count", PROBE)
                return {c: figures[c] for c in ("rps", "cpu")}
            turns = {name: lambda ficus=ficus: turn(ficus) for name, (_, ficus) in systems.items()}
            fewest, most = list(systems)[0], list(systems)[-1]
            self.add("stored", self.turns(turns, 2 * self.rounds), most, {fewest: 1.2})
        finally:
            for _, ficus in systems.values():
                ficus.stop()
        self.notes.append(f"stored: each turn publishes {PROBE} in batches of {BATCH}; the last of them / it; "
                          "the log keeps at most 4 GiB")


MODES = [name.removeprefix("mode_") for name in vars(Bench) if name.startswith("mode_")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", nargs="?", default="build")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each turn")
    parser.add_argument("--only", default=",".join(MODES), help="of " + ",".join(MODES))
    parser.add_argument("--quick", action="store_true", help="2 rounds of 0.3 s, few stored: whether it works")
    parser.add_argument("--long", action="store_true", help=f"mode stored to {STORED_LONG:,}")
    args = parser.parse_args()
    stored = STORED + ((STORED_LONG,) if args.long else ())
    if args.quick:
        args.rounds, args.seconds, stored = 2, 0.3, STORED[:2]
    only = args.only.split(",")
    if unknown := [mode for mode in only if mode not in MODES]:
        parser.error(f"{unknown[0]} is no mode: {', '.join(MODES)}")
    if not {CLIENT_CORE, SERVER_CORE} <= os.sched_getaffinity(0):
        sys.exit("two cores are needed: the server has one for itself")
    private_network()
    os.sched_setaffinity(0, {CLIENT_CORE})
    folder = tempfile.mkdtemp(prefix="ficus-bench-")
    os.chmod(folder, 0o711)     # PostgreSQL is another user
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(f"{machine()}; {disk(folder)}", flush=True)
    bench = Bench(args.build, folder, args.rounds, args.seconds, stored)
    try:
        bench.start()
        for bench.mode in only:
            getattr(bench, f"mode_{bench.mode}")()
        print_table(bench.rows, "log", "msgs/s")
        for note in dict.fromkeys(bench.notes):
            print(note)
    finally:
        bench.stop()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
