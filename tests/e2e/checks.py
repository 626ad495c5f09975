# SPDX-License-Identifier: Apache-2.0
"""Counting of checks: each says what it is about, and one that fails does not keep the others from being looked at."""

import subprocess
import sys
import unittest


class Checks:
    def __init__(self):
        self.passed = self.failed = 0

    def check(self, what, ok, detail=""):
        print(f"{'ok    ' if ok else 'FAILED'} {what}{'' if ok else ': ' + detail}", flush=True)
        if ok:
            self.passed += 1
        else:
            self.failed += 1

    def end(self, note=""):
        """The exit code."""
        print(f"{self.passed} passed, {self.failed} failed{note}")
        return 0 if self.failed == 0 else 1


def run_cases(rest, end):
    """The calling program's unittest classes, with the arguments rest; end() whatever happened. The exit code."""
    try:
        program = unittest.main(argv=[sys.argv[0], *rest], exit=False, verbosity=1)
    finally:
        end()
    result = program.result
    failed = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - failed} passed, {failed} failed")
    return 0 if failed == 0 and result.testsRun > 0 else 1


def run_checked(shop, run, note=""):
    """Calls run(shop, checks); nothing of the shop runs afterwards. The exit code."""
    checks = Checks()
    try:
        run(shop, checks)
    except (AssertionError, OSError, subprocess.SubprocessError) as e:
        checks.check("the test itself", False, f"{type(e).__name__}: {e}")
    finally:
        shop.end()
    return checks.end(note)
