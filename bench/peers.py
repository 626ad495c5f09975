# SPDX-License-Identifier: Apache-2.0
"""The proxies of proxy.py, each with all its listeners: ports by listener, pids, start() (until it answers), stop()."""

import json
import os
import socket
import subprocess
import sys
import time

from rounds import CLIENT_CORE, SERVER_CORE
from system import System, free_port, program, start

PATH = "/api/v1/items/42"
CONNECTIONS_MAX = 12000
LISTENERS = ("tcp", "unix", "tls", "h2c")   # "tcp", "unix": clear text to an origin there; the others have that on TCP

# What all have alike: one worker; connections that do not end by themselves; to the service a request id, a trace
# context and X-Forwarded-For (h2o cannot make the first two without mruby); one line of log for each request.
NGINX = """\
daemon off; worker_processes 1; worker_rlimit_nofile %(files)d;
%(user)s
pid %(folder)s/nginx.pid; error_log %(folder)s/nginx.error;
events { worker_connections %(files)d; }
http {
    access_log %(folder)s/nginx.access;
    client_body_temp_path %(folder)s/n1; proxy_temp_path %(folder)s/n2; fastcgi_temp_path %(folder)s/n3;
    uwsgi_temp_path %(folder)s/n4; scgi_temp_path %(folder)s/n5;
    keepalive_requests 1000000000; keepalive_timeout 600s; tcp_nodelay on;
    ssl_session_cache off; ssl_session_tickets off; ssl_protocols TLSv1.2 TLSv1.3;
    ssl_certificate %(folder)s/edge.crt; ssl_certificate_key %(folder)s/edge.key;
    proxy_http_version 1.1;
    proxy_set_header Connection ""; proxy_set_header X-Request-Id $request_id;
    proxy_set_header traceparent "00-$request_id-0123456789abcdef-01";
    proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
    upstream tcp { server %(tcp_origin)s; keepalive 256; keepalive_requests 1000000000; keepalive_timeout 600s; }
    upstream unix { server unix:%(unix_origin)s; keepalive 256; keepalive_requests 1000000000; keepalive_timeout 600s; }
    server {
        listen 127.0.0.1:%(tcp)d backlog=4096;
        listen 127.0.0.1:%(tls)d ssl http2 backlog=4096;
        listen 127.0.0.1:%(h2c)d http2 backlog=4096;
        location / { proxy_pass http://tcp; }
    }
    server {
        listen 127.0.0.1:%(unix)d backlog=4096;
        location / { proxy_pass http://unix; }
    }
}
"""

HAPROXY = """\
global
    nbthread 1
    no strict-limits
    maxconn %(connections)d
    log stdout format raw local0
    ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets
    tune.ssl.cachesize 0
defaults
    mode http
    log global
    option httplog
    option forwardfor
    timeout client 600s
    timeout server 600s
    timeout connect 5s
    timeout http-keep-alive 600s
    http-reuse always
frontend tcp
    bind 127.0.0.1:%(tcp)d backlog 4096
    bind 127.0.0.1:%(tls)d ssl crt %(folder)s/edge.pem alpn h2,http/1.1 backlog 4096
    bind 127.0.0.1:%(h2c)d proto h2
    http-request set-header X-Request-Id %%[uuid()]
    http-request set-header traceparent 00-%%[uuid()]-0123456789abcdef-01
    default_backend tcp
frontend unix
    bind 127.0.0.1:%(unix)d backlog 4096
    http-request set-header X-Request-Id %%[uuid()]
    http-request set-header traceparent 00-%%[uuid()]-0123456789abcdef-01
    default_backend unix
backend tcp
    server origin %(tcp_origin)s pool-max-conn 1024 pool-purge-delay 600s
backend unix
    server origin unix@%(unix_origin)s pool-max-conn 1024 pool-purge-delay 600s
"""

H2O = """\
%(user_h2o)s
num-threads: 1
max-connections: %(connections)d
http1-request-timeout: 600
http2-idle-timeout: 600
pid-file: %(folder)s/h2o.pid
error-log: %(folder)s/h2o.error
access-log: %(folder)s/h2o.access
ssl-session-resumption: { mode: off }
hosts:
  default:
    paths:
      "/":
        proxy.reverse.url: "http://%(tcp_origin)s/"
        proxy.timeout.keepalive: 600000
listen: { host: 127.0.0.1, port: %(tcp)d }
listen: { host: 127.0.0.1, port: %(h2c)d }
listen:
  host: 127.0.0.1
  port: %(tls)d
  ssl:
    certificate-file: %(folder)s/edge.crt
    key-file: %(folder)s/edge.key
    minimum-version: TLSv1.2
    ocsp-update-interval: 0
"""

MANIFEST = """\
ficus: 1
system: bench
include: [echo.yaml]
gateway:
  listen: 127.0.0.1:8080
  timeout: 15s
  threads: %(threads)d
%(tls)s  routes:
%(routes)s    - { method: GET, path: "/api/v1/items/{id}", to: "echo:/api/v1/items/{id}" }
"""

TLS = """\
  tls: { certificates: [ { certificate: %(folder)s/edge.crt, key: %(folder)s/edge.key } ] }
"""

SERVICE = """\
service: echo
team: bench
does: answers
run: %s place
"""


def write(path, text):
    with open(path, "w", encoding="ascii") as f:
        f.write(text)


