# SPDX-License-Identifier: Apache-2.0
"""A client of HTTP/2 that counts: what was answered, and what was lost as the protocol defines it.

Lost is a request whose stream is not above the id of a GOAWAY, was not refused (REFUSED_STREAM), and got no whole answer; also
one that was sent on a connection which ended without a GOAWAY. Only as much of RFC 9113 and 7541 as that takes: literal fields,
no table, and of an answer's fields the status alone.
"""

import collections
import socket
import struct
import threading
import time

DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 1, 1, 4, 8, 32
REFUSED_STREAM = 7
STATIC_STATUS = {8: 200, 9: 204, 10: 206, 11: 304, 12: 400, 13: 404, 14: 500}
DIGITS = {"00000": "0", "00001": "1", "00010": "2", "011001": "3", "011010": "4", "011011": "5", "011100": "6", "011101": "7", "011110": "8",
          "011111": "9"}


def integer(value, bits, first=0):
    if value < (1 << bits) - 1:
        return bytes([first | value])
    out = [first | ((1 << bits) - 1)]
    value -= (1 << bits) - 1
    while value >= 128:
        out.append(value % 128 + 128)
        value //= 128
    return bytes(out + [value])


def literal(name, value):
    name, value = name.encode(), value.encode()
    return b"\0" + integer(len(name), 7) + name + integer(len(value), 7) + value


def read_integer(block, at, bits):
    value = block[at] & ((1 << bits) - 1)
    at += 1
    if value == (1 << bits) - 1:
        shift = 0
        while True:
            value += (block[at] & 127) << shift
            shift += 7
            at += 1
            if block[at - 1] < 128:
                break
    return value, at


def read_status_text(block, at):
    """A literal value of three digits, perhaps in Huffman's code."""
    packed = block[at] & 128
    size, at = read_integer(block, at, 7)
    raw = block[at : at + size]
    if not packed:
        return raw.decode()
    bits = "".join(f"{b:08b}" for b in raw)
    text = ""
    while len(text) < 3:
        size = next(n for n in (5, 6) if bits[:n] in DIGITS)
        text += DIGITS[bits[:size]]
        bits = bits[size:]
    return text


def status(block):
    """The first field of an answer is its status (RFC 9113 8.3); a change of the table's size may stand before it."""
    at = 0
    while block[at] & 0xE0 == 0x20:
        _, at = read_integer(block, at, 5)
    if block[at] & 128:
        index, _ = read_integer(block, at, 7)
        return STATIC_STATUS[index]
    index, at = read_integer(block, at, 6 if block[at] & 64 else 4)
    assert index in STATIC_STATUS, block
    return int(read_status_text(block, at))


class Broken(Exception):
    pass


