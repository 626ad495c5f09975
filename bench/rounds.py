# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks beside peers have alike: turns in rotating rounds, ratios taken inside a round, one table."""

import argparse
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time

CLIENT_CORE, SERVER_CORE = 0, 1     # what is measured has a core for itself
TURN_GAP_S = 0.1    # for the end of what the last turn left behind


class Failed(Exception):
    """A turn that measured nothing."""


def private_network():
    """Begin again in a network of our own: its ports nobody else takes, and its loopback has Debian's congestion
    control, whatever this machine's is."""
    if os.geteuid() != 0 or "FICUS_BENCH_NETWORK" in os.environ:
        return
    os.environ["FICUS_BENCH_NETWORK"] = "private"
    routes = "".join(f"ip route change local {to} dev lo proto kernel scope host src 127.0.0.1 table local "
                     "congctl cubic && " for to in ("127.0.0.1", "127.0.0.0/8"))
    os.execvp("unshare", ["unshare", "--net", "sh", "-c", f'ip link set lo up && {routes}exec "$@"', "sh",
                          sys.executable, *sys.argv])


class Rounds:
    def __init__(self, rounds):
        self.rounds = rounds
        self.mode = ""
        self.rows = []
        self.notes = []

    def turns(self, turns, rounds=None):
        """Rounds of turns (name -> function), each in another order; name -> figures of its rounds. Who fails once is
        out, with a note."""
        figures = {name: [] for name in turns}
        for i in range(-1, rounds or self.rounds):      # the first only warms
            order = list(figures)
            at = max(i, 0) % len(order)
            for name in order[at:] + order[:at]:
                try:
                    figure = turns[name]()
                except Failed as e:
                    self.notes.append(f"{self.mode}: {name}: {e}")
                    del figures[name]
                    continue
                if i >= 0:
                    figures[name].append(figure)
                time.sleep(TURN_GAP_S)
            if not figures:
                break
        return figures

    def add(self, mode, figures, ours, aims, of="cpu"):
        """Rows of a mode; returns them by peer. aims: peer -> what ours / it should be at most; of="rps": at least."""
        added = {}
        for name, rounds in figures.items():
            row = {"mode": mode, "peer": name}
            row.update({c: statistics.median(r[c] for r in rounds) for c in rounds[0]})
            if ours in figures and name != ours:
                ratios = sorted(a[of] / b[of] for a, b in zip(figures[ours], rounds))
                row["ratio"], row["of"] = statistics.median(ratios), of
                row["low"], row["high"] = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
                row["aim"] = aims.get(name)
            added[name] = row
        self.rows += added.values()
        return added

    def measure(self, mode):
        getattr(self, f"mode_{mode}")()


# ---- from the command line to the table ----


def arguments(doc, modes, quick_s=0.3, **switches):
    """What the command line says. switches: further ones, name -> help."""
    parser = argparse.ArgumentParser(description=doc.splitlines()[0])
    parser.add_argument("build", nargs="?", default="build")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each turn")
    parser.add_argument("--only", default=",".join(modes), help="of " + ",".join(modes))
    parser.add_argument("--quick", action="store_true", help=f"2 rounds of {quick_s} s: whether it works")
    for name, text in switches.items():
        parser.add_argument(f"--{name}", action="store_true", help=text)
    args = parser.parse_args()
    args.build = os.path.abspath(args.build)
    if args.quick:
        args.rounds, args.seconds = 2, quick_s
    args.only = args.only.split(",")
    if unknown := [mode for mode in args.only if mode not in modes]:
        parser.error(f"{unknown[0]} is no mode: {', '.join(modes)}")
    return args


def run(make, args, where, what, rate):
    """The modes of the benchmark make(folder): it has start, stop and mode_NAME, or measure. where(folder): the machine."""
    if not {CLIENT_CORE, SERVER_CORE} <= os.sched_getaffinity(0):
        sys.exit("two cores are needed: what is measured has one for itself")
    private_network()
    os.sched_setaffinity(0, {CLIENT_CORE})
    folder = tempfile.mkdtemp(prefix="ficus-bench-")
    os.chmod(folder, 0o711)     # PostgreSQL is another user
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    print(where(folder), flush=True)
    bench = make(folder)
    try:
        bench.start()
        for bench.mode in args.only:
            bench.measure(bench.mode)
        print_table(bench.rows, what, rate)
        for note in dict.fromkeys(bench.notes):
            print(note)
    finally:
        bench.stop()
        shutil.rmtree(folder, ignore_errors=True)


def print_table(rows, who, rate):
    print(f"{'mode':<10}{who:<22}{rate:>8}{'CPU us':>8}{'p50 us':>8}{'p99 us':>8}{'memory':>14}   ficus / it")
    last = None
    for row in rows:
        if row["mode"] != last and last is not None:
            print()
        last = row["mode"]
        cells = "".join(f"{row[c]:8.{d}f}" if c in row else f"{'':>8}"
                        for c, d in (("rps", 0), ("cpu", 2), ("p50", 0), ("p99", 0)))
        print(f"{row['mode']:<10}{row['peer']:<22}{cells}{row.get('memory', ''):>14}   {compared(row)}".rstrip())


def aimed(figure, aim, unit, least=False):
    met = figure >= aim if least else figure <= aim
    return f"aim {'>=' if least else '<='} {aim:.2f}{unit}: {'met' if met else 'missed'}"


def compared(row):
    if row.get("ratio") is None:
        return row.get("said", "")
    text = f"{row['of']} {row['ratio']:.2f} [{row['low']:.2f}..{row['high']:.2f}]"
    if row.get("aim") is not None:
        text += "  " + aimed(row["ratio"], row["aim"], "", least=row["of"] == "rps")
    return text
