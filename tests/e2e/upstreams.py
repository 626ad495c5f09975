#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Services that somebody else starts, over TLS and not: a real nginx behind a real gateway, with the right certificate and
with every wrong one.

    tests/e2e/upstreams.py [--build FOLDER]
"""

import collections
import concurrent.futures
import glob
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading

from certificates import authority, certificate_of
from checks import run_checked
from shop import ROOT, Shop, build_folder, free_port, wait_for

# What the upstream saw.
SEEN = "$ssl_session_reused|$ssl_server_name|$ssl_client_s_dn|$server_protocol|$http_host|$http_ficus_identity|$http_ficus_timeout_ms"

CHECKED = ", check: { every: 100ms, timeout: 20s, unhealthy: 1 }"    # one that is only late is not unhealthy

NGINX = """daemon off;
{user}
worker_processes 1;
pid nginx.pid;
error_log nginx.log warn;
events {{ worker_connections 512; }}
http {{
  access_log off;
  log_format seen "$ssl_server_name $status";
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  ssl_session_cache none;
  ssl_session_tickets on;
{servers}
}}
"""

SERVER = """  server {{
    listen 127.0.0.1:{port} {words};
    {settings}
    location / {{ return 200 "{seen}"; }}
    location /files/ {{ root .; dav_methods PUT; client_max_body_size 64m; }}
    location /health {{ access_log health.log seen; return 200; }}
  }}
