# SPDX-License-Identifier: Apache-2.0
"""A shop with TLS at its gateway."""

import http.client
import os
import socket
import ssl

from certificates import certificate
from shop import Shop, copy_shop

TLS = """gateway:
  tls:
    certificates:
      - { certificate: one.pem, key: one.key }
      - { certificate: two.pem, key: two.key }
    hsts: 180d
"""


class TlsShop(Shop):
    """A copy of the shop whose gateway has two threads and TLS, so that who can speaks HTTP/2 to it."""

    def __init__(self, build, name):
        super().__init__(build, name)
        self.own = os.path.join(self.folder, "shop")
        copy_shop(self.own)
        self.manifest = os.path.join(self.own, "ficus.yaml")
        with open(self.manifest, encoding="utf-8") as f:
            self.plain = f.read()
        self.write(TLS)
        self.certificate("one", "IP:127.0.0.1")
        self.certificate("two", "DNS:two.example")
        self.url = f"https://127.0.0.1:{self.port}"
        os.environ["SSL_CERT_FILE"] = self.env["SSL_CERT_FILE"] = os.path.join(self.own, "one.pem")  # of this process, too

    def write(self, tls):
        assert self.plain.count("gateway:\n") == 1
        with open(self.manifest, "w", encoding="utf-8") as f:
            f.write(self.plain.replace("gateway:\n", tls + "  threads: 2\n"))

    def http_connection(self, seconds):
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=seconds, context=self.context("one"))

    def certificate(self, name, names):
        certificate(self.own, name, names)

    def context(self, *names):
        context = ssl.create_default_context()
        context.load_verify_locations(cadata="".join(open(os.path.join(self.own, n + ".pem"), encoding="ascii").read() for n in names))
        context.set_alpn_protocols(["http/1.1"])
        return context

    def connect(self, context, name="127.0.0.1", session=None):
        raw = socket.create_connection(("127.0.0.1", self.port), timeout=30)
        return context.wrap_socket(raw, server_hostname=name, session=session)
