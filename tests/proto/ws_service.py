#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A service that takes one WebSocket handshake on a unix socket and sends back what comes, until it ends; then ends too.

    tests/proto/ws_service.py SOCKET
"""

import base64
import hashlib
import os
import re
import socket
import sys


def main():
    if os.path.exists(sys.argv[1]):
        os.unlink(sys.argv[1])
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(sys.argv[1])
        listener.listen()
        s, _ = listener.accept()
    with s:
        s.settimeout(20)
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += s.recv(1)
        text = head.decode("latin-1")
        key = re.search(r"\r\nsec-websocket-key: (\S+)\r\n", text, re.I).group(1)
        if not text.startswith("GET ") or "\r\nUpgrade: websocket\r\n" not in text or "\r\nConnection: Upgrade\r\n" not in text:
            raise AssertionError(text)
        digest = hashlib.sha1((key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        s.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                  b"Sec-WebSocket-Accept: " + base64.b64encode(digest) + b"\r\n\r\n")
        while True:
            piece = s.recv(4096)
            if not piece:
                return
            s.sendall(piece)


if __name__ == "__main__":
    main()
