#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every line of shop/API.md, checked against a fresh shop, in its order.

Each check quotes the words of the page that it checks. A quotation that is not on the page fails, and so does the whole
test when words of the page are quoted by nothing: what is promised is checked, and the page cannot change unnoticed.

    tests/e2e/contract.py [--build FOLDER] [--tls] [--list] [parts of the names of checks]

--tls: all of it over TLS, with HTTP/2 and nothing else, through a gateway of two threads.
"""

import os
import re
import sys
import time
import traceback

import contract_orders
import contract_requests
from contract_kit import CHECKS, World
from shop import ROOT, build_folder

PAGE = os.path.join(ROOT, "shop/API.md")
# What says how to read the page and promises nothing.
NO_PROMISES = (
    "# The shop, seen from outside",
    "Checks written by others rely on exactly this, so extend it freely but do not change it.",
    "| request | who | answer | |---|---|---|",
    "(rules below)",
)
MODULES = (contract_requests, contract_orders)  # importing them filled CHECKS, in their order


def normal(text):
    return re.sub(r"\s+", " ", text).strip()


def uncovered(page):
    """Prints what does not fit; the number of faults."""
    faults = 0
    covered = [False] * len(page)
    quotes = [(words, "no promise") for words in NO_PROMISES]
    quotes += [(words, check.__name__) for check in CHECKS for words in check.words]
    for words, name in quotes:
        words = normal(words)
        at = page.find(words)
        if at < 0:
            faults += 1
            print(f"FAILED {name} quotes what is not in shop/API.md: {words}")
        while at >= 0:
            covered[at : at + len(words)] = [True] * len(words)
            at = page.find(words, at + 1)
    rest = "".join("\n" if seen else letter for letter, seen in zip(page, covered))
    for piece in rest.split("\n"):
        if re.search(r"[A-Za-z0-9]", piece):
            faults += 1
            print(f"FAILED no check quotes these words of shop/API.md: {piece.strip()}")
    return faults


def run(world, check):
    begun = time.monotonic()
    try:
        check(world)
        why = None
    except Exception as e:  # pylint: disable=broad-except
        place = next((f for f in reversed(traceback.extract_tb(e.__traceback__)) if "contract_" in f.filename), None)
        why = f"{type(e).__name__}: {e}"[:600] + (f" (line {place.lineno}: {place.line})" if place else "")
    print(f"{'FAILED' if why else 'ok    '} {check.__name__} ({time.monotonic() - begun:.1f} s)")
    for words in check.words:
        print(f"         {normal(words)}")
    if why:
        print(f"       {why}", flush=True)
    return why is None


def main():
    build, rest = build_folder(sys.argv[1:])
    secure = "--tls" in rest
    rest = [word for word in rest if word != "--tls"]
    with open(PAGE, encoding="utf-8") as f:
        failed = uncovered(normal(f.read()))
    wanted = [c for c in CHECKS if not rest or any(part in c.__name__ for part in rest)]
    if "--list" in rest or not wanted:
        print("\n".join(c.__name__ for c in CHECKS))
        return 2
    begun = time.monotonic()
    world = World(build, secure)
    try:
        world.start()
        results = [run(world, check) for check in wanted]
    finally:
        world.shop.end()
    failed += results.count(False)
    print(f"{results.count(True)} passed, {failed} failed, {time.monotonic() - begun:.0f} s")
    return 0 if failed == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
