#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""TLS at a gateway of two threads: ficus config check, ficus up, curl and Python's ssl against it, new certificates while it runs.

    tests/e2e/tls.py [--build FOLDER]
"""

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys

from checks import run_checked
from shop import build_folder, wait_for
from tls_shop import TLS, TlsShop

PATH = "/api/v1/products?limit=1"


def curl(shop, *args):
    command = ["curl", "-sS", "-i", "--noproxy", "*", "--max-time", "20", *args, shop.url + PATH]
    return subprocess.run(command, cwd=shop.own, capture_output=True, text=True, check=False)


def ask(connection, method="GET", path=PATH, **fields):
    """One request on a connection that stays open: status, fields, body."""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {ask.host}"] + [f"{n.replace('_', '-')}: {v}" for n, v in fields.items()]
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    answer = http.client.HTTPResponse(connection, method=method)
    answer.begin()
    return answer.status, dict((n.lower(), v) for n, v in answer.getheaders()), answer.read()


def bad_files(shop, checks):
    for what, tls, said in (
        ("no certificate", TLS.replace("two.pem", "none.pem"), "none.pem"),
        ("a key that does not fit", TLS.replace("two.key", "one.key"), "does not fit the certificate"),
    ):
        shop.write(tls)
        done = shop.run("config", "check")
        place = [line for line in done.stderr.splitlines() if "ficus.yaml:" in line and "certificates[1]" in line and said in line]
        checks.check(f"config check, {what}: refused with its place", done.returncode == 2 and len(place) == 1, done.stdout + done.stderr)
    shop.write(TLS)


def serving(shop, checks):
    for version in ("1.2", "1.3"):
        for protocol, option in (("HTTP/1.1", "--http1.1"), ("HTTP/2", "--http2")):
            done = curl(shop, "--cacert", "one.pem", "--tlsv" + version, "--tls-max", version, option)
            checks.check(
                f"curl, {protocol} by ALPN over TLS {version}: 200 and Strict-Transport-Security",
                done.stdout.startswith(protocol + " 200") and "strict-transport-security: max-age=15552000" in done.stdout.lower(),
                done.stdout[:300] + done.stderr,
            )
    done = curl(shop, "--cacert", "two.pem")
    checks.check("curl, a certificate that it does not know: refused by curl", done.returncode == 60, done.stderr)
    with shop.connect(shop.context("two"), "two.example") as c:
        checks.check("a name of the second certificate gets that one", c.getpeercert()["subject"] == ((("commonName", "two"),),))
        checks.check("ALPN: http/1.1", c.selected_alpn_protocol() == "http/1.1", str(c.selected_alpn_protocol()))
    raw = socket.create_connection(("127.0.0.1", shop.port), timeout=30)
    raw.sendall(f"GET {PATH} HTTP/1.1\r\nHost: {ask.host}\r\n\r\n".encode())
    answer = raw.recv(1000)
    raw.close()
    checks.check("plain HTTP gets no answer of HTTP", not answer.startswith(b"HTTP"), repr(answer))


def origins(shop, checks):
    for origin, wanted in ((f"https://{ask.host}", 400), (f"http://{ask.host}", 403), ("https://elsewhere.example", 403)):
        with shop.connect(shop.context("one")) as c:
            status, _, body = ask(c, "POST", "/api/v1/sessions", Origin=origin, Content_Type="application/json", Content_Length=0)
            checks.check(f"POST of a page of {origin.replace(ask.host, 'HOST')}: {wanted}", status == wanted, f"{status} {body!r}")


def new_certificates(shop, checks):
    context = shop.context("one")
    with shop.connect(context) as before:
        serial = before.getpeercert()["serialNumber"]
        checks.check("an open connection is served", ask(before)[0] == 200)
        shutil.copy(os.path.join(shop.own, "one.key"), os.path.join(shop.own, "two.key"))
        done = shop.run("reload")
        checks.check("reload with a key that does not fit: refused", done.returncode == 2 and "does not fit" in done.stderr, done.stderr)
        with shop.connect(context) as c:
            checks.check("... and the old certificate stays", c.getpeercert()["serialNumber"] == serial)
        shop.certificate("one", "IP:127.0.0.1")
        shop.certificate("two", "DNS:two.example")
        done = shop.run("reload")
        checks.check("reload with new files", done.returncode == 0, done.stdout + done.stderr)
        with shop.connect(shop.context("one")) as c:
            checks.check("new connections see the new certificate", c.getpeercert()["serialNumber"] != serial)
        checks.check("the open connection goes on", ask(before)[0] == 200)


def resumption(shop, checks):
    context = shop.context("one")
    with shop.connect(context) as c:
        ask(c)
        session = c.session
        checks.check("a first session is a new one", not c.session_reused)
    with shop.connect(context, session=session) as c:
        checks.check("a session is resumed", c.session_reused and ask(c)[0] == 200)
        session = c.session
    again = 0
    for _ in range(16):
        with shop.connect(context, session=session) as c:
            again += c.session_reused and ask(c)[0] == 200
            session = c.session
    checks.check("by whichever thread its client comes back to", again == 16, str(again))
    keys = os.path.join(shop.state, "private/gateway.tickets")
    checks.check("the keys of tickets are the user's alone", os.stat(keys).st_mode & 0o777 == 0o600)
    pid = shop.pids()["gateway"]
    done = shop.run("restart", "gateway")
    checks.check("ficus restart gateway", done.returncode == 0, done.stderr)
    wait_for("another gateway", lambda: shop.pids().get("gateway") not in (None, pid))
    with shop.connect(context, session=session) as c:
        checks.check("... resumes the session of the one before", c.session_reused and ask(c)[0] == 200)


def replay(shop, checks):
    """The shop over HTTP/2: orders, streams, carts, searches; then what came of them, read over TLS too."""
    code = shop.replay("--rate", "40", "--invoices", "30").wait(timeout=120)
    checks.check("a replay over https: all is answered", code == 0, shop.replay_report()[-2000:])
    code, report = shop.reconcile(30)
    checks.check("... and reconciled", code == 0, report[-2000:])
    lines = [json.loads(line) for line in shop.run("logs", "gateway", "--json").stdout.splitlines()]
    spoken = {line["protocol"] for line in lines if line["event"] == "gateway.request" and line["route"] == "/api/v1/orders" and line["method"] == "POST"}
    checks.check("... ordered with HTTP/2", spoken == {"h2"}, str(spoken))


def run(shop, checks):
    ask.host = f"127.0.0.1:{shop.port}"
    bad_files(shop, checks)
    shop.up()
    serving(shop, checks)
    replay(shop, checks)
    origins(shop, checks)
    new_certificates(shop, checks)
    resumption(shop, checks)
    done = shop.down()
    checks.check("ficus down", done.returncode == 0, done.stderr)


if __name__ == "__main__":
    sys.exit(run_checked(TlsShop(build_folder(sys.argv[1:])[0], "tls"), run))
