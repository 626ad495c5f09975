# SPDX-License-Identifier: Apache-2.0
"""What the tests share that hurt a shop while a replay is running: its end, and whether all is right afterwards."""

import argparse
import glob
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys

from checks import run_checked
from shop import DATA, ROOT, Shop, build_folder, wait_for
from tls_shop import TlsShop

sys.path.insert(0, os.path.join(ROOT, "shop/replay"))
from api import Api  # noqa: E402, F401

PROCESSES = [
    "supervisor",
    "hub",
    "gateway",
    "identity",
    "catalog",
    "inventory",
    "payments",
    "orders",
    "notifications",
    "cart",
    "search",
    "bank",
]
BACK_S_MAX = 30
SHORT_INVOICES = 100


def damaged(folder):
    """Files that SQLite finds fault with, and how many it looked at."""
    files = sorted(glob.glob(os.path.join(folder, "**", "*.db"), recursive=True))
    bad = []
    for path in files:
        connection = sqlite3.connect(path)
        said = connection.execute("PRAGMA integrity_check").fetchall()
        connection.close()
        if said != [("ok",)]:
            bad.append((path, said[:3]))
    return bad, len(files)


def first(invoices):
    return ["--invoices", str(invoices)] if invoices else []


def orders_in_file(shop, invoices):
    command = [os.path.join(shop.build, "shop/replay/shop-replay"), "--plan", "--file", DATA, *first(invoices)]
    return len(json.loads(subprocess.run(command, capture_output=True, check=True).stdout)["orders"])


def stop_replay(shop, replay):
    """No new orders; the ones under way are repeated until they are answered, their streams read to the end."""
    replay.send_signal(signal.SIGTERM)
    try:
        return replay.wait(timeout=180)
    except subprocess.TimeoutExpired:
        replay.kill()
        return replay.wait()


def end_replay(replay):
    """Whatever happened."""
    if replay.poll() is None:
        replay.kill()
        replay.wait()


def check_afterwards(shop, checks, replay_code):
    checks.check(
        "every request was answered in the end, every stream told its final status",
        replay_code == 0,
        shop.replay_report()[-2000:],
    )
    wait_for("all processes", lambda: len(shop.pids()) == len(PROCESSES), BACK_S_MAX)
    code, report = shop.reconcile(60)
    print(report, flush=True)
    checks.check(
        "quiet within 60 s, 0 differences, 0 breaches (a good card with stock, not cancelled, is confirmed)",
        code == 0,
        "see the reconciliation",
    )
    for what, command in (("no stuck saga", ("saga", "list", "--stuck")), ("no dead letter", ("events", "dead"))):
        done = shop.run(*command, "--json")
        checks.check(what, done.returncode == 0 and '"id"' not in done.stdout, (done.stdout + done.stderr)[:1000])


def arguments(doc, short, options=lambda parser: None):
    """(build folder, what the command line says)"""
    build, rest = build_folder(sys.argv[1:])
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=40)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--invoices", type=int, default=0, help="only the first so many: fewer users to register")
    parser.add_argument("--short", action="store_true", help=short)
    parser.add_argument("--tls", action="store_true", help="clients come over TLS with HTTP/2, to a gateway of two threads")
    options(parser)
    args = parser.parse_args(rest)
    args.invoices = args.invoices or (SHORT_INVOICES if args.short else 0)
    return build, args


def test(name, build, args, run):
    """Calls run(shop, args, checks) on a shop of its own. The exit code."""
    shop = TlsShop(build, name + "-tls") if args.tls else Shop(build, name)
    return run_checked(shop, lambda shop, checks: run(shop, args, checks), f" (seed {args.seed})")
