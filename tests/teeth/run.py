#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Do the tests bite? Builds Ficus with one deliberate fault at a time; each must be caught by the test named for it.

    tests/teeth/run.py [--only NAME[,NAME...]] [--build FOLDER] [--jobs N] [--table]

A fault is a file tests/teeth/NAME.patch: a unified diff of the tree behind a few lines of the form "Word: text":
    Fault:      what is broken, in a few words
    Why:        what happens to users when it is (any number of these lines; not read by this program)
    Caught by:  the test's name as `meson test` knows it, then the test function in it
    Red in:     the methods of --table that must notice it besides

The working tree is copied to FOLDER/teeth/src and set up once in FOLDER/teeth/build. Each named test must pass without
a fault; with it, it must build, end by itself within the time limit, fail, and name the function. A patch that does not
apply exactly counts as failed: it says that the code has moved away from under the fault.
--table (an hour) tries each fault against all methods and prints who notices: the named test; the simulator (sim/service and
400 seeds of the shop); the failure sweeps (durability/*: each disk operation fails, or is the last); the kill test in its
short form; the crash matrix of a declined checkout. A method that is named in "Red in" and does not notice counts as failed.
Ends with "N passed, N failed".
"""
import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TIME_LIMIT_S = 120
METHOD_LIMIT_S = 900
SEEDS = 400


class Stale(Exception):
    """The fault cannot be tried as its file says."""


class Fault:
    def __init__(self, path):
        self.path, self.name, self.text = path, path.stem, path.read_text()
        self.title, self.test, self.function = self.word("Fault"), *(self.word("Caught by").split() + ["", ""])[:2]
        self.red_in = self.word("Red in").split()
        self.files = re.findall(r"^\+\+\+ b/(\S+)", self.text, re.M)
        if not (self.title and self.test and self.function and self.files):
            raise SystemExit(f"{path}: needs 'Fault:', 'Caught by: TEST FUNCTION' and a diff with a/ and b/")
        if unknown := [name for name in self.red_in if name not in METHODS]:
            raise SystemExit(f"{path}: {unknown[0]} is no method: {', '.join(METHODS)}")

    def word(self, name):
        found = re.search(rf"^{name}:\s*(.+)$", self.text, re.M)
        return found.group(1).strip() if found else ""


def run(command, cwd, limit_s=None):
    """(exit code or None at the time limit, output)"""
    process = subprocess.Popen(command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, errors="replace", start_new_session=True)
    try:
        output, _ = process.communicate(timeout=limit_s)
        return process.returncode, output
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)   # its own session: the test and what it forked
        return None, process.communicate()[0]


class Tree:
    """The copy, and its build."""

    def __init__(self, folder, jobs):
        self.source, self.build, self.jobs = folder / "src", folder / "build", str(jobs)
        self.copy()
        self.set_up()

    def copy(self):
        """Only what differs, so that the next build is short."""
        listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, check=True,
                                capture_output=True, text=True).stdout
        wanted = {name for name in listed.split("\0") if name and (ROOT / name).is_file()}
        for name in wanted:
            source, copy = ROOT / name, self.source / name
            if copy.is_file() and copy.read_bytes() == source.read_bytes():
                continue
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, copy)
            shutil.copymode(source, copy)
        for copy in [p for p in self.source.rglob("*") if p.is_file()]:
            if str(copy.relative_to(self.source)) not in wanted:
                copy.unlink()

    def set_up(self):
        if not (self.build / "build.ninja").is_file():
            code, output = run(["meson", "setup", str(self.build), str(self.source), "-Dtests=true", "-Dwerror=false",
                                "-Ddebug=false", "-Dc_args=-g1"],
                               self.source)
            if code != 0:
                raise SystemExit(f"meson setup failed:\n{output}")
        else:
            self.make(["build.ninja"])
        listed = subprocess.run(["meson", "introspect", "--tests", str(self.build)], check=True, capture_output=True,
                                text=True).stdout
        self.tests = {t["name"]: os.path.relpath(t["cmd"][0], self.build) for t in json.loads(listed)}

    def make(self, targets):
        code, output = run(["ninja", "-j", self.jobs, *targets], self.build)
        if code != 0:
            wrong = [line for line in output.splitlines() if re.search(r"error|undefined|FAILED", line)]
            raise Stale("does not build: " + (wrong or output.splitlines())[0])

    def program(self, fault):
        if fault.test not in self.tests:
            raise Stale(f"there is no test {fault.test}")
        return self.tests[fault.test]

    def try_test(self, fault):
        return run([str(self.build / self.program(fault))], self.build, TIME_LIMIT_S)

    def patch(self, fault):
        code, output = run(["patch", "-p1", "--fuzz=0", "--no-backup-if-mismatch", "-r", "-", "-i", str(fault.path)],
                           self.source)
        if code != 0:
            raise Stale("the patch does not apply: " + output.strip().splitlines()[-1])

    def restore(self, fault):
        for name in fault.files:
            shutil.copyfile(ROOT / name, self.source / name)


def first_reason(output, function):
    """The line that says what was wrong: the assertion's place, or what the test printed last before it failed."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    if not any("[  FAILED  ]" in line and function in line for line in lines):
        last = next((line for line in reversed(lines) if line.startswith("[ ")), "")
        died = last.startswith("[ RUN") and last.endswith(" " + function)
        return f"it died: {lines[-1]}" if died else None
    failed = next(i for i, line in enumerate(lines) if "[  FAILED  ]" in line and function in line)
    begun = max((i for i, line in enumerate(lines[:failed]) if line.startswith("[ RUN")), default=-1)
    said = [re.sub(r"^(\[ +(ERROR|LINE) +\] --- )+(\.\./src/)?", "", line) for line in lines[begun + 1:failed]]
    return "; ".join(said[:2]) or "it failed"


def judge(tree, fault):
    """What caught the fault; Stale when it could not be tried, None with the reason when it was missed."""
    tree.make([tree.program(fault)])
    code, output = tree.try_test(fault)
    if code is None:
        return None, f"{fault.test} did not end within {TIME_LIMIT_S} s"
    if code == 0:
        return None, f"{fault.test} passes with it"
    reason = first_reason(output, fault.function)
    if reason is None:
        return None, f"{fault.test} failed, but not in {fault.function}"
    return reason, ""


# ---- the methods of the table: commands below the build folder, of which one must fail ----


def simulation(tree):
    shop = ["tests/sim/sim_shop", "--seed", "1", "--count", str(SEEDS), "--orders", "10", "--jobs", tree.jobs]
    return [[tree.tests["sim/service"]], shop]


def sweep(tree):
    return [[program] for name, program in sorted(tree.tests.items()) if name.startswith("durability/")]


def kill(tree):
    return [[sys.executable, str(tree.source / "tests/e2e/kill.py"), "--build", ".", "--short"]]


def matrix(tree):
    return [["./ficus", "test", "saga", "checkout", "-f", str(tree.source / "shop/ficus.yaml"), "--scenario", "declined"]]


METHODS = {"simulation": simulation, "sweep": sweep, "kill": kill, "matrix": matrix}


def notices(tree, method):
    """Whether a method fails, without hearing why: any sign of the fault counts, but for one that does not end."""
    for command in METHODS[method](tree):
        code, _ = run(command, tree.build, METHOD_LIMIT_S)
        if code is None:
            raise Stale(f"{method} did not end within {METHOD_LIMIT_S} s")
        if code != 0:
            return True
    return False


def row(tree, fault):
    """method -> whether it notices; prints the fault's line of the table."""
    tree.make([])
    cells = {method: notices(tree, method) for method in METHODS}
    wrong = [method for method in fault.red_in if not cells[method]]
    print("    " + "  ".join(f"{method}: {'red' if red else 'green'}" for method, red in cells.items())
          + (f"  MISSED by {', '.join(wrong)}" if wrong else ""), flush=True)
    return not wrong


def tell(fault, reason, missed, begun):
    if reason is None:
        print(f"{fault.title}: NOT caught: {missed}", flush=True)
    else:
        print(f"{fault.title}: caught by {fault.test} {fault.function} ({time.monotonic() - begun:.0f} s): {reason}", flush=True)


def try_fault(tree, fault, table):
    begun = time.monotonic()
    try:
        tree.patch(fault)
        reason, missed = judge(tree, fault)
        tell(fault, reason, missed, begun)
        return (not table or row(tree, fault)) and reason is not None
    except Stale as stale:
        tell(fault, None, str(stale), begun)
        return False
    finally:
        tree.restore(fault)


def sound(tree, faults):
    """The tests that fail without any fault, which therefore prove nothing."""
    broken = {}
    tree.make([tree.program(f) for f in faults if f.test in tree.tests])
    for fault in faults:
        if fault.test in tree.tests and fault.test not in broken:
            code, output = tree.try_test(fault)
            broken[fault.test] = code != 0
            if code != 0:
                print(f"{fault.test} fails without any fault:\n{output[-2000:]}", flush=True)
    return broken


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="NAME,...", help="these faults: the names of their patch files")
    parser.add_argument("--build", type=Path, default=ROOT / "build", metavar="FOLDER")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 2, metavar="N")
    parser.add_argument("--table", action="store_true", help="each fault against all methods (an hour)")
    options = parser.parse_args()
    paths = {p.stem: p for p in sorted(Path(__file__).parent.glob("*.patch"))}
    names = options.only.split(",") if options.only else list(paths)
    if unknown := [name for name in names if name not in paths]:
        raise SystemExit("no such fault: " + unknown[0])
    faults = [Fault(paths[name]) for name in names]
    try:
        tree = Tree(options.build.resolve() / "teeth", options.jobs)
        broken = sound(tree, faults)
        if options.table:
            tree.make([])
        if wrong := [method for method in METHODS if options.table and notices(tree, method)]:
            raise Stale(f"these fail: {', '.join(wrong)}")
    except Stale as stale:
        print(f"without any fault: {stale}")
        print(f"0 passed, {len(faults)} failed")
        return 1
    passed = 0
    for fault in faults:
        if broken.get(fault.test):
            print(f"{fault.title}: NOT caught: {fault.test} fails without it too", flush=True)
        else:
            passed += try_fault(tree, fault, options.table)
    print(f"{passed} passed, {len(faults) - passed} failed")
    return 0 if passed == len(faults) else 1


if __name__ == "__main__":
    sys.exit(main())