def certificate(folder):
    """A key on P-256 and its certificate, as edge.crt, edge.key and both in edge.pem."""
    command = [program("openssl", "openssl"), "req", "-x509", "-nodes", "-days", "2", "-newkey", "ec",
               "-pkeyopt", "ec_paramgen_curve:prime256v1", "-subj", "/CN=localhost",
               "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
               "-keyout", f"{folder}/edge.key", "-out", f"{folder}/edge.crt"]
    subprocess.run(command, check=True, capture_output=True)
    with open(f"{folder}/edge.crt", encoding="ascii") as crt, open(f"{folder}/edge.key", encoding="ascii") as key:
        write(f"{folder}/edge.pem", crt.read() + key.read())


def process_tree(pid):
    """Without what ends just now."""
    try:
        with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
            children = f.read().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [pid] + [p for child in children for p in process_tree(int(child))]


def wait_listening(name, process, ports, log):
    """Until all ports take connections; ends the benchmark when they do not."""
    deadline = time.monotonic() + 10
    for port in ports:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError as e:
                if process.poll() is not None or time.monotonic() > deadline:
                    with open(log, encoding="utf-8", errors="replace") as f:
                        sys.exit(f"{name} does not listen: {e}\n{f.read()}")
                time.sleep(0.02)


class Peer:
    """One program and its listeners: name -> port."""

    def __init__(self, folder, origins, name):
        package, form, arguments = PEERS[name]
        self.ports = {listener: free_port() for listener in LISTENERS if f"%({listener})d" in form}
        root = os.geteuid() == 0    # else they become another user, whom the folder does not let in
        text = form % dict(
            self.ports, folder=folder, connections=CONNECTIONS_MAX, files=2 * CONNECTIONS_MAX,
            tcp_origin=origins["tcp"].removeprefix("tcp:"), unix_origin=origins["unix"].removeprefix("unix:"),
            user="user root;" if root else "", user_h2o="user: root" if root else "")
        conf = f"{folder}/{name}.conf"
        write(conf, text)
        command = [program(name, package)] + [a % {"conf": conf, "folder": folder} for a in arguments]
        self.process = start(command, SERVER_CORE, f"{folder}/{name}.out")
        self.log = f"{folder}/{name}.out"
        self.name = name

    def start(self):
        wait_listening(self.name, self.process, self.ports.values(), self.log)

    def pids(self):
        return process_tree(self.process.pid)

    def stop(self):
        self.process.terminate()
        self.process.wait(10)


class Relay:
    """Two programs, as each knows one upstream only."""

    def __init__(self, folder, origins, build):
        self.ports = {listener: free_port() for listener in ("tcp", "unix")}
        self.process = {
            listener: start([f"{build}/bench/relay", f"tcp:127.0.0.1:{port}", origins[listener]], SERVER_CORE,
                            f"{folder}/relay.out")
            for listener, port in self.ports.items()
        }
        self.log = f"{folder}/relay.out"

    def start(self):
        for listener, port in self.ports.items():
            wait_listening("relay", self.process[listener], [port], self.log)

    def pids(self):
        return [p.pid for p in self.process.values()]

    def stop(self):
        for process in self.process.values():
            process.terminate()
            process.wait(10)


class Ficus:
    """A system with one service, whose place the origin takes: the hub is told its address as the supervisor would.

    Each kind is a system of its own, since a manifest has one listener. routes: how many /api/v1/rNNNNN/{id} it has
    before the one of PATH. spread: its threads may use all cores.
    """

    def __init__(self, build, folder, origin, routes=0, tls=False, threads=1, spread=False):
        self.system = System(build)
        self.system.manifest = os.path.join(self.system.folder, "ficus.yaml")
        more = "".join(f'    - {{ method: GET, path: "/api/v1/r{i:05}/{{id}}", to: "echo:/v1/r{i:05}/{{id}}" }}\n'
                       for i in range(routes))
        text = MANIFEST % {"tls": TLS % {"folder": folder} if tls else "", "routes": more,
                           "threads": threads}
        write(self.system.manifest, text)
        write(os.path.join(self.system.folder, "echo.yaml"), SERVICE % f"{os.path.abspath(build)}/bench/load")
        self.origin, self.spread = origin, spread
        self.ports = {"tls": self.system.port} if tls else {"tcp": self.system.port, "unix": self.system.port,
                                                            "h2c": self.system.port}
        self.gateway = 0

    def accepted(self):
        """Whether this Ficus knows all words of the manifest."""
        return self.system.run("config", "check", self.system.manifest).returncode == 0

    def start(self):
        self.system.up()
        self.gateway = self.system.processes()["gateway"]["pid"]
        for tid in os.listdir(f"/proc/{self.gateway}/task"):
            os.sched_setaffinity(int(tid), {CLIENT_CORE, SERVER_CORE} if self.spread else {SERVER_CORE})
        self.tell({"echo": [self.origin]})

    def tell(self, services):
        self.system.operator("PUT", "/v1/registry", json.dumps({"services": services}))

    def pids(self):
        return [self.gateway]

    def stop(self):
        self.system.stop()


PEERS = {
    "nginx": ("nginx-light", NGINX, ["-p", "%(folder)s", "-c", "%(conf)s", "-e", "%(folder)s/nginx.error"]),
    "haproxy": ("haproxy", HAPROXY, ["-db", "-f", "%(conf)s"]),
    "h2o": ("h2o", H2O, ["-c", "%(conf)s"]),
}
