# SPDX-License-Identifier: Apache-2.0
"""Access tokens of every wrong kind. Those signed here carry the issuer's own key, so that nothing but the fault named
can be what refuses them."""

import base64
import hashlib
import hmac
import json
import os
import random
import time

import p256
from wire import Row, check

ME = "/api/v1/users/me"


def encode(part):
    text = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def decode(text):
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def without(claims, name):
    return {k: v for k, v in claims.items() if k != name}


class Mint:
    def __init__(self, g):
        with open(os.path.join(g.shop.state, "private/identity/signing-key.pem"), encoding="ascii") as f:
            self.d = p256.private_key(f.read())
        self.parts = g.alice.split(".")
        self.header, self.claims = (json.loads(decode(part)) for part in self.parts[:2])
        self.jwk = g.shop.request("GET", "/.well-known/jwks.json").json["keys"][0]

    def input(self, header=None, claims=None):
        return (
            encode(self.header if header is None else header) + "." + encode(self.claims if claims is None else claims)
        )

    def es256(self, header=None, claims=None, d=None, form=p256.raw):
        text = self.input(header, claims)
        return text + "." + encode(form(*p256.sign(d or self.d, text.encode())))

    def hs256(self, secret):
        text = self.input(dict(self.header, alg="HS256"))
        return text + "." + encode(hmac.digest(secret, text.encode(), "sha256"))