"""


class Upstream(Shop):
    """A system of a gateway and of services that are nginx's."""

    def __init__(self, build):
        super().__init__(build, "upstreams")
        self.own = os.path.join(self.folder, "system")
        self.manifest = os.path.join(self.own, "ficus.yaml")
        os.makedirs(os.path.join(self.own, "services"))
        self.nginx = os.path.join(self.folder, "nginx")
        os.makedirs(os.path.join(self.nginx, "files"))
        self.server = None
        self.servers, self.services = {}, {}
        authority(self.own, "ca")
        authority(self.own, "other")

    # ---- nginx ----

    def serve(self, name, certificate=None, words="", settings="", port=None):
        while port is None or port in [self.port] + [p for n, (p, _) in self.servers.items() if n != name]:
            port = free_port()
        if certificate is not None:
            words = "ssl " + words
            settings += f" ssl_certificate {self.own}/{certificate}.pem; ssl_certificate_key {self.own}/{certificate}.key;"
        self.servers[name] = (port, SERVER.format(port=port, words=words, settings=settings, seen=SEEN))
        return port

    def start(self):
        with open(os.path.join(self.nginx, "nginx.conf"), "w", encoding="utf-8") as f:
            # A worker that is somebody else may not get into the folder.
            f.write(NGINX.format(user="user root;" if os.geteuid() == 0 else "", servers="".join(text for _, text in self.servers.values())))
        self.server = subprocess.Popen(["nginx", "-p", self.nginx, "-c", "nginx.conf"], stderr=subprocess.DEVNULL)
        pid_file = os.path.join(self.nginx, "nginx.pid")
        wait_for("nginx", lambda: os.path.exists(pid_file) and open(pid_file).read().strip() == str(self.server.pid))

    def workers(self):
        with open(f"/proc/{self.server.pid}/task/{self.server.pid}/children", encoding="ascii") as f:
            return [int(pid) for pid in f.read().split()]

    def stop(self, how=signal.SIGTERM):
        if self.server is not None:
            workers = self.workers() if how == signal.SIGKILL else []
            for pid in [self.server.pid] + workers:
                os.kill(pid, how)
            self.server.wait(30)
            for pid in workers:
                wait_for("the end of a worker", lambda: not os.path.exists(f"/proc/{pid}"))
            self.server = None

    def end(self):
        super().end()
        self.stop()

    # ---- the system ----

    def service(self, name, text):
        self.services[name] = text

    def write(self):
        for name, text in self.services.items():
            with open(os.path.join(self.own, "services", name + ".yaml"), "w", encoding="utf-8") as f:
                f.write(f"service: {name}\nteam: t\ndoes: answers\n{text}")
        routes = "".join(f'    - {{ path: "/{n}/**", to: "{n}:/**", body_max: 64MiB, timeout: 5s }}\n' for n in self.services)
        with open(self.manifest, "w", encoding="utf-8") as f:
            f.write("ficus: 1\nsystem: upstreams\ninclude: [services/*.yaml]\ngateway:\n  routes:\n" + routes)
            f.write("  calls:\n" + "".join(f"    {n}: {{ breaker: {{ enabled: false }}{CHECKED if n in ('good', 'stranger') else ''} }}\n" for n in self.services))

    def stats(self):
        with open(os.path.join(self.state, "run/sockets"), encoding="utf-8") as f:
            path = os.path.join(f.read().strip(), "gateway-admin.sock")
        command = ["curl", "-sS", "--max-time", "20", "--unix-socket", path, "http://gateway/stats"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def seen(self, name):
        answer = self.request("GET", f"/{name}/")
        words = answer.raw.decode().split("|")
        return answer.status, dict(zip(("resumed", "name", "client", "protocol", "host", "identity", "timeout"), words))

    def logged(self, request_id):
        """The gateway's line of that request."""

        def look():
            for path in glob.glob(os.path.join(self.state, "log", "gateway*.log")):
                with open(path, encoding="utf-8") as f:
                    for line in f:
                        if request_id in line and '"gateway.request"' in line:
                            return json.loads(line)
            return None

        return wait_for("the line in the gateway's log", look)


def port_of(system, name):
    return system.servers[name][0]


def shown(system, checks):
    url = f"http://127.0.0.1:{port_of(system, 'plain')}"
    line = next((line for line in system.run("status").stdout.splitlines() if line.startswith("plain ")), "")
    checks.check("ficus status: external, with its url", line.split() == ["plain", "external", "-", "-", "-", url], line)
    services = {s["name"]: s for s in system.json("status")["services"]}
    checks.check("... in JSON, too", services["plain"].get("url") == url and services["plain"]["instances"] == [], str(services.get("plain")))
    done = system.run("restart", "plain")
    checks.check("there is nothing of it to restart, which is said", done.returncode == 1 and "started by somebody else" in done.stderr, done.stderr)


def verified(system, checks):
    status, seen = system.seen("good")
    checks.check("https, the right authority and name: 200", status == 200, str(status))
    checks.check("... asked for by name (SNI)", seen.get("name") == "good.example", str(seen))
    checks.check("... Host is the url's", seen.get("host") == f"127.0.0.1:{port_of(system, 'good')}", str(seen))
    checks.check("... the deadline went along, no identity", seen.get("identity") == "" and seen.get("timeout", "").isdigit(), str(seen))
    status, seen = system.seen("address")
    checks.check("https, a certificate for the address: 200", status == 200, str(status))
    status, seen = system.seen("mutual")
    checks.check("https, a certificate of our own is shown", (status, seen.get("client")) == (200, "CN=us"), str((status, seen)))
    status, seen = system.seen("plain")
    checks.check("http: 200", status == 200 and seen.get("name") == "", str((status, seen)))
    status, seen = system.seen("by-name")
    checks.check("http, by name: 200", (status, seen.get("host")) == (200, f"localhost:{port_of(system, 'plain')}"), str((status, seen)))


def refused(system, checks):
    for name, said in (
        ("stranger", "unable to get local issuer certificate"),
        ("misnamed", "hostname mismatch"),
        ("expired", "certificate has expired"),
        ("talks-plain", "wrong version number"),
        ("machine", "unable to get local issuer certificate"),
    ):
        answer = system.request("GET", f"/{name}/")
        line = system.logged(answer.headers["X-Request-ID"])
        checks.check(
            f"https, {name}: 503, and the log says why",
            answer.status == 503 and line.get("flags") == "UF" and said in line.get("reason", ""),
            f"{answer} {line}",
        )
    answer = system.request("GET", "/no-such-name/")
    line = system.logged(answer.headers["X-Request-ID"])
    checks.check("a name that nobody has: 503, and the log says why", answer.status == 503 and "DNS: bank.invalid: " in line.get("reason", ""),
                 f"{answer} {line}")
    answer = system.request("GET", "/nobody/")
    line = system.logged(answer.headers["X-Request-ID"])
    checks.check("https, nobody listens: 503, UF", answer.status == 503 and line.get("flags") == "UF", f"{answer} {line}")


def killed(system, checks):
    checks.check("before kill -9: 200", system.seen("good")[0] == 200)
    system.stop(signal.SIGKILL)
    status, _ = system.seen("good")
    checks.check("kill -9 of the upstream: 502 or 503", status in (502, 503), str(status))
    system.start()
    wait_for("the upstream again", lambda: system.seen("good")[0] == 200)
    checks.check("... and it is used again when it is back", True)


def mute(system, checks):
    """Who accepts and says nothing costs each call its time, and no more; when it speaks again it is used again."""
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: system.request("GET", "/mute/"), range(8)))
    checks.check("a handshake that never ends: 504 for all", {a.status for a in answers} == {504}, str(answers))
    port = port_of(system, "mute")
    system.silence.close()
    system.serve("mute", "good", "http2", port=port)
    system.stop()
    system.start()
    wait_for("the one that was mute", lambda: system.seen("mute")[0] == 200)
    checks.check("... and 200 when it speaks", True)


