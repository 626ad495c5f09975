#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A backup of a shop whose customers order meanwhile, also with kills of command and services; then everything is purged, put back and started:
all that was accepted before the backup began is there, and the seven statements hold.

    tests/e2e/backup.py [--invoices N] [--build FOLDER]
"""

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time

from checks import run_checked
from shop import ROOT, Shop, UnixConnection, build_folder, wait_for
from under_load import PROCESSES, damaged, end_replay, first, stop_replay

sys.path.insert(0, os.path.join(ROOT, "shop/replay"))
import expect  # noqa: E402
import reconcile  # noqa: E402
from api import Api  # noqa: E402

KILLS = 6


def command(shop, *args):
    return [shop.ficus, *args, "-f", shop.manifest]


def is_whole(folder):
    """Every file that the list names is there as it says, and no other."""
    with open(os.path.join(folder, "backup.json"), encoding="utf-8") as f:
        files = {entry["path"]: entry for entry in json.load(f)["files"]}
    found = {os.path.relpath(os.path.join(at, name), folder) for at, _, names in os.walk(folder) for name in names} - {"backup.json"}
    for path, entry in files.items():
        with open(os.path.join(folder, path), "rb") as f:
            content = f.read()
        if len(content) != entry["size"] or hashlib.sha256(content).hexdigest() != entry["sha256"]:
            return False
    return found == set(files)


def modes(folder):
    """Whoever is not the owner gets at nothing."""
    return {os.stat(os.path.join(at, name)).st_mode & 0o077 for at, folders, names in os.walk(folder) for name in [".", *folders, *names]}


def ask(path, target, headers):
    connection = UnixConnection(path)
    try:
        connection.request("GET", target, headers=headers)
        return connection.getresponse().status
    finally:
        connection.close()


def check_rights(shop, checks):
    """Nobody but an operator gets a copy, and nobody can say where one goes."""
    run = os.path.join(shop.state, "run")
    checks.check("clients do not get there", shop.request("GET", "/ficus/copy").status == 404)
    checks.check("nor anybody without an identity", ask(os.path.join(run, "orders.1.sock"), "/ficus/copy", {}) == 401)
    checks.check("nor with one that somebody made up", ask(os.path.join(run, "orders.1.sock"), "/ficus/copy", {"Ficus-Identity": "v1.e30.AAAA"}) == 401)
    checks.check("nor on the hub's socket for services", ask(os.path.join(run, "hub.sock"), "/v1/copies/log", {}) == 401)


def check_backup(shop, checks, folder):
    """A backup under load; when it began and what its list says."""
    begun = time.time() * 1000
    done = shop.run("backup", folder, "--json")
    checks.check("a backup under load", done.returncode == 0, done.stderr)
    listed = json.loads(done.stdout)
    names = [f["path"] for f in listed["files"] if f["kind"] == "database"]
    checks.check("the sagas first, the log last, who asks before whom he asks", names[0] == "data/hub-sagas.db" and names[-1] == "data/hub-log.db"
                 and names.index("data/orders.db") < names.index("data/payments.db") < names.index("data/bank.db"), str(names))
    moments = [reconcile.milliseconds(f["moment"]) for f in listed["files"] if f["kind"] == "database"]
    checks.check(f"the moments follow each other, {moments[-1] - moments[0]:.0f} ms from first to last", moments == sorted(moments) and moments[0] >= begun - 1)
    checks.check("all of it is there, as listed", is_whole(folder) and os.path.exists(os.path.join(folder, "private/identity/signing-key.pem")))
    checks.check("for nobody else to read", modes(folder) == {0}, str(modes(folder)))
    checks.check("each database is sound", damaged(folder) == ([], len(names)), str(damaged(folder)))
    again = shop.run("backup", folder)
    checks.check("a folder that is there is left alone", again.returncode == 1 and "is there already" in again.stderr and is_whole(folder), again.stderr)
    inside, nameless = shop.run("backup", os.path.join(shop.state, "data", "copy")), shop.run("backup", "")
    checks.check("not into the state folder, which --purge removes", inside.returncode == 2 and "say another place" in inside.stderr, inside.stderr)
    checks.check("not without a name", nameless.returncode == 2 and "is empty" in nameless.stderr, nameless.stderr)
    return begun


def check_part(shop, checks):
    """One service, and one that is stopped."""
    folder = os.path.join(shop.folder, "part")
    checks.check("a stopped service", shop.run("stop", "notifications").returncode == 0)
    done = shop.run("backup", folder, "notifications", "identity", "--json")
    files = [f["path"] for f in json.loads(done.stdout)["files"]] if done.returncode == 0 else []
    checks.check("only some, one of them stopped", sorted(files) == ["data/identity.db", "data/notifications.db", "private/identity/signing-key.pem"], done.stderr)
    checks.check("it starts again", shop.run("start", "notifications").returncode == 0)
    shutil.rmtree(folder, ignore_errors=True)
    done = shop.run("backup", folder, "ordesr")
    checks.check("a name that is none", done.returncode == 2 and "ordesr" in done.stderr and not os.path.exists(folder + ".partial"), done.stderr)


def check_full(shop, checks):
    """Where the copy goes nothing more fits."""
    folder = os.path.join(shop.folder, "full")

    def little_room():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (60000, 60000))

    done = subprocess.run(command(shop, "backup", folder), env=shop.env, capture_output=True, text=True, timeout=60, check=False, preexec_fn=little_room)
    left = [f for f in os.listdir(shop.folder) if f.startswith("full")]
    checks.check("what does not fit is told and leaves nothing", done.returncode != 0 and folder in done.stderr and "no backup was made" in done.stderr and not left,
                 f"{done.stderr} {left}")


def check_kills(shop, checks, draw):
    """SIGKILL to the command, and to services that are being copied: never something that looks like a backup and is none."""
    outcomes = {"whole": 0, "none": 0}
    for i in range(KILLS):
        folder = os.path.join(shop.folder, f"killed{i}")
        running = subprocess.Popen(command(shop, "backup", folder), env=shop.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        time.sleep(draw.uniform(0, 0.25))
        if i % 2 == 0:
            running.kill()
            running.communicate()
            good = not os.path.exists(folder) or is_whole(folder)
        else:
            target = draw.choice(("hub", "orders", "bank", "search"))
            pid = shop.pids().get(target)
            if pid:
                os.kill(pid, signal.SIGKILL)
            said, _ = running.communicate(timeout=60)
            good = is_whole(folder) if running.returncode == 0 else not os.path.exists(folder) and not os.path.exists(folder + ".partial") and "ficus: " in said
            wait_for("all processes", lambda: len(shop.pids()) == len(PROCESSES), 30)
        outcomes["whole" if os.path.exists(folder) else "none"] += 1
        checks.check("killed %d: whole or none" % i, good)
    print(f"  {outcomes}")
    folder = os.path.join(shop.folder, "after")
    done = shop.run("backup", folder)
    checks.check("the next one is whole", done.returncode == 0 and is_whole(folder), done.stderr)


# ---- after the restore ----


def check_accepted(checks, before, now, run, begun):
    """Orders that were answered before the backup began are there; those that had ended are as they were."""
    accepted = [j for j in run["orders"] if j["state"] == "accepted" and reconcile.milliseconds(j["accepted_at"]) < begun]
    lost = [j["id"] for j in accepted if j["id"] not in now]
    checks.check(f"all {len(accepted)} orders accepted before the backup are there", len(accepted) > 10 and not lost, str(lost[:5]))
    ended = [o for o in before.values() if reconcile.milliseconds(o["history"][-1]["at"]) < begun and o["status"] != "pending"]
    asked = {j["id"] for j in accepted if (j.get("cancel") or {}).get("status") == 202}
    changed = [(o, now.get(o["id"])) for o in ended if o["id"] not in asked and now.get(o["id"]) != o]
    checks.check(f"the {len(ended)} that had ended are as they were", ended and not changed, str(changed[:3]))
    gone = [i for i in before if i not in now]
    print(f"  {len(gone)} orders of {len(before)} came after it")
    return set(gone)


def statements(api, run, plan, gone):
    """What is broken of the seven statements. Of orders that came later than orders' moment there may be a trace, as long as nobody has paid and no
    stock is held."""
    shop, found = reconcile.Shop(api, run, plan), reconcile.Findings()
    for order_id in gone & (shop.payments.keys() | shop.movements.keys()):
        shop.orders[order_id] = {"id": order_id, "status": "cancelled", "reason": None, "items": [], "history": [{"status": "pending", "at": "9"}, {"status": "cancelled", "at": "9"}],
                                 "total": {"amount": 0, "currency": "GBP"}}
    traces = gone & shop.orders.keys()
    notified = {o: list(n) for o, n in shop.notifications.items()}
    reconcile.check_statements(shop, plan, {**run, "orders": [j for j in run["orders"] if j["id"] in shop.orders and j["id"] not in gone]}, found)
    return dict(found.breaches), len(traces), notified


def settled(api, run, plan, gone):
    broken, traces, _ = statements(api, run, plan, gone)
    return (traces,) if not broken else None


def check_restored(shop, checks, before, run, begun, known):
    api = Api(shop.url)
    with open(os.path.join(shop.state, "admin.json"), encoding="utf-8") as f:
        admin = json.load(f)
    api.authorization = api.sign_in(admin["email"], admin["password"])
    now = {o["id"]: o for o in api.items("/api/v1/orders", limit=50)}
    gone = check_accepted(checks, before, now, run, begun)
    plan = expect.make_plan(run["file"], run["seed"], run["invoices"])
    try:
        (traces,) = wait_for("quiet", lambda: settled(api, run, plan, gone), 60, 0.5)
        checks.check(f"the seven statements hold; of {traces} later orders there was a trace, and it is undone", True)
    except AssertionError:
        checks.check("the seven statements hold", False, str(statements(api, run, plan, gone)[0])[:3000])
    verified = shop.run("events", "verify")
    checks.check("the event stores' chains are whole", verified.returncode == 0, verified.stdout + verified.stderr)
    for what, args in (("no stuck saga", ("saga", "list", "--stuck")), ("no dead letter", ("events", "dead"))):
        done = shop.run(*args, "--json")
        checks.check(what, done.returncode == 0 and '"id"' not in done.stdout, (done.stdout + done.stderr)[:1000])
    token, key, body, answer = known
    again = shop.request("POST", "/api/v1/orders", body, token, key)
    checks.check("a token of before is good, a key of before answers as then", again.status == 202 and again.json["id"] == answer.json["id"], str(again))
    new = shop.order(token, {"BACKUP": 1})
    checks.check("new orders go through", shop.ended(token, new.json["id"])["status"] == "confirmed")
    found = shop.request("GET", "/api/v1/search?limit=1&q=BACKUP")
    checks.check("the search knows what it knew", found.status == 200 and found.json["items"][0]["sku"] == "BACKUP", str(found))


def check_restore(shop, checks, folder):
    running = shop.run("restore", folder)
    checks.check("not into a running system", running.returncode == 1 and "ficus down" in running.stderr, running.stderr)
    checks.check("down and purge", shop.run("down", "--purge").returncode == 0 and not os.path.exists(shop.state))
    copy = os.path.join(shop.folder, "spoilt")
    shutil.copytree(folder, copy)
    with open(os.path.join(copy, "data/bank.db"), "r+b") as f:
        f.seek(5000)
        byte = f.read(1)
        f.seek(5000)
        f.write(bytes([byte[0] ^ 1]))
    spoilt = shop.run("restore", copy)
    checks.check("one bit that is not as it was is found before anything is touched",
                 spoilt.returncode == 1 and "bank.db" in spoilt.stderr and "nothing was changed" in spoilt.stderr and not os.listdir(os.path.join(shop.state, "data")), spoilt.stderr)
    os.makedirs(os.path.join(shop.state, "restore.partial/data"))  # as kill -9 leaves it while it copies
    refused = shop.run("up", "-d")
    checks.check("a restore that was killed while it copied: no empty system is started", refused.returncode == 1 and "begins it again" in refused.stderr, refused.stderr)
    done = shop.run("restore", folder)
    checks.check("a restore", done.returncode == 0, done.stderr)
    note = os.path.join(shop.state, "restore.json")
    with open(note, "w", encoding="utf-8") as f:
        json.dump({"version": 1, "aside": "", "moves": [], "puts": ["data/orders.db"]}, f)
    refused = [shop.run("up", "-d"), shop.run("backup", os.path.join(shop.folder, "half"))]
    checks.check("of half a restore nothing is started or copied", all(r.returncode == 1 and "ficus restore finishes it" in r.stderr for r in refused), str(refused))
    done = shop.run("restore", folder)
    checks.check("the same command finishes it", done.returncode == 0 and "is finished now" in done.stderr and not os.path.exists(note), done.stderr)
    twice = shop.run("restore", folder)
    checks.check("not over data that is there", twice.returncode == 1 and "--replace" in twice.stderr, twice.stderr)


def run(shop, args, checks):
    draw = random.Random(args.seed)
    folder = os.path.join(shop.folder, "backup")
    shop.up()
    known_token, body = shop.user("before@example.org"), {"items": [{"product_id": "BACKUP", "quantity": 1}], "payment": {"card_number": "4242424242424242"}}
    shop.product(shop.admin(), "BACKUP", on_hand=100)
    answer = shop.request("POST", "/api/v1/orders", body, known_token, "key-of-before")
    shop.ended(known_token, answer.json["id"])
    check_rights(shop, checks)
    replay = shop.replay("--rate", "40", "--loops", "40", "--seed", str(args.seed), *first(args.invoices))
    try:
        shop.wait_orders(replay, 30)
        begun = check_backup(shop, checks, folder)
        check_kills(shop, checks, draw)
        code = stop_replay(shop, replay)
    finally:
        end_replay(replay)
    checks.check("all customers got their answers meanwhile", code == 0, shop.replay_report()[-2000:])
    check_part(shop, checks)
    check_full(shop, checks)
    with open(shop.run_file, encoding="utf-8") as f:
        replayed = json.load(f)
    api = Api(shop.url)
    api.authorization = "Bearer " + shop.admin()
    reconcile.wait_pending(api, time.monotonic() + 60)
    before = {o["id"]: o for o in api.items("/api/v1/orders", limit=50)}
    check_restore(shop, checks, folder)
    shop.up()
    check_restored(shop, checks, before, replayed, begun, (known_token, "key-of-before", body, answer))
    checks.check("ficus down", shop.down().returncode == 0)
    bad, count = damaged(os.path.join(shop.state, "data"))
    checks.check(f"PRAGMA integrity_check of {count} databases", not bad and count >= 10, str(bad))
    stopped = os.path.join(shop.folder, "stopped")
    done = shop.run("backup", stopped)
    checks.check("a backup of the stopped system", done.returncode == 0 and is_whole(stopped), done.stderr)


def main():
    build, rest = build_folder(sys.argv[1:])
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--invoices", type=int, default=40, help="only the first so many: fewer users to register")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    args = parser.parse_args(rest)
    return run_checked(Shop(build, "backup"), lambda shop, checks: run(shop, args, checks), f" (seed {args.seed})")


if __name__ == "__main__":
    sys.exit(main())