def refused(m):
    """(name, section, token)"""
    header, claims, now = m.header, m.claims, int(time.time())
    head, payload, signature = m.parts
    x, y = decode(m.jwk["x"]), decode(m.jwk["y"])
    r, s = int.from_bytes(decode(signature)[:32], "big"), int.from_bytes(decode(signature)[32:], "big")
    other = 12345678901234567890
    point = p256.multiply(other, p256.G)
    other_jwk = {
        "kty": "EC",
        "crv": "P-256",
        "x": encode(point[0].to_bytes(32, "big")),
        "y": encode(point[1].to_bytes(32, "big")),
    }
    signed = lambda header_changes, **claim_changes: m.es256(
        dict(header, **header_changes), dict(claims, **claim_changes)
    )
    spki = bytes.fromhex("3059301306072a8648ce3d020106082a8648ce3d030107034200") + b"\x04" + x + y
    pem = b"-----BEGIN PUBLIC KEY-----\n" + base64.encodebytes(spki) + b"-----END PUBLIC KEY-----\n"
    return [
        ("alg none, no signature", "RFC 8725 3.2", m.input(dict(header, alg="none")) + "."),
        ("alg None", "RFC 8725 3.2", m.input(dict(header, alg="None")) + "."),
        ("alg NONE with a signature", "RFC 8725 3.2", m.input(dict(header, alg="NONE")) + "." + signature),
        ("no alg", "RFC 7515 4.1.1", m.es256(without(header, "alg"))),
        ("alg is a list", "RFC 7515 4.1.1", signed({"alg": ["ES256"]})),
        ("alg is a number", "RFC 7515 4.1.1", signed({"alg": 1})),
        ("alg es256", "RFC 7515 4.1.1", signed({"alg": "es256"})),
        ("alg ES384", "RFC 8725 3.1", signed({"alg": "ES384"})),
        ("alg RS256", "RFC 8725 3.1", signed({"alg": "RS256"})),
        ("HS256 with the public key, PEM", "RFC 8725 2.1", m.hs256(pem)),
        ("HS256 with the public key, DER", "RFC 8725 2.1", m.hs256(spki)),
        ("HS256 with the public key, point", "RFC 8725 2.1", m.hs256(b"\x04" + x + y)),
        ("HS256 with the public key, JWK", "RFC 8725 2.1", m.hs256(json.dumps(m.jwk).encode())),
        ("HS256 with an empty secret", "RFC 8725 2.1", m.hs256(b"")),
        ("another key under our kid", "RFC 7515 5.2", m.es256(d=other)),
        (
            "another key, embedded as jwk",
            "RFC 8725 3.10",
            m.es256(dict(without(header, "kid"), jwk=other_jwk), d=other),
        ),
        ("another key, embedded as jwk beside our kid", "RFC 8725 3.10", m.es256(dict(header, jwk=other_jwk), d=other)),
        ("jku", "RFC 8725 3.10", m.es256(dict(header, kid="x", jku="http://127.0.0.1:1/jwks.json"), d=other)),
        ("x5u", "RFC 8725 3.10", m.es256(dict(header, kid="x", x5u="http://127.0.0.1:1/cert.pem"), d=other)),
        ("x5c", "RFC 8725 3.10", m.es256(dict(header, x5c=[base64.b64encode(spki).decode()]), d=other)),
        ("crit b64", "RFC 7515 4.1.11", signed({"crit": ["b64"], "b64": False})),
        ("crit of what it does not know", "RFC 7515 4.1.11", signed({"crit": ["exp"], "exp": 1})),
        ("crit empty", "RFC 7515 4.1.11", signed({"crit": []})),
        ("typ of another kind of token", "RFC 8725 3.11", signed({"typ": "secevent+jwt"})),
        *(
            (f"kid {kid!r:.30}", "RFC 8725 3.10", signed({"kid": kid}))
            for kid in (
                "other",
                "",
                "../../../dev/null",
                "/dev/null",
                "' OR 1=1 --",
                header["kid"] + "\0",
                header["kid"].upper() + "x",
                "a\nlevel=error",
                "a" * 700,
                1,
                None,
                ["a"],
            )
        ),
        ("expired an hour ago", "RFC 7519 4.1.4", signed({}, exp=now - 3600)),
        ("no exp", "RFC 7519 4.1.4", m.es256(claims=without(claims, "exp"))),
        ("exp is text", "RFC 7519 4.1.4", signed({}, exp=str(now + 100))),
        ("exp is negative", "RFC 7519 4.1.4", signed({}, exp=-1)),
        ("exp is 10^30", "RFC 7519 4.1.4", signed({}, exp=10**30)),
        ("nbf in an hour", "RFC 7519 4.1.5", signed({}, nbf=now + 3600)),
        ("nbf is text", "RFC 7519 4.1.5", signed({}, nbf="0")),
        ("iat in an hour", "RFC 7519 4.1.6", signed({}, iat=now + 3600)),
        ("another issuer", "RFC 7519 4.1.1", signed({}, iss="evil")),
        ("the issuer as a list", "RFC 7519 4.1.1", signed({}, iss=["shop"])),
        ("no issuer", "RFC 7519 4.1.1", m.es256(claims=without(claims, "iss"))),
        ("no subject", "RFC 7519 4.1.2", m.es256(claims=without(claims, "sub"))),
        ("empty subject", "RFC 7519 4.1.2", signed({}, sub="")),
        ("the subject is a number", "RFC 7519 4.1.2", signed({}, sub=1)),
        ("a subject with a line break", "RFC 7519 4.1.2", signed({}, sub="a\r\nFicus-Identity: x")),
        ("a subject of 3,000 letters", "RFC 7519 4.1.2", signed({}, sub="a" * 3000)),
        ("roles is text", "RFC 7519 7.2", signed({}, roles="admin")),
        ("500 roles", "RFC 7519 7.2", signed({}, roles=["a"] * 500)),
        ("sub twice", "RFC 7519 4", m.es256(claims=json.dumps(claims)[:-1].encode() + b', "sub": "admin"}')),
        ("alg twice", "RFC 7515 4", m.es256(json.dumps(header)[:-1].encode() + b', "alg": "none"}')),
        ("claims are a list", "RFC 7519 7.2", m.es256(claims=[])),
        ("claims are empty", "RFC 7519 7.2", m.es256(claims=b"")),
        ("claims are cut", "RFC 7519 7.2", m.es256(claims=json.dumps(claims).encode()[:-1])),
        ("claims 3,000 deep", "RFC 7519 7.2", m.es256(claims=b"[" * 3000)),
        (
            "claims with a byte order mark",
            "RFC 7519 7.2",
            m.es256(claims=b"\xef\xbb\xbf" + json.dumps(claims).encode()),
        ),
        ("no signature", "RFC 7515 5.2", head + "." + payload + "."),
        ("r and s are 0", "RFC 7515 5.2", head + "." + payload + "." + encode(p256.raw(0, 0))),
        ("r is 0", "RFC 7515 5.2", head + "." + payload + "." + encode(p256.raw(0, s))),
        ("s is 0", "RFC 7515 5.2", head + "." + payload + "." + encode(p256.raw(r, 0))),
        (
            "r and s are the order of the curve",
            "RFC 7515 5.2",
            head + "." + payload + "." + encode(p256.raw(p256.N, p256.N)),
        ),
        ("r and s are all ones", "RFC 7515 5.2", head + "." + payload + "." + encode(b"\xff" * 64)),
        ("a signature in DER", "RFC 7518 3.4", m.es256(form=p256.der)),
        ("a signature of 63 bytes", "RFC 7518 3.4", head + "." + payload + "." + encode(decode(signature)[:-1])),
        ("a signature of 65 bytes", "RFC 7518 3.4", head + "." + payload + "." + encode(decode(signature) + b"\0")),
        ("a signature of 96 bytes", "RFC 7518 3.4", head + "." + payload + "." + encode(b"\1" * 96)),
        ("the public key as signature", "RFC 7515 5.2", head + "." + payload + "." + encode(x + y)),
        ("padding", "RFC 7515 2", ".".join(m.parts) + "=="),
        ("padding in the middle", "RFC 7515 2", head + "=." + payload + "." + signature),
        ("left-over bits", "RFC 4648 3.5", ".".join(m.parts)[:-1] + left_over(signature[-1])),
        ("two parts", "RFC 7515 7.1", head + "." + payload),
        ("four parts", "RFC 7515 7.1", ".".join(m.parts) + ".x"),
        ("five parts (JWE)", "RFC 7516 3.1", ".".join(m.parts) + ".a.b"),
        ("only points", "RFC 7515 7.1", ".."),
        ("not base64url", "RFC 7515 2", "!!!.@@.##"),
        ("a token of 12,000 letters", "RFC 6750 2.1", "a" * 12000 + ".b.c"),
        ("two tokens in one", "RFC 6750 2.1", ".".join(m.parts) + " " + ".".join(m.parts)),
        ("two tokens, comma", "RFC 6750 2.1", ".".join(m.parts) + ", Bearer " + ".".join(m.parts)),
    ]


