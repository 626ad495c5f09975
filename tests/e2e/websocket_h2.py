#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""WebSockets to a service over HTTP/2 (RFC 8441): through two real gateways, from clients of HTTP/1.1 and HTTP/2.

    tests/e2e/websocket_h2.py [--build FOLDER]

client -- HTTP/1.1 or HTTP/2 --> near gateway -- HTTP/2 --> far gateway -- HTTP/1.1 --> a service that sends back what comes
"""

import base64
import hashlib
import json
import os
import re
import socket
import struct
import sys
import threading
import time

import h2_client
from checks import run_checked
from shop import Shop, build_folder, wait_for

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def accept_of(key):
    return base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()


class Server:
    """Connections of TCP, each on a thread of its own."""

    def __init__(self, serve):
        self.socket = socket.socket()
        self.socket.bind(("127.0.0.1", 0))
        self.socket.listen(64)
        self.port = self.socket.getsockname()[1]
        self.serve, self.seen = serve, []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while True:
            stream, _ = self.socket.accept()
            threading.Thread(target=self.one, args=(stream,), daemon=True).start()

    def one(self, stream):
        with stream:
            stream.settimeout(60)
            try:
                self.serve(self, stream)
            except OSError:
                pass


def read_head(stream):
    """Up to its empty line, or to the connection's end."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        piece = stream.recv(1)
        if not piece:
            break
        head += piece
    return head.decode("latin-1")


def echo(server, stream):
    """A WebSocket of HTTP/1.1; /refused is 403; /bye ends by itself."""
    text = read_head(stream)
    if not text.endswith("\r\n\r\n"):
        return
    server.seen.append(text)
    if "GET /refused" in text:
        stream.sendall(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno")
        return
    key = re.search(r"\r\nsec-websocket-key: (\S+)\r\n", text, re.I).group(1)
    stream.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                   + f"Sec-WebSocket-Accept: {accept_of(key)}\r\nSec-WebSocket-Protocol: chat\r\n\r\n".encode())
    if "GET /bye" in text:
        stream.sendall(b"bye")
        return
    while True:
        piece = stream.recv(65536)
        if not piece:
            return
        stream.sendall(piece)


def without_tunnels(server, stream):
    """HTTP/2 that announces nothing, and notes whether it is asked for a stream."""
    stream.sendall(h2_client.Connection.frame(h2_client.SETTINGS, 0, 0))
    data = b""
    while True:
        piece = stream.recv(65536)
        if not piece:
            return
        data += piece
        at = 24
        while len(data) >= at + 9:
            size = int.from_bytes(data[at : at + 3], "big")
            if len(data) < at + 9 + size:
                break
            if data[at + 3] == h2_client.HEADERS:
                server.seen.append("HEADERS")
            at += 9 + size


class System(Shop):
    def __init__(self, build, name, services, routes):
        super().__init__(build, name)
        own = os.path.join(self.folder, "system")
        os.makedirs(os.path.join(own, "services"))
        self.manifest = os.path.join(own, "ficus.yaml")
        for service, text in services.items():
            with open(os.path.join(own, "services", service + ".yaml"), "w", encoding="utf-8") as f:
                f.write(f"service: {service}\nteam: t\ndoes: talks\n{text}")
        with open(self.manifest, "w", encoding="utf-8") as f:
            f.write(f"ficus: 1\nsystem: {name}\ninclude: [services/*.yaml]\ngateway:\n  routes:\n" + routes)

    def logged(self):
        with open(os.path.join(self.state, "log/gateway.1.log"), encoding="utf-8") as f:
            return [json.loads(line) for line in f if '"gateway.request"' in line]


# ---- clients ----


def h1_open(port, path):
    stream = socket.create_connection(("127.0.0.1", port), timeout=30)
    stream.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                   f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode())
    return stream, read_head(stream)


def read_exactly(stream, size):
    data = b""
    while len(data) < size:
        piece = stream.recv(65536)
        if not piece:
            break
        data += piece
    return data


