# SPDX-License-Identifier: Apache-2.0
"""ECDSA on P-256 in a few lines, to check signatures and to sign tokens that are wrong elsewhere. Not for secrets: it
leaks time."""

import base64
import hashlib
import os

P = 0xFFFFFFFF00000001000000000000000000000000FFFFFFFFFFFFFFFFFFFFFFFF
N = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
G = (
    0x6B17D1F2E12C4247F8BCE6E563A440F277037D812DEB33A0F4A13945D898C296,
    0x4FE342E2FE1A7F9B8EE7EB4A7C0F9E162BCE33576B315ECECBB6406837BF51F5,
)


def add(a, b):
    if a is None or b is None:
        return a or b
    if a[0] == b[0] and (a[1] + b[1]) % P == 0:
        return None
    if a == b:
        slope = (3 * a[0] * a[0] - 3) * pow(2 * a[1], -1, P)
    else:
        slope = (b[1] - a[1]) * pow(b[0] - a[0], -1, P)
    x = (slope * slope - a[0] - b[0]) % P
    return x, (slope * (a[0] - x) - a[1]) % P


def multiply(k, point):
    result = None
    while k:
        if k & 1:
            result = add(result, point)
        point, k = add(point, point), k >> 1
    return result


def private_key(pem):
    """The number in an unencrypted PKCS #8 file."""
    der = base64.b64decode("".join(line for line in pem.splitlines() if not line.startswith("-")))
    at = der.index(b"\x02\x01\x01\x04\x20") + 5  # ECPrivateKey (RFC 5915): version 1, 32 bytes
    return int.from_bytes(der[at : at + 32], "big")


def sign(d, message):
    """(r, s)"""
    digest = int.from_bytes(hashlib.sha256(message).digest(), "big")
    k = int.from_bytes(os.urandom(40), "big") % (N - 1) + 1
    r = multiply(k, G)[0] % N
    return r, pow(k, -1, N) * (digest + r * d) % N


def valid(public, message, r, s):
    digest = int.from_bytes(hashlib.sha256(message).digest(), "big")
    w = pow(s, -1, N)
    point = add(multiply(digest * w % N, G), multiply(r * w % N, public))
    return point is not None and point[0] % N == r


def raw(r, s):
    """As JWS wants it (RFC 7518, 3.4)."""
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")


def der(r, s):
    """As X.509 and OpenSSL's command line have it."""
    numbers = b""
    for number in (r, s):
        b = number.to_bytes(33, "big").lstrip(b"\0")
        b = b"\0" + b if b[0] & 0x80 else b
        numbers += b"\x02" + bytes([len(b)]) + b
    return b"\x30" + bytes([len(numbers)]) + numbers