def left_over(letter):
    """64 bytes end in a letter of which only the first two bits count: the same bytes, written in another way."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return letters[letters.index(letter) | 1]


def bit_flips(token, count=120):
    chosen = random.Random(hashlib.sha256(b"ficus").digest())
    for _ in range(count):
        text = bytearray(token.encode())
        at = chosen.randrange(len(text))
        text[at] ^= 1 << chosen.randrange(7)
        if 0x20 < text[at] < 0x7F:
            yield at, text.decode()


def challenged(answer):
    check("www-authenticate" in answer.fields, "401 without WWW-Authenticate (RFC 9110 11.6.1)")
    check(
        b"kid" not in answer.body and b"signature" not in answer.body, f"says more than a client needs: {answer.body!r}"
    )


def rows(g):
    m = Mint(g)
    me = lambda *fields: g.get(ME, *fields)
    row = lambda name, why, fields, status=401: Row(
        "token: " + name, status, why, me(*fields), check=challenged if status == 401 else None
    )
    return [
        row("signed by us as the issuer does", "RFC 7515 5.1", ["Authorization: Bearer " + m.es256()], 200),
        *(row(name, why, ["Authorization: Bearer " + token]) for name, why, token in refused(m)),
        *(
            row(f"bit flipped in letter {at}", "RFC 7515 5.2", ["Authorization: Bearer " + text])
            for at, text in bit_flips(g.alice)
        ),
        row("bearer in lower case", "RFC 9110 11.1", ["Authorization: bearer " + g.alice], 200),
        row("BEARER", "RFC 9110 11.1", ["Authorization: BEARER " + g.alice], 200),
        row("two spaces", "RFC 9110 11.4", ["Authorization: Bearer  " + g.alice], 200),
        row("a tab", "RFC 9110 11.4", ["Authorization: Bearer\t" + g.alice]),
        row("no scheme", "RFC 9110 11.4", ["Authorization: " + g.alice]),
        row("Basic", "RFC 9110 11.4", ["Authorization: Basic YTpi"]),
        row("Bearer alone", "RFC 9110 11.4", ["Authorization: Bearer"]),
        row("none", "RFC 9110 11.6.1", []),
        row("Authorization twice, the same", "RFC 6750 2", ["Authorization: Bearer " + g.alice] * 2),
        row(
            "Authorization twice, two people",
            "RFC 6750 2",
            ["Authorization: Bearer " + g.alice, "Authorization: Bearer " + g.mallory],
        ),
        row("in Proxy-Authorization", "RFC 6750 2", ["Proxy-Authorization: Bearer " + g.alice]),
        row("in a cookie", "RFC 6750 2", ["Cookie: token=" + g.alice]),
        Row("token: in the query", 401, "RFC 6750 2.3", g.get(f"{ME}?access_token={g.alice}")),
        Row(
            "token: broken, on a path for anyone",
            200,
            "RFC 9110 11.6.2",
            g.get("/api/v1/products", "Authorization: Bearer x.y.z"),
        ),
    ]
