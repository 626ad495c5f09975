# SPDX-License-Identifier: Apache-2.0
"""Reading the shop's API: one connection per thread, reads repeated while the shop is coming back."""

import concurrent.futures
import http.client
import json
import ssl
import threading
import time
import urllib.parse

READERS = 4


class ApiError(Exception):
    pass


class Api:
    def __init__(self, url, authorization=None, patience_s=30):
        parts = urllib.parse.urlsplit(url)
        self.netloc = parts.netloc
        self.context = ssl.create_default_context() if parts.scheme == "https" else None  # believes $SSL_CERT_FILE
        self.authorization = authorization
        self.patience_s = patience_s
        self.local = threading.local()

    def _connection(self):
        if getattr(self.local, "connection", None) is None:
            if self.context is None:
                self.local.connection = http.client.HTTPConnection(self.netloc, timeout=30)
            else:
                self.local.connection = http.client.HTTPSConnection(self.netloc, timeout=30, context=self.context)
        return self.local.connection

    def _drop(self):
        if getattr(self.local, "connection", None) is not None:
            self.local.connection.close()
            self.local.connection = None

    def once(self, method, path, body=None, authorization=None):
        """(status, JSON or None); status 0: no answer."""
        headers = {"Content-Type": "application/json"} if body is not None else {}
        if authorization or self.authorization:
            headers["Authorization"] = authorization or self.authorization
        try:
            connection = self._connection()
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            answer = connection.getresponse()
            raw = answer.read()
        except (OSError, http.client.HTTPException):
            self._drop()
            return 0, None
        try:
            return answer.status, json.loads(raw)
        except ValueError:
            return answer.status, None

    def get(self, path, authorization=None, absent_ok=False):
        deadline = time.monotonic() + self.patience_s
        while True:
            status, value = self.once("GET", path, authorization=authorization)
            if status == 200:
                return value
            if absent_ok and status == 404:
                return None
            if (status not in (0, 429) and status < 500) or time.monotonic() > deadline:
                raise ApiError(f"GET {path}: {status} {value}")
            time.sleep(0.2)

    def pages(self, path, limit=100, authorization=None):
        separator = "&" if "?" in path else "?"
        after = ""
        while True:
            page = self.get(f"{path}{separator}limit={limit}{after}", authorization)
            yield page
            if page["next"] is None:
                return
            after = "&after=" + urllib.parse.quote(page["next"], safe="")

    def items(self, path, limit=100, authorization=None):
        return [item for page in self.pages(path, limit, authorization) for item in page["items"]]

    def sign_in(self, email, password):
        deadline = time.monotonic() + self.patience_s
        while True:
            status, value = self.once("POST", "/api/v1/sessions", {"email": email, "password": password})
            if status == 201:
                return "Bearer " + value["token"]
            if status == 401 or time.monotonic() > deadline:
                raise ApiError(f"{email} cannot sign in: {status}")
            time.sleep(0.2)


def in_parallel(function, values):
    with concurrent.futures.ThreadPoolExecutor(READERS) as pool:
        return list(pool.map(function, values))