def resumed(system, checks):
    system.seen("brief")
    status, seen = system.seen("brief")
    checks.check("a new connection resumes the session", (status, seen.get("resumed")) == (200, "r"), str((status, seen)))


def health_checks(system, checks):
    """They speak TLS as the calls do."""
    for name in ("good", "stranger"):
        system.seen(name)

    def asked():
        with open(os.path.join(system.nginx, "health.log"), encoding="utf-8") as f:
            return "good.example 200" in f.read()

    def ejected(name):
        sample = f'call_ejections_total{{callee="{name}",reason="check"}}'
        return [line.split()[-1] for line in system.stats().splitlines() if line.startswith(sample)] not in ([], ["0"])

    wait_for("a health check at the upstream", asked)
    wait_for("a health check that fails", lambda: ejected("stranger"))
    checks.check("health checks: an address that cannot be verified is unhealthy, a good one is not", not ejected("good"))


def protocols(system, checks):
    for name, what, said in (
        ("h2", "https, h2 by ALPN", "HTTP/2.0"),
        ("h2-said", "https, protocol: h2", "HTTP/2.0"),
        ("h1-said", "https, protocol: http/1.1 at a server that would speak h2", "HTTP/1.1"),
        ("good", "https, a server without h2", "HTTP/1.1"),
        ("h2c", "http, protocol: h2c", "HTTP/2.0"),
    ):
        status, seen = system.seen(name)
        checks.check(f"{what}: {said}", (status, seen.get("protocol")) == (200, said), str((status, seen)))
    status, seen = system.seen("h2")
    checks.check("... Host, SNI and deadline as over HTTP/1.1", seen.get("host") == f"127.0.0.1:{port_of(system, 'h2')}" and
                 seen.get("name") == "good.example" and seen.get("timeout", "").isdigit() and seen.get("identity") == "", str(seen))
    for name, wanted, flags, said in (
        ("h2-missing", 503, "UF", "no application protocol"),
        ("h2c-missing", 502, "UPE", "does not speak HTTP/2"),
    ):
        answer = system.request("GET", f"/{name}/")
        line = system.logged(answer.headers["X-Request-ID"])
        checks.check(f"{name}: {wanted}, and the log says why",
                     answer.status == wanted and line.get("flags") == flags and said in line.get("reason", ""), f"{answer} {line}")


def bodies(system, checks):
    for name in ("h2", "h2c", "good"):
        body = os.urandom(24 * 1024 * 1024 + 7)
        answer = system.request("PUT", f"/{name}/files/{name}", body)
        checks.check(f"{name}: a body of 24 MiB goes up", answer.status in (201, 204), str(answer.status))
        answer = system.request("GET", f"/{name}/files/{name}")
        checks.check(f"{name}: ... and comes down as it was", answer.status == 200 and answer.raw == body, f"{answer.status}, {len(answer.raw)} bytes")


def traffic(system, name, seconds_or_count, stop=None):
    """Sixteen clients, GET and POST in turn; how many of each status there were."""
    counts = collections.Counter()

    def client(number):
        connection = http.client.HTTPConnection("127.0.0.1", system.port, timeout=30)
        for i in range(seconds_or_count):
            if stop is not None and stop.is_set():
                break
            method, body = (("GET", None), ("POST", b"x" * (i % 3000)))[(i + number) % 2]
            connection.request(method, f"/{name}/", body)
            answer = connection.getresponse()
            answer.read()
            counts[answer.status] += 1
        connection.close()

    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for done in [pool.submit(client, number) for number in range(16)]:
            done.result()
    return counts


