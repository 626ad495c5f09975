# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks beside peers have alike: turns in rotating rounds, ratios taken inside a round, one table."""

import os
import statistics
import sys
import time

CLIENT_CORE = 0
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
        """Rows of a mode. aims: peer -> what ours / it should be at most; of="rps": at least."""
        for name, rounds in figures.items():
            row = {"mode": mode, "peer": name}
            row.update({c: statistics.median(r[c] for r in rounds) for c in rounds[0]})
            if ours in figures and name != ours:
                ratios = sorted(a[of] / b[of] for a, b in zip(figures[ours], rounds))
                row["ratio"], row["of"] = statistics.median(ratios), of
                row["low"], row["high"] = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
                row["aim"] = aims.get(name)
            self.rows.append(row)


# ---- the table ----


def print_table(rows, who="proxy", rate="req/s"):
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