class Connection:
    """stream: connected, past its handshake."""

    def __init__(self, stream, authority):
        self.stream, self.authority, self.buffer = stream, authority, b""
        self.next_id = 1
        self.going_away = None  # the last id that will be answered
        self.stream.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + self.frame(SETTINGS, 0, 0, struct.pack("!HI", 1, 0))
                            + self.frame(WINDOW_UPDATE, 0, 0, struct.pack("!I", 1 << 30)))

    @staticmethod
    def frame(kind, flags, stream, payload=b""):
        return struct.pack("!I", len(payload))[1:] + bytes([kind, flags]) + struct.pack("!I", stream) + payload

    def request(self, method, path, fields=(), body=None):
        """Bytes of one; its id. The caller sends them, several at once."""
        stream, self.next_id = self.next_id, self.next_id + 2
        block = b"".join(literal(n, v) for n, v in ((":method", method), (":scheme", "https"), (":authority", self.authority), (":path", path), *fields))
        head = self.frame(HEADERS, END_HEADERS | (END_STREAM if body is None else 0), stream, block)
        return head + (b"" if body is None else self.frame(DATA, END_STREAM, stream, body)), stream

    def read(self):
        while True:
            if len(self.buffer) >= 9:
                size = int.from_bytes(self.buffer[:3], "big")
                if len(self.buffer) >= 9 + size:
                    kind, flags = self.buffer[3], self.buffer[4]
                    stream = int.from_bytes(self.buffer[5:9], "big") & 0x7FFFFFFF
                    payload = self.buffer[9 : 9 + size]
                    self.buffer = self.buffer[9 + size :]
                    return kind, flags, stream, payload
            piece = self.stream.recv(65536)
            if not piece:
                raise Broken("closed")
            self.buffer += piece

    def answers(self, streams):
        """id -> (status, body); None: it may be sent again. Those that are missing are lost, with why."""
        open_ones, heads, bodies, result = set(streams), {}, collections.defaultdict(bytes), {}
        why = ""
        while open_ones:
            try:
                kind, flags, stream, payload = self.read()
            except (OSError, Broken) as e:
                why = repr(e)
                break
            if kind == SETTINGS and not flags & ACK:
                self.stream.sendall(self.frame(SETTINGS, ACK, 0))
            elif kind == PING and not flags & ACK:
                self.stream.sendall(self.frame(PING, ACK, 0, payload))
            elif kind == GOAWAY:
                self.going_away = int.from_bytes(payload[:4], "big") & 0x7FFFFFFF
                for one in [s for s in open_ones if s > self.going_away]:
                    open_ones.remove(one)
                    result[one] = None
            elif kind == RST_STREAM and stream in open_ones:
                code = int.from_bytes(payload, "big")
                open_ones.remove(stream)
                if code == REFUSED_STREAM:
                    result[stream] = None
                else:
                    why = f"reset with {code}"
            elif kind == HEADERS and stream in open_ones and stream not in heads:
                skip = (1 if flags & PADDED else 0) + (5 if flags & PRIORITY else 0)
                said = status(payload[skip:])
                if said >= 200:
                    heads[stream] = said
            elif kind == DATA and stream in open_ones:
                bodies[stream] += payload
                if payload:
                    self.stream.sendall(self.frame(WINDOW_UPDATE, 0, 0, struct.pack("!I", len(payload))))
            if kind in (DATA, HEADERS) and flags & END_STREAM and stream in open_ones:
                open_ones.remove(stream)
                result[stream] = (heads[stream], bodies[stream])
        return result, why


class Client(threading.Thread):
    """Requests in groups on one connection after another. connect(): a new stream; requests(): some of (method, path, fields, body)."""

    def __init__(self, connect, authority, requests):
        super().__init__(daemon=True)
        self.connect, self.authority, self.requests = connect, authority, requests
        self.ending = threading.Event()
        self.count = collections.Counter()
        self.again, self.bad = 0, []
        self.answered = []  # (path, status, body)

    def run(self):
        connection = None
        while not self.ending.is_set():
            try:
                connection = connection or Connection(self.connect(), self.authority)
            except OSError as e:
                self.bad.append((time.strftime("%H:%M:%S"), "connect", repr(e)))
                time.sleep(0.05)
                continue
            wanted = list(self.requests())
            while wanted and not self.ending.is_set():
                connection, wanted = self.exchange(connection, wanted)
        if connection:
            connection.stream.close()

    def exchange(self, connection, wanted):
        """(the connection or a new one, what is to be sent again)"""
        if connection is None:
            try:
                connection = Connection(self.connect(), self.authority)
            except OSError as e:
                self.bad.append((time.strftime("%H:%M:%S"), "connect", repr(e)))
                time.sleep(0.05)
                return None, wanted
        sent = {}
        data = b""
        for request in wanted:
            piece, stream = connection.request(*request)
            data += piece
            sent[stream] = request
        try:
            connection.stream.sendall(data)
        except OSError:
            pass  # what the peer says of it can still be read
        answers, why = connection.answers(sent)
        again = []
        for stream, request in sent.items():
            answer = answers.get(stream, "lost")
            if answer is None:
                self.again += 1
                again.append(request)
            elif answer == "lost":
                self.bad.append((time.strftime("%H:%M:%S"), request[:2], "lost: " + why))
            else:
                self.count[answer[0]] += 1
                self.answered.append((request[1], *answer))
                if answer[0] >= 500:
                    self.bad.append((time.strftime("%H:%M:%S"), request[:2], answer))
        if connection.going_away is not None or why:
            connection.stream.close()
            connection = None
        return connection, again

    def end(self):
        self.ending.set()
        self.join(60)


def tls_stream(shop, name="one"):
    context = shop.context(name)
    context.set_alpn_protocols(["h2"])
    stream = shop.connect(context)
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    assert stream.selected_alpn_protocol() == "h2"
    return stream