def goaway(system, checks):
    counts = traffic(system, "goaway", 120)
    checks.check("GOAWAY after every 50 requests in mid-traffic: no request is lost", counts == {200: 16 * 120}, str(counts))
    stop = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(traffic, system, "h2", 100000, stop)
        for _ in range(5):
            before = system.workers()
            os.kill(system.server.pid, signal.SIGHUP)
            wait_for("another worker", lambda: set(system.workers()) - set(before))
            wait_for("the end of the old one", lambda: not set(system.workers()) & set(before))
        stop.set()
        counts = running.result()
    checks.check("the upstream reloads five times under load: no request is lost", list(counts) == [200] and counts[200] > 100, str(counts))


def killed_under_load(system, checks):
    """GETs and POSTs that were under way may be lost (502, 503), and nothing else happens."""
    stop = threading.Event()
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        running = pool.submit(traffic, system, "h2", 100000, stop)
        for _ in range(3):
            system.stop(signal.SIGKILL)
            system.start()
            wait_for("the upstream again", lambda: system.seen("h2")[0] == 200)
        stop.set()
        counts = running.result()
    checks.check("kill -9 under load: 200, 502, 503 and nothing else", set(counts) <= {200, 502, 503} and counts[200] > 0, str(counts))


def reloaded(system, checks):
    """A reload reads the authorities anew; connections that are open do not outlive the trust in them."""
    checks.check("before the reload: 200", system.seen("h2")[0] == 200 and system.seen("good")[0] == 200)
    ca = os.path.join(system.own, "ca.pem")
    os.rename(ca, ca + ".kept")
    shutil.copy(os.path.join(system.own, "other.pem"), ca)
    done = system.run("reload")
    statuses = system.seen("h2")[0], system.seen("good")[0]
    checks.check("other authorities, ficus reload: 503", done.returncode == 0 and statuses == (503, 503), f"{statuses} {done.stderr}")
    os.rename(ca + ".kept", ca)
    done = system.run("reload")
    statuses = system.seen("h2")[0], system.seen("good")[0]
    checks.check("... the right ones again: 200", done.returncode == 0 and statuses == (200, 200), f"{statuses} {done.stderr}")


def bad_manifests(system, checks):
    good = f"url: https://127.0.0.1:{port_of(system, 'good')}\n"
    for what, text, place, said in (
        ("half an address", "url: https://10.0.0\n", ":4:6:", "a name or a numeric address"),
        ("a path", "url: https://127.0.0.1:1/v1\n", ":4:6:", "a name or a numeric address"),
        ("plain beside tls", "url: http://127.0.0.1:1\ntls: { ca: ../ca.pem }\n", ":4:6:", "did you mean https://127.0.0.1:1?"),
        ("no such file", good + "tls: { ca: ../nothing.pem }\n", ":5:12:", "nothing.pem"),
        ("no certificate", good + "tls: { ca: ../ca.key }\n", ":5:12:", "no certificate"),
        ("half a pair", good + "tls: { certificate: ../us.pem }\n", ":5:8:", 'needs "key"'),
        ("an expired client certificate", good + "tls: { certificate: ../expired.pem, key: ../expired.key }\n", ":5:21:", "expired on"),
        ("another's key", good + "tls: { certificate: ../us.pem, key: ../good.key }\n", ":5:37:", "does not fit"),
        ("an unknown word", good + "tls: { cert: ../us.pem }\n", ":5:8:", "cert"),
        ("tls without url", "run: ./x\ntls: { ca: ../ca.pem }\n", ":5:1:", 'needs "url"'),
        ("run and url", good + "run: ./x\n", ":5:1:", "has no meaning beside"),
        ("h2 without TLS", "url: http://127.0.0.1:1\nprotocol: h2\n", ":5:11:", "did you mean h2c?"),
        ("h2c with TLS", "url: https://127.0.0.1:1\nprotocol: h2c\n", ":5:11:", "did you mean h2?"),
        ("no protocol", "url: https://127.0.0.1:1\nprotocol: http2\n", ":5:11:", "http/1.1, h2, h2c"),
        ("neither", "", ":1:1:", 'say "run", or "url"'),
    ):
        with open(os.path.join(system.own, "services", "bad.yaml"), "w", encoding="utf-8") as f:
            f.write("service: bad\nteam: t\ndoes: answers\n" + text)
        done = system.run("config", "check")
        place = [line for line in done.stderr.splitlines() if "bad.yaml" + place in line and said in line]
        checks.check(f"config check, {what}: refused with its place", done.returncode == 2 and len(place) == 1, done.stdout + done.stderr)
    os.remove(os.path.join(system.own, "services", "bad.yaml"))


