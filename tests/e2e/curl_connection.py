# SPDX-License-Identifier: Apache-2.0
"""What a test sees of http.client.HTTPConnection, spoken by curl over TLS with HTTP/2 only."""

import email.parser
import http.client
import subprocess
import tempfile

RESET = (16, 18, 52, 55, 56, 92)  # curl's exit codes for connections and streams that broke


class Response:
    """status, headers, read(), readline(); nothing of it was answered by another protocol."""

    def __init__(self, process, errors):
        self.process, self.errors = process, errors
        while True:
            line = process.stdout.readline()
            if not line:
                raise self.broken()
            if not line.startswith(b"HTTP/2 "):
                raise AssertionError(f"not HTTP/2: {line!r}")
            head = b""
            while (field := process.stdout.readline()) not in (b"\r\n", b""):
                head += field
            self.status = int(line.split()[1])
            if self.status >= 200:
                break
        self.headers = email.parser.Parser(_class=http.client.HTTPMessage).parsestr(head.decode("latin-1"))

    def broken(self):
        code = self.process.wait()
        self.errors.seek(0)
        text = f"curl: {code} {self.errors.read().decode().strip()}"
        if code == 7:
            return ConnectionRefusedError(text)
        if code == 28:
            return TimeoutError(text)
        return ConnectionResetError(text) if code in RESET else AssertionError(text)

    def ended(self):
        if self.process.wait() != 0:
            raise self.broken()

    def read(self):
        body = self.process.stdout.read()
        self.ended()
        return body

    def readline(self):
        line = self.process.stdout.readline()
        if not line:
            self.ended()
        return line


class CurlConnection:
    """One request each."""

    def __init__(self, origin, authority_file, seconds):
        self.origin, self.authority_file, self.seconds = origin, authority_file, seconds
        self.process, self.errors = None, tempfile.TemporaryFile()

    def request(self, method, path, body=None, headers=None):
        command = ["curl", "-sS", "-i", "-N", "--http2", "--path-as-is", "-g", "--cacert", self.authority_file, "--max-time", str(self.seconds)]
        command += ["--head"] if method == "HEAD" else ["-X", method]
        fields = {"Accept": "", "User-Agent": "", **(headers or {})}
        if body is not None:
            command += ["--data-binary", "@-"]
            fields.setdefault("Content-Type", "")
        for name, value in fields.items():
            value = value if isinstance(value, bytes) else str(value).encode("latin-1")
            empty = b";" if name in (headers or {}) else b":"  # curl's words for an empty field, and for none
            command += ["-H", name.encode() + (b": " + value if value else empty)]
        self.process = subprocess.Popen([*command, self.origin + path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors)
        try:
            self.process.stdin.write(body or b"")
            self.process.stdin.close()
        except BrokenPipeError:
            pass  # it has its answer already, or says why not

    def getresponse(self):
        return Response(self.process, self.errors)

    def close(self):
        if self.process is not None:
            self.process.kill()
            self.process.stdout.close()
            self.process.wait()
        self.errors.close()
