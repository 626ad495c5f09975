# SPDX-License-Identifier: Apache-2.0
"""A whole shop for one test: its own state folder in BUILD/e2e-NAME, its own port; and its clients."""

import http.client
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.parse

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
DATA = os.path.join(ROOT, "shop/data/online-retail-2010-12.csv.gz")

GOOD, DECLINED, INSUFFICIENT, FLAKY, SLOW = (
    "4242424242424242",
    "4000000000000002",
    "4000000000009995",
    "4000000000000119",
    "4000000000000341",
)


class Answer:
    def __init__(self, status, headers, raw):
        self.status, self.headers, self.raw = status, headers, raw
        try:
            self.json = json.loads(raw)
        except ValueError:
            self.json = None

    def __repr__(self):
        return f"<{self.status} {self.raw[:300]!r}>"


def free_port():
    """Outside the range of outgoing connections, which tests beside this one make, and of the ports that Ficus itself hands out."""
    while True:
        port = random.randrange(10000, 20000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue


class UnixConnection(http.client.HTTPConnection):
    """To what listens at this path."""

    def __init__(self, path):
        super().__init__("localhost", timeout=30)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


def wait_for(what, condition, seconds=30.0, step=0.05):
    """The first true value of condition(); fails the test when it does not come."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain for {what}")
        time.sleep(step)


def copy_shop(folder):
    """The shop's manifest and what it names, to be changed by a test; without the data, and what a shop that somebody runs there has."""
    shutil.copytree(os.path.join(ROOT, "shop"), folder, ignore=shutil.ignore_patterns("data", ".ficus"))


class Shop:
    def __init__(self, build, name):
        self.build = os.path.abspath(build)
        self.ficus = os.path.join(self.build, "ficus")
        self.manifest = os.path.join(ROOT, "shop/ficus.yaml")
        self.folder = os.path.join(self.build, "e2e-" + name)
        self.state = os.path.join(self.folder, "state")
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = dict(os.environ, FICUS_STATE=self.state)
        shutil.rmtree(self.folder, ignore_errors=True)
        os.makedirs(self.folder)

    # ---- the command line ----

    def run(self, *args, seconds=60):
        command = [self.ficus, *args, "-f", self.manifest]
        return subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=seconds, check=False)

    def up(self, wait_s=60):
        done = self.run(
            "up", "-d", "--wait", f"{wait_s}s", "--set", f"gateway.listen=127.0.0.1:{self.port}", seconds=wait_s + 30
        )
        if done.returncode != 0:
            raise AssertionError(f"ficus up: exit code {done.returncode}\n{done.stdout}{done.stderr}")

    def down(self):
        return self.run("down")

    def json(self, *args):
        done = self.run(*args, "--json")
        if done.returncode != 0:
            raise AssertionError(f"ficus {' '.join(args)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return json.loads(done.stdout)

    def lines(self, *args):
        """Of a command that lists: an object a line."""
        done = self.run(*args, "--json")
        if done.returncode != 0:
            raise AssertionError(f"ficus {' '.join(args)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def pids(self):
        """Name to pid, of everything that lives. Empty when not even the status can be read."""
        done = self.run("status", "--json")
        try:
            status = json.loads(done.stdout)
        except ValueError:
            return {}
        pids = {name: (status.get(name) or {}).get("pid") for name in ("supervisor", "gateway", "hub")}
        for service in status.get("services", []):
            for instance in service["instances"]:
                pids[service["name"]] = instance["pid"]
        return {name: pid for name, pid in pids.items() if pid}

    # ---- HTTP ----

    def http_connection(self, seconds):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)

    def request(self, method, path, body=None, token=None, key=None, headers=None, seconds=40):
        """One request on a connection of its own. body: anything for JSON, bytes as they are."""
        fields = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            fields.setdefault("Content-Type", "application/json")
        if token:
            fields["Authorization"] = "Bearer " + token
        if key is not None:
            fields["Idempotency-Key"] = key
        connection = self.http_connection(seconds)
        try:
            connection.request(method, path, body, fields)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read())
        finally:
            connection.close()

    def sign_in(self, email, password):
        answer = self.request("POST", "/api/v1/sessions", {"email": email, "password": password})
        if answer.status != 201:
            raise AssertionError(f"sign in: {answer}")
        return answer.json["token"]

    def admin(self):
        with open(os.path.join(self.state, "admin.json"), encoding="utf-8") as f:
            admin = json.load(f)
        return self.sign_in(admin["email"], admin["password"])

    def user(self, email, password="a good password"):
        answer = self.request("POST", "/api/v1/users", {"email": email, "name": "Test", "password": password})
        if answer.status != 201:
            raise AssertionError(f"register: {answer}")
        return self.sign_in(email, password)

    def product(self, admin, sku, price=100, on_hand=None, name=None):
        quoted = urllib.parse.quote(sku, safe="")
        answer = self.request(
            "PUT",
            "/api/v1/products/" + quoted,
            {"name": name or sku, "price": {"amount": price, "currency": "GBP"}},
            admin,
        )
        if answer.status not in (200, 201):
            raise AssertionError(f"product: {answer}")
        if on_hand is not None:
            stock = self.request("PUT", "/api/v1/stock/" + quoted, {"on_hand": on_hand}, admin)
            if stock.status != 200:
                raise AssertionError(f"stock: {stock}")
        return answer.json

    def order(self, token, items, card=GOOD, key=None):
        """items: sku to quantity. The answer."""
        body = {
            "items": [{"product_id": sku, "quantity": n} for sku, n in items.items()],
            "payment": {"card_number": card},
        }
        return self.request("POST", "/api/v1/orders", body, token, key or os.urandom(8).hex())

    def ended(self, token, order_id, seconds=60):
        """The order once it is not pending."""

        def look():
            answer = self.request("GET", "/api/v1/orders/" + order_id, token=token)
            return answer.json if answer.status == 200 and answer.json["status"] != "pending" else None

        return wait_for(f"the end of order {order_id}", look, seconds)

    # ---- the replay ----

    @property
    def run_file(self):
        return os.path.join(self.folder, "run.json")

    @property
    def status_file(self):
        return os.path.join(self.folder, "status.json")

    def replay(self, *args):
        """A running shop-replay."""
        self.replay_log = open(os.path.join(self.folder, "replay.txt"), "w+", encoding="utf-8")
        command = [
            os.path.join(self.build, "shop/replay/shop-replay"),
            "--file",
            DATA,
            "--url",
            self.url,
            "--admin",
            os.path.join(self.state, "admin.json"),
            "--run",
            self.run_file,
            "--status",
            self.status_file,
            "--quiet",
            *args,
        ]
        return subprocess.Popen(command, env=self.env, stdout=self.replay_log, stderr=subprocess.STDOUT)

    def replay_report(self):
        self.replay_log.seek(0)
        return self.replay_log.read()

    def replay_status(self):
        try:
            with open(self.status_file, encoding="utf-8") as f:
                return json.load(f)
        except (OSError, ValueError):
            return None

    def wait_orders(self, replay, count=1, seconds=900):
        """Until the replay has placed some orders; before, it registers hundreds of users, 0.1 s of a core each."""

        def look():
            if replay.poll() is not None:
                raise AssertionError("the replay ended early:\n" + self.replay_report())
            status = self.replay_status()
            return status and status["phase"] == "orders" and status["accepted"] >= count

        wait_for("the first orders", look, seconds)

    def reconcile(self, quiet_s=60):
        """(exit code, report)"""
        command = [
            sys.executable,
            os.path.join(ROOT, "shop/replay/reconcile.py"),
            "--run",
            self.run_file,
            "--quiet",
            str(quiet_s),
            "--admin",
            os.path.join(self.state, "admin.json"),
        ]
        done = subprocess.run(command, env=self.env, capture_output=True, text=True, timeout=900, check=False)
        return done.returncode, done.stdout + done.stderr

    # ---- the end ----

    def end(self):
        """Whatever happened: nothing of this shop runs afterwards."""
        try:
            self.down()
        except (OSError, subprocess.SubprocessError):
            pass
        for pid in self.pids().values():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass


class OwnSystem(Shop):
    """No shop: what the test writes into the folder self.own, without a gateway."""

    def __init__(self, build, name):
        super().__init__(build, name)
        self.own = os.path.join(self.folder, "system")
        self.manifest = os.path.join(self.own, "ficus.yaml")

    def write(self, name, text):
        path = os.path.join(self.own, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)

    def up(self, wait_s=60):
        done = self.run("up", "-d", "--wait", f"{wait_s}s", seconds=wait_s + 30)
        if done.returncode != 0:
            raise AssertionError(f"ficus up: {done.returncode} {done.stdout}{done.stderr}")


def build_folder(argv):
    """--build FOLDER from the arguments, default: build beside the sources. Returns it and the other arguments."""
    rest = list(argv)
    if "--build" in rest:
        at = rest.index("--build")
        build = rest[at + 1]
        del rest[at : at + 2]
        return build, rest
    return os.path.join(ROOT, "build"), rest
