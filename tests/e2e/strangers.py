#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Strangers: another local process without the key gets nothing from any listening port or socket of a shop, and
no secret lies in its state folder.

    tests/e2e/strangers.py [--build FOLDER]

Ports and sockets are found by /proc. Paths are those of the manifest, of the services' sources and of the hub's and
supervisor's interfaces. Run by root it also plays a process of another user, against the operators' sockets too; other
users may not even connect.
"""

import base64
import glob
import http.client
import json
import os
import re
import signal
import socket
import stat
import sys

from checks import run_checked
from shop import ROOT, Shop, UnixConnection, build_folder

METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH")
REFUSALS = {400, 401, 403, 404, 405, 415, 421, 501}
# Every process has these three; they tell how it is and how much it does, and nothing of what the shop stores.
OPEN_TO_ALL = {("GET", "/alive"), ("GET", "/health"), ("GET", "/metrics")}
HUB_PATHS = [
    "/v1/events",
    "/v1/endpoints",
    "/v1/registry",
    "/v1/sagas",
    "/v1/sagas/checkout/{id}",
    "/v1/sagas/checkout",
    "/v1/sagas/checkout/{id}/retry",
    "/v1/sagas/checkout/{id}/cancel",
    "/v1/sagas/checkout/{id}/terminate",
    "/v1/sagas/checkout/{id}/signals/approved",
    "/v1/topics",
    "/v1/dead",
    "/v1/dead/{id}/redrive",
    "/v1/dead/{id}/drop",
    "/metrics",
    "/v1/status",
    "/v1/restart/orders",
    "/v1/down",
]
NOBODY = 65534


# ---- what listens ----


def processes(shop):
    """All of this shop: those that the status names and everything below them."""
    children = {}
    for folder in glob.glob("/proc/[0-9]*"):
        try:
            with open(folder + "/stat", encoding="ascii", errors="replace") as f:
                parent = int(f.read().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        children.setdefault(parent, []).append(int(folder[6:]))
    found, queue = set(), list(shop.pids().values())
    while queue:
        pid = queue.pop()
        if pid not in found:
            found.add(pid)
            queue += children.get(pid, [])
    return found


def inodes(pids):
    found = set()
    for pid in pids:
        for link in glob.glob(f"/proc/{pid}/fd/*"):
            try:
                match = re.fullmatch(r"socket:\[(\d+)\]", os.readlink(link))
            except OSError:
                continue
            if match:
                found.add(int(match.group(1)))
    return found


def tcp_listeners(own):
    ports = set()
    for name in ("/proc/net/tcp", "/proc/net/tcp6"):
        with open(name, encoding="ascii") as f:
            for line in f.read().splitlines()[1:]:
                fields = line.split()
                if fields[3] == "0A" and int(fields[9]) in own:
                    ports.add(int(fields[1].rsplit(":", 1)[1], 16))
    return sorted(ports)


def unix_listeners(own):
    """Paths of listening stream sockets, and of bound datagram sockets."""
    streams, datagrams = set(), set()
    with open("/proc/net/unix", encoding="utf-8") as f:
        for line in f.read().splitlines()[1:]:
            fields = line.split(None, 7)
            if len(fields) == 8 and int(fields[6]) in own:
                if int(fields[3], 16) & 0x10000:
                    streams.add(fields[7])
                elif int(fields[4], 16) == socket.SOCK_DGRAM:
                    datagrams.add(fields[7])
    return sorted(streams), sorted(datagrams)


# ---- what is asked ----


def gateway_routes():
    """[(method, path, open to anyone)] of the manifest."""
    with open(os.path.join(ROOT, "shop/ficus.yaml"), encoding="utf-8") as f:
        lines = re.findall(r"- \{ method: (\w+),\s+path: (\S+?),\s+to: (.*)\}", f.read())
    return [(method, path.strip('"'), "auth: required" not in rest) for method, path, rest in lines]


def service_paths():
    paths = set()
    for name in glob.glob(os.path.join(ROOT, "shop/services/*/*.c")):
        with open(name, encoding="utf-8") as f:
            paths.update(re.findall(r'\{"[A-Z]+", "(/[^"]+)"', f.read()))
    return sorted(paths)


def shape(path):
    """Two templates that differ in the names of their parameters only are one."""
    return re.sub(r"\{\w+\}", "{}", path)


def filled(path, order_id):
    return path.replace("{id}", order_id).replace("{sku}", "22423")


def token_of_a_stranger():
    part = lambda value: base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")
    claims = {
        "iss": "gateway",
        "aud": "orders",
        "sub": "root",
        "user": "root",
        "roles": ["admin"],
        "iat": 0,
        "exp": 4000000000,
    }
    return (
        part({"alg": "none", "typ": "JWT"}) + "." + part(claims) + ".",
        part({"alg": "HS256", "typ": "JWT"}) + "." + part(claims) + "." + "A" * 43,
    )


def ask(connection, method, path, headers):
    """(status, body); status None: no connection or no answer."""
    body = b"{}" if method in ("POST", "PUT", "PATCH") else None
    try:
        connection.request(method, path, body, dict(headers, **({"Content-Type": "application/json"} if body else {})))
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException):
        return None, b""
    finally:
        connection.close()


def forgeries():
    none, hs256 = token_of_a_stranger()
    return [
        {},
        {"Ficus-Identity": "x"},
        {"Ficus-Identity": none},
        {"Ficus-Identity": hs256},
        {"Authorization": "Bearer " + none},
        {"Ficus-Identity": hs256, "Authorization": "Bearer " + hs256},
    ]


def attack_unix(path, paths, order_id):
    """What got through a socket: [(method, path, headers, status)], and how many were sent."""
    through, count = [], 0
    for target in paths:
        for method in METHODS:
            for headers in forgeries():
                status, _ = ask(UnixConnection(path), method, filled(target, order_id), headers)
                count += 1
                if status is not None and status not in REFUSALS and (method, target) not in OPEN_TO_ALL:
                    through.append((method, target, sorted(headers), status))
    return through, count


def attack_gateway(port, order_id):
    through, count = [], 0
    routes = gateway_routes()
    anyone = {(method, shape(path)) for method, path, is_open in routes if is_open} | OPEN_TO_ALL
    paths = sorted({path for _, path, _ in routes} | set(service_paths()) | set(HUB_PATHS) | {"/alive", "/health"})
    for target in paths:
        for method in METHODS:
            for headers in forgeries():
                status, _ = ask(
                    http.client.HTTPConnection("127.0.0.1", port, timeout=10), method, filled(target, order_id), headers
                )
                count += 1
                if status not in REFUSALS and (method, shape(target)) not in anyone:
                    through.append((method, target, sorted(headers), status))
    return through, count


# ---- checks ----


def operator_sockets(streams):
    return [path for path in streams if os.path.basename(path) in ("hub-ops.sock", "supervisor.sock", "gateway-admin.sock")]


def check_sockets(shop, checks, order_id):
    own = inodes(processes(shop))
    ports, (streams, datagrams) = tcp_listeners(own), unix_listeners(own)
    checks.check(f"the gateway's is the only TCP port: {ports}", ports == [shop.port], str(ports))
    checks.check(
        f"found the sockets of hub, services and operators: {len(streams)}, {len(datagrams)} for datagrams",
        len(streams) >= 9 and len(operator_sockets(streams)) == 3,
        str(streams),
    )
    through, count = attack_gateway(shop.port, order_id)
    checks.check(f"the gateway refuses {count} requests of a stranger", not through, str(through[:10]))
    paths = service_paths() + HUB_PATHS
    for path in streams:
        if path not in operator_sockets(streams):
            through, count = attack_unix(path, paths, order_id)
            checks.check(
                f"{os.path.basename(path)} refuses {count} requests without the key", not through, str(through[:10])
            )
        mode = stat.S_IMODE(os.stat(os.path.dirname(path)).st_mode)
        checks.check(f"{os.path.basename(path)} stands in a folder of mode 0700", mode == 0o700, oct(mode))
    check_datagrams(shop, checks, datagrams)
    if os.geteuid() == 0:
        check_other_user(checks, streams + datagrams)
    else:
        print("      (not root: the other user is not played)")


def check_requests(shop, checks, order_id):
    """The same requests with a key to them do get through: it is the key that the stranger lacks."""
    admin = {"Authorization": "Bearer " + shop.admin()}
    bad = []
    for method, path, _ in gateway_routes():
        if method == "GET":
            connection = http.client.HTTPConnection("127.0.0.1", shop.port, timeout=10)
            query = "?q=white" if path == "/api/v1/search" else ""
            status, _ = ask(connection, method, filled(path, order_id) + query, admin)
            if status != 200 and path != "/api/v1/products/{id}":  # the id is an order's
                bad.append((path, status))
    checks.check("the administrator gets an answer on every GET route", not bad, str(bad))


def check_datagrams(shop, checks, datagrams):
    """A lie about readiness from a process that is no child changes nothing."""
    before = shop.pids()
    for path in datagrams:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            for lie in (b"READY=1", b"STOPPING=1", b"MAINPID=1", b"\0" * 65000):
                try:
                    s.sendto(lie, path)
                except OSError:
                    pass
    checks.check("a stranger's notifications change nothing", shop.pids() == before)


def check_other_user(checks, paths):
    """In a child that is nobody: no socket can even be connected to."""
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        connected = []
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            for path in paths:
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    with socket.socket(socket.AF_UNIX, kind) as s:
                        try:
                            s.connect(path)
                            connected.append(path)
                        except OSError:
                            pass
            os.write(writer, json.dumps(connected).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as f:
        said = f.read()
    os.waitpid(pid, 0)
    checks.check(f"another user can connect to none of {len(paths)} sockets", said == b"[]", said.decode())


def check_browsers(shop, checks):
    form = {"Content-Type": "application/x-www-form-urlencoded", "Origin": "http://evil.example"}
    answer = shop.request("POST", "/api/v1/users", b"email=a", headers=form)
    checks.check("a form from another origin is refused", answer.status == 403, str(answer))
    body = {"email": "evil@example.org", "name": "E", "password": "long enough password"}
    answer = shop.request("POST", "/api/v1/users", body, headers={"Origin": "http://evil.example"})
    checks.check("JSON from another origin is refused", answer.status == 403, str(answer))
    for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example"):
        answer = shop.request("GET", "/api/v1/products", headers={"Host": host})
        checks.check(f"the foreign host {host} is refused", answer.status in (400, 403, 421), str(answer))
    checks.check(
        "the own host and origin are fine",
        shop.request("GET", "/api/v1/products", headers={"Origin": shop.url}).status == 200,
    )


def secrets_of(shop):
    """What the replay used: (what it is, bytes)."""
    with open(shop.run_file, encoding="utf-8") as f:
        run = json.load(f)
    with open(os.path.join(shop.state, "admin.json"), encoding="utf-8") as f:
        secrets = [("the administrator's password", json.load(f)["password"].encode())]
    for number in ("4242424242424242", "4000000000000002", "4000000000009995", "4000000000000119", "4000000000000341"):
        secrets.append(("card " + number, number.encode()))
        secrets.append(("card " + number + " in groups", " ".join(re.findall("....", number)).encode()))
    for user in run["users"]:
        secrets.append(("password of " + user["email"], user["password"].encode()))
        if user["authorization"]:
            token = user["authorization"].split(" ", 1)[1]
            secrets += [
                ("token of " + user["email"], token.encode()),
                ("signature of the token of " + user["email"], token.rsplit(".", 1)[1].encode()),
            ]
    return secrets


def check_secrets(shop, checks):
    secrets = secrets_of(shop)
    found, count, size = [], 0, 0
    for folder, _, names in os.walk(shop.state):
        for name in names:
            path = os.path.join(folder, name)
            if name == "admin.json" or not stat.S_ISREG(os.lstat(path).st_mode):
                continue
            with open(path, "rb") as f:
                content = f.read()
            count, size = count + 1, size + len(content)
            found += [(os.path.relpath(path, shop.state), what) for what, text in secrets if text in content]
    checks.check(
        f"none of {len(secrets)} secrets stands in the {count} files ({size / 1e6:.1f} MB) of the state folder",
        not found and size > 0,
        str(found[:10]),
    )


def run(shop, checks):
    shop.up()
    replay = shop.replay("--rate", "60", "--invoices", "150", "--loops", "2")
    try:
        code = replay.wait(timeout=300)
    finally:
        if replay.poll() is None:
            replay.kill()
            replay.wait()
    checks.check("a replay", code == 0, shop.replay_report()[-1500:])
    with open(shop.run_file, encoding="utf-8") as f:
        order_id = json.load(f)["orders"][0]["id"]
    check_sockets(shop, checks, order_id)
    check_requests(shop, checks, order_id)
    check_browsers(shop, checks)
    code, report = shop.reconcile(60)
    checks.check("the shop is as it was before the strangers came: 0 differences", code == 0, report)
    check_secrets(shop, checks)


def main():
    build, _ = build_folder(sys.argv[1:])
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    return run_checked(Shop(build, "strangers"), run)


if __name__ == "__main__":
    sys.exit(main())
