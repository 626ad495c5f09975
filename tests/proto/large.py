#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A body of SIZE bytes through the gateway and back, chunked, by a client and a service that keep none of it.

    tests/proto/large.py HOST PORT PATH SOCKET SIZE
"""

import os
import socket
import sys
import threading

PIECE = bytes(range(256)) * 1024


def read_head(f):
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = f.readline()
        if not line:
            raise AssertionError(f"connection ended inside a head: {head!r}")
        head += line
    return head.decode("latin-1")


def send_chunks(s, size):
    while size > 0:
        piece = PIECE[: min(size, len(PIECE))]
        s.sendall(b"%x\r\n" % len(piece) + piece + b"\r\n")
        size -= len(piece)
    s.sendall(b"0\r\n\r\n")


def read_chunks(f):
    """How many bytes; they have to be those of PIECE, over and over."""
    total = 0
    while True:
        size = int(f.readline().split(b";")[0], 16)
        data = f.read(size)
        at = total % 256
        if data != PIECE[at : at + size] and data != (PIECE * (size // len(PIECE) + 2))[at : at + size]:
            raise AssertionError(f"other bytes at {total}")
        total += size
        if f.read(2) != b"\r\n":
            raise AssertionError(f"no end of chunk at {total}")
        if size == 0:
            return total


def serve(listener, size, failed):
    try:
        s, _ = listener.accept()
        with s, s.makefile("rb", 1 << 18) as f:
            if "Transfer-Encoding: chunked" not in read_head(f):
                raise AssertionError("the request is not chunked")
            got = read_chunks(f)
            if got != size:
                raise AssertionError(f"the service got {got} bytes")
            s.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            send_chunks(s, size)
    except (AssertionError, OSError, ValueError) as e:
        failed.append(e)


def main():
    host, port, path, at, size = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5])
    if os.path.exists(at):
        os.unlink(at)
    failed = []
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(at)
        listener.listen()
        service = threading.Thread(target=serve, args=(listener, size, failed), daemon=True)
        service.start()
        with socket.create_connection((host, port)) as s, s.makefile("rb", 1 << 18) as f:
            s.sendall(f"POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
            send_chunks(s, size)
            head = read_head(f)
            if not head.startswith("HTTP/1.1 200 "):
                raise AssertionError(head)
            got = read_chunks(f)
        service.join(10)
    if failed or got != size:
        raise AssertionError(f"{failed}, the client got {got} bytes")


if __name__ == "__main__":
    main()