def documented(system, checks):
    """Each example of docs/upstreams.md is taken as it stands."""
    with open(os.path.join(ROOT, "docs", "upstreams.md"), encoding="utf-8") as f:
        examples = re.findall(r"^```yaml\n(.*?)^```$", f.read(), re.M | re.S)
    checks.check("docs/upstreams.md has examples", len(examples) >= 2, str(len(examples)))
    for example in examples:
        for word, file in re.findall(r"(ca|certificate|key): ([\w./-]+)", example):
            ours = {"ca": "ca.pem", "certificate": "us.pem", "key": "us.key"}[word]
            example = example.replace(f"{word}: {file}", f"{word}: ../{ours}")
        path = os.path.join(system.own, "services", "example.yaml")
        with open(path, "w", encoding="utf-8") as f:
            f.write(example)
        done = system.run("config", "check")
        checks.check("config check takes " + example.split("\n")[0], done.returncode == 0, done.stdout + done.stderr)
        os.remove(path)


def run(system, checks):
    for name, names, by, days in (
        ("good", "DNS:good.example", "ca", 30),
        ("address", "IP:127.0.0.1", "ca", 30),
        ("expired", "DNS:good.example", "ca", -1),
        ("us", "DNS:us.example", "ca", 30),
    ):
        certificate_of(system.own, name, names, by, days)
    ours = "tls: { ca: ../ca.pem, name: good.example }\n"
    client = f"ssl_client_certificate {system.own}/ca.pem; ssl_verify_client on;"
    for name, certificate, words, protocol in (
        ("h2", "good", "http2", None),
        ("h2-said", "good", "http2", "h2"),
        ("h1-said", "good", "http2", "http/1.1"),
        ("h2-missing", "good", "", "h2"),
        ("h2c", None, "http2", "h2c"),
        ("h2c-missing", None, "", "h2c"),
        ("goaway", None, "http2", "h2c"),
    ):
        port = system.serve(name, certificate, words, "keepalive_requests 50;" if name == "goaway" else "")
        text = f"url: http{'' if certificate is None else 's'}://127.0.0.1:{port}\n{'' if certificate is None else ours}"
        system.service(name, text + (f"protocol: {protocol}\n" if protocol else ""))
    for name, certificate, settings, tls in (
        ("good", "good", "", ours),
        ("address", "address", "", "tls: { ca: ../ca.pem }\n"),
        ("mutual", "good", client, "tls: { ca: ../ca.pem, name: good.example, certificate: ../us.pem, key: ../us.key }\n"),
        ("stranger", "good", "", "tls: { ca: ../other.pem, name: good.example }\n"),
        ("misnamed", "good", "", "tls: { ca: ../ca.pem, name: bad.example }\n"),
        ("expired", "expired", "", ours),
        ("talks-plain", None, "", ours),
        ("machine", "good", "", "tls: { name: good.example }\n"),
        ("brief", "good", "keepalive_requests 1;", ours),
        ("plain", None, "", None),
    ):
        port = system.serve(name, certificate, settings=settings)
        system.service(name, f"url: http{'' if tls is None else 's'}://127.0.0.1:{port}\n{tls or ''}")
    system.silence = socket.create_server(("127.0.0.1", 0))
    system.servers["mute"] = (system.silence.getsockname()[1], "")
    system.service("mute", f"url: https://127.0.0.1:{port_of(system, 'mute')}\n{ours}")
    system.service("by-name", f"url: http://localhost:{port_of(system, 'plain')}\n")
    system.service("no-such-name", "url: https://bank.invalid\n")  # RFC 6761: nobody has it
    system.service("nobody", f"url: https://127.0.0.1:{free_port()}\n{ours}")
    system.start()
    system.write()
    bad_manifests(system, checks)
    documented(system, checks)
    system.up()
    shown(system, checks)
    verified(system, checks)
    refused(system, checks)
    protocols(system, checks)
    bodies(system, checks)
    goaway(system, checks)
    resumed(system, checks)
    health_checks(system, checks)
    reloaded(system, checks)
    mute(system, checks)
    killed(system, checks)
    killed_under_load(system, checks)
    done = system.down()
    checks.check("ficus down", done.returncode == 0, done.stderr)


if __name__ == "__main__":
    sys.exit(run_checked(Upstream(build_folder(sys.argv[1:])[0]), run))
