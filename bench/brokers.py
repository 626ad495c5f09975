# SPDX-License-Identifier: Apache-2.0
"""The event logs of events.py: each server with an empty store, what it listens on ("to", as event_load takes it), pids."""

import glob
import os
import pwd
import shutil
import subprocess
import sys
import time

from peers import process_tree, write
from rounds import SERVER_CORE
from system import System, cpu_ns, free_port, program, pss_bytes, start

START_S = 20
TICK_NS = 10 ** 9 // os.sysconf("SC_CLK_TCK")

MANIFEST = """\
ficus: 1
system: bench
include: [part/*.yaml]
gateway:
  listen: 127.0.0.1:8080
  routes: [ { path: "/**", answer: 404 } ]
events: { log: embedded, retention: 7d }
"""

WRITER = """\
service: writer
team: bench
does: publishes; its place is taken by the load
run: %(build)s/bench/load place
publishes: { bench.written: {} }
"""

READER = """\
service: reader
team: bench
does: consumes; its place is taken by the load
run: %(build)s/bench/load place
consumes: [bench.written]
"""

NATS = """\
host: 127.0.0.1
port: %(port)d
jetstream { store_dir: "%(folder)s/nats", max_file_store: 16G, max_memory_store: 1G }
"""


def of_living(pids, figure):
    """The sum of a figure of processes, some of which may end just now."""
    total = 0
    for pid in pids:
        try:
            total += figure(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
    return total


class Broker:
    """kind: what event_load calls it. kept: what "acknowledged" means."""

    def __init__(self, build, folder, kind, to, kept, command=None):
        self.load, self.folder, self.kind, self.to, self.kept, self.command = (
            f"{build}/bench/event_load", folder, kind, to, kept, command)
        self.process = None

    def start(self):
        if self.command is not None:
            log = f"{self.folder}/{self.kind}.out"
            self.process = start(self.command, SERVER_CORE, log)
            deadline = time.monotonic() + START_S
            while (said := self.prepare()).returncode != 0:
                if self.process.poll() is not None or time.monotonic() > deadline:
                    with open(log, encoding="utf-8", errors="replace") as f:
                        sys.exit(f"{self.kind} does not start: {said.stderr}\n{f.read()}")
                time.sleep(0.1)

    def prepare(self):
        """An empty stream; what was published is gone."""
        return subprocess.run([self.load, "prepare", self.kind, self.to], capture_output=True, text=True, check=False)

    def pids(self):
        return [] if self.process is None else process_tree(self.process.pid)

    def pss_bytes(self):
        return of_living(self.pids(), pss_bytes)

    def ended_ns(self):
        """CPU of the children that ended: PostgreSQL has one for each connection."""
        if self.process is None:
            return 0
        with open(f"/proc/{self.process.pid}/stat", encoding="ascii") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[13]) + int(fields[14])) * TICK_NS

    def cpu_ns(self):
        """Of all threads that live, and of the children that ended; again when one ended meanwhile."""
        while True:
            ended = self.ended_ns()
            living = of_living(self.pids(), cpu_ns)
            if ended == self.ended_ns():
                return ended + living

    def stop(self):
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(START_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()


def nats(build, folder):
    port = free_port()
    write(f"{folder}/nats.conf", NATS % {"port": port, "folder": folder})
    return Broker(build, folder, "nats", f"nats://127.0.0.1:{port}", "page cache",
                  [program("nats-server", "nats-server"), "-c", f"{folder}/nats.conf"])


def redis(build, folder, sync):
    store = f"{folder}/redis-{sync}"
    os.mkdir(store)
    command = [program("redis-server", "redis-server"), "--port", "0", "--unixsocket", f"{store}/redis.sock",
               "--dir", store, "--save", "", "--appendonly", "yes", "--appendfsync", sync]
    return Broker(build, folder, "redis", f"{store}/redis.sock", "synced" if sync == "always" else "synced each second",
                  command)


def postgres(build, folder):
    """As the user postgres when we are root, whom PostgreSQL refuses."""
    places = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
    if not places:
        sys.exit("postgres is missing: apt-get install postgresql")
    store, other = f"{folder}/postgres", []
    os.mkdir(store, 0o700)
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(store, user.pw_uid, user.pw_gid)
        other = [program("setpriv", "util-linux"), "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    made = subprocess.run([*other, f"{places[-1]}/initdb", "-A", "trust", "-U", "postgres", "-D", store], cwd="/",
                          capture_output=True, text=True, check=False)
    if made.returncode != 0:
        sys.exit(f"initdb: {made.stdout}{made.stderr}")
    return Broker(build, folder, "postgres", f"host={store} user=postgres dbname=postgres", "synced",
                  [*other, f"{places[-1]}/postgres", "-D", store, "-k", store, "-c", "listen_addresses="])


class Sqlite(Broker):
    """In the process of the load: no server."""

    def __init__(self, build, folder):
        super().__init__(build, folder, "sqlite", f"{folder}/plain.db", "synced")

    def start(self):
        if (said := self.prepare()).returncode != 0:
            sys.exit(said.stderr)


class Ficus(Broker):
    """The hub of a system of its own; the load takes the places of its two services. services: more parts of the
    manifest, by name."""

    def __init__(self, build, folder, services=None):
        self.system = System(build)
        state = self.system.env["FICUS_STATE"]
        super().__init__(build, folder, "ficus", f"{state}/run/hub.sock,{state}/system.key", "synced")
        self.system.manifest = os.path.join(self.system.folder, "ficus.yaml")
        write(self.system.manifest, MANIFEST)
        os.mkdir(f"{self.system.folder}/part")
        for name, text in (services or {"writer": WRITER, "reader": READER}).items():
            write(f"{self.system.folder}/part/{name}.yaml", text % {"build": build})
        self.hub = 0

    def start(self):
        self.system.up()
        self.hub = self.system.processes()["hub"]["pid"]
        for tid in os.listdir(f"/proc/{self.hub}/task"):
            os.sched_setaffinity(int(tid), {SERVER_CORE})

    def pids(self):
        return [self.hub]

    def stop(self):
        self.system.stop()


def brokers(build, folder):
    """All, by the name in the table; ours first. It is made last, for when the program of another is missing."""
    others = {
        "nats": nats(build, folder),
        "redis always": redis(build, folder, "always"),
        "redis everysec": redis(build, folder, "everysec"),
        "postgres": postgres(build, folder),
        "sqlite": Sqlite(build, folder),
    }
    return {"ficus": Ficus(build, folder), **others}


def disk(folder):
    """One line on where the files lie."""
    said = subprocess.run(["df", "--output=source,fstype", folder], capture_output=True, text=True, check=True)
    source, kind = said.stdout.splitlines()[1].split()
    synced = "; NOTHING IS SYNCED THERE: set TMPDIR" if kind in ("tmpfs", "ramfs") else ""
    return f"files on {source} ({kind}, {shutil.disk_usage(folder).free // 2 ** 30} GiB free){synced}"
