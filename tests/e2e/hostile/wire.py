# SPDX-License-Identifier: Apache-2.0
"""Bytes to the gateway and answers from it, without a library that would be polite."""

import json
import socket
import struct
from typing import Callable, NamedTuple, Optional, Union

CLOSED = "closed"  # the connection ends without an answer


class Row(NamedTuple):
    """One hostile request: what is sent, what must come back, and who says so."""

    name: str
    expect: Union[int, str, list]  # status, CLOSED, or the statuses of all answers in their order
    why: str  # section of an RFC, or "contract" (shop-api.md)
    raw: bytes
    ends: bool = False  # the gateway must close the connection behind its (last) answer and answer nothing more
    half: bool = False  # our side is shut behind the request
    then: bytes = b""  # is sent behind the first answer
    check: Optional[Callable] = None  # of the (last) answer; raises AssertionError


class Answer(NamedTuple):
    status: int
    fields: dict
    body: bytes

    @property
    def json(self):
        return json.loads(self.body)


def check(condition, text):
    if not condition:
        raise AssertionError(text)


class Connection:
    def __init__(self, port, seconds=20.0, receive_size=None):
        self.socket = socket.socket()
        if receive_size is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_size)
        self.socket.settimeout(seconds)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.left = b""

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.socket.close()

    def send(self, raw):
        """As much as the other side takes: it may rightly have closed already."""
        try:
            self.socket.sendall(raw)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def shut(self):
        try:
            self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def abort(self):
        """Ends with a reset."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def more(self):
        try:
            piece = self.socket.recv(65536)
        except ConnectionResetError:
            piece = b""
        self.left += piece
        return piece

    def until(self, mark):
        while mark not in self.left:
            if not self.more():
                return None
        head, _, self.left = self.left.partition(mark)
        return head

    def body(self, status, fields, to_head):
        if to_head or status < 200 or status in (204, 304):
            return b""
        if "content-length" in fields:
            size = int(fields["content-length"])
            while len(self.left) < size and self.more():
                pass
            body, self.left = self.left[:size], self.left[size:]
            return body
        if fields.get("transfer-encoding") == "chunked":
            body = b""
            while size := int((self.until(b"\r\n") or b"0").split(b";")[0], 16):
                while len(self.left) < size + 2 and self.more():
                    pass
                body, self.left = body + self.left[:size], self.left[size + 2 :]
            self.until(b"\r\n")
            return body
        while self.more():
            pass
        body, self.left = self.left, b""
        return body

    def answer(self, to_head=False):
        """The next answer, or None when the connection ended before it."""
        head = self.until(b"\r\n\r\n")
        if head is None:
            return None
        lines = head.split(b"\r\n")
        fields = {}
        for line in lines[1:]:
            name, _, value = line.partition(b":")
            fields[name.decode().lower()] = value.strip().decode("latin-1")
        status = int(lines[0].split()[1])
        return Answer(status, fields, self.body(status, fields, to_head))

    def ended(self):
        """True when nothing but the end of the connection comes."""
        while not self.left and self.more():
            pass
        return not self.left


def check_marks(answer):
    """What every answer has (shop-api.md), and every refusal too."""
    for name in ("x-request-id", "traceparent"):
        check(name in answer.fields, f"{answer.status} without {name}")
    if answer.status >= 400:
        check(
            answer.fields.get("content-type") == "application/problem+json", f"{answer.status} is no problem document"
        )
        problem = answer.json
        check(problem["status"] == answer.status and problem["title"], f"the problem says {problem}")


def run(row, port):
    """Raises AssertionError with what was different."""
    expect = row.expect if isinstance(row.expect, list) else [row.expect]
    to_head = row.raw.startswith(b"HEAD ")
    with Connection(port) as connection:
        connection.send(row.raw)
        if row.half:
            connection.shut()
        answer = None
        for status in expect:
            answer = connection.answer(to_head)
            found = CLOSED if answer is None else answer.status
            check(found == status, f"{found} instead of {status}" + (f": {answer.body[:300]!r}" if answer else ""))
            if row.then and status == expect[0]:
                connection.send(row.then)
            if answer is not None and status >= 200 and not to_head:
                check_marks(answer)
        if row.check:
            row.check(answer)
        if row.ends:
            check(connection.ended(), f"something came behind the last answer: {connection.left[:200]!r}")