class H2Tunnel:
    def __init__(self, port, path):
        self.c = h2_client.Connection(socket.create_connection(("127.0.0.1", port), timeout=30), f"127.0.0.1:{port}")
        self.body, self.ended, self.status = b"", False, None
        fields = ((":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "http"), (":authority", self.c.authority), (":path", path),
                  ("sec-websocket-version", "13"))
        block = b"".join(h2_client.literal(n, v) for n, v in fields)
        self.c.stream.sendall(self.c.frame(h2_client.HEADERS, h2_client.END_HEADERS, 1, block))
        while self.status is None:
            self.turn()

    def turn(self):
        kind, flags, stream, payload = self.c.read()
        if kind == h2_client.SETTINGS and not flags & h2_client.ACK:
            self.c.stream.sendall(self.c.frame(h2_client.SETTINGS, h2_client.ACK, 0))
        if kind == h2_client.HEADERS and stream == 1:
            self.status = h2_client.status(payload)
        if kind == h2_client.DATA and payload:
            self.body += payload
            for which in (0, 1):
                self.c.stream.sendall(self.c.frame(h2_client.WINDOW_UPDATE, 0, which, struct.pack("!I", len(payload))))
        if kind in (h2_client.DATA, h2_client.HEADERS) and flags & h2_client.END_STREAM:
            self.ended = True
        if kind in (h2_client.RST_STREAM, h2_client.GOAWAY):
            raise h2_client.Broken(f"frame {kind}")

    def send(self, data, end=False):
        self.c.stream.sendall(self.c.frame(h2_client.DATA, h2_client.END_STREAM if end else 0, 1, data))


def over_h1(near, checks, service):
    stream, head = h1_open(near.port, "/chat/room")
    checks.check("HTTP/1.1: 101, and the key is answered", head.startswith("HTTP/1.1 101 ") and f"sec-websocket-accept: {accept_of(KEY)}".lower() in head.lower(), head)
    checks.check("... once, whatever the service had said to the gateway", head.lower().count("sec-websocket-accept") == 1, head)
    checks.check("... the service's choice of a protocol passes", "sec-websocket-protocol: chat" in head.lower(), head)
    checks.check("the far gateway made a key of its own", KEY not in service.seen[-1] and "sec-websocket-key" in service.seen[-1].lower(), service.seen[-1])
    data = os.urandom(500000)
    threading.Thread(target=stream.sendall, args=(data,), daemon=True).start()
    got = read_exactly(stream, len(data))
    checks.check("500 kB pass both ways", got == data, f"{len(got)} bytes")
    stream.shutdown(socket.SHUT_WR)
    checks.check("the client's end ends it", stream.recv(1) == b"")
    stream.close()
    stream, head = h1_open(near.port, "/chat/bye")
    checks.check("a service that ends it: the last bytes come", read_exactly(stream, 10) == b"bye", head)
    stream.close()
    stream, head = h1_open(near.port, "/chat/refused")
    checks.check("a service that refuses: its own answer", head.startswith("HTTP/1.1 403 ") and read_exactly(stream, 2) == b"no", head)
    stream.close()


def over_h2(near, checks):
    tunnel = H2Tunnel(near.port, "/chat/room")
    checks.check("HTTP/2: 200", tunnel.status == 200, str(tunnel.status))
    data = os.urandom(100000)
    for at in range(0, len(data), 10000):
        tunnel.send(data[at : at + 10000])
        while len(tunnel.body) < at + 10000:
            tunnel.turn()
    checks.check("100 kB pass both ways", tunnel.body == data)
    tunnel.send(b"", True)
    while not tunnel.ended:
        tunnel.turn()
    checks.check("the client's end ends it", tunnel.ended)
    checks.check("a service that refuses: its own answer", H2Tunnel(near.port, "/chat/refused").status == 403)


def refused(near, checks, plain):
    for round_ in ("before its settings are known", "after"):
        stream, head = h1_open(near.port, "/none/room")
        body = stream.recv(65536).decode()
        checks.check(f"a service that takes none, {round_}: 501", head.startswith("HTTP/1.1 501 "), head + body)
        stream.close()
    checks.check("it was never asked", plain.seen == [], str(plain.seen))
    line = wait_for("the line in the log", lambda: next((x for x in near.logged() if x.get("status") == 501), None))
    checks.check("the log says why", "SETTINGS_ENABLE_CONNECT_PROTOCOL" in line.get("reason", ""), str(line))
    checks.check("and it is no failure of the service's: one attempt", line.get("attempts", 1) == 1, str(line))


def run_with(build):
    service, plain = Server(echo), Server(without_tunnels)
    far = System(build, "websocket-far", {"chat": f"url: http://127.0.0.1:{service.port}\n"},
                 '    - { path: "/**", to: "chat:/**", websocket: true }\n')
    near = System(build, "websocket-near",
                  {"far": f"url: http://127.0.0.1:{far.port}\nprotocol: h2c\n", "none": f"url: http://127.0.0.1:{plain.port}\nprotocol: h2c\n"},
                  '    - { path: "/chat/**", to: "far:/**", websocket: true }\n    - { path: "/none/**", to: "none:/**", websocket: true }\n')

    def run(near, checks):
        far.up()
        near.up()
        over_h1(near, checks, service)
        over_h2(near, checks)
        refused(near, checks, plain)
        stream, _ = h1_open(near.port, "/chat/room")
        far.down()
        began = time.monotonic()
        checks.check("a far gateway that stops ends the tunnel", stream.recv(1) == b"" and time.monotonic() - began < 60)

    try:
        return run_checked(near, run)
    finally:
        far.end()


def main():
    build, _ = build_folder(sys.argv[1:])
    return run_with(build)


if __name__ == "__main__":
    sys.exit(main())
