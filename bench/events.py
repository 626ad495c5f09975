#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The embedded event log beside NATS JetStream, Redis Streams, PostgreSQL and SQLite: one machine, the same minutes.

bench/events.py [BUILD] [--rounds N] [--seconds S] [--only MODE,MODE] [--quick] [--long]

The load (event_load.c) on core 0, the server that is measured alone on core 1. In each round every log has its turn, in
an order that rotates; a ratio is taken inside a round, and the median of the rounds is shown with its quartiles. The
modes and how to read them: bench/README.md.
"""

import json
import subprocess

from brokers import Ficus, brokers, disk
from rounds import Failed, Rounds, aimed, arguments, run
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
        self.build, self.folder, self.seconds, self.stored = build, folder, seconds, stored
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
            rows = self.add(f"to {consumers}", figures, "ficus", {}, of="p50")
            if "ficus" in rows:
                rows["ficus"]["said"] = "p50: " + aimed(rows["ficus"]["p50"] / 1000, 1.0, " ms")
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
            for peer, row in self.add("replay", self.turns(turns), "ficus", {}, of="rps").items():
                name = peer.partition(",")[0]
                if logs[name].pids():
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
    args = arguments(__doc__, MODES, long=f"mode stored to {STORED_LONG:,}")
    stored = STORED[:2] if args.quick else STORED + ((STORED_LONG,) if args.long else ())
    run(lambda folder: Bench(args.build, folder, args.rounds, args.seconds, stored), args,
        lambda folder: f"{machine()}; {disk(folder)}", "log", "msgs/s")


if __name__ == "__main__":
    main()
