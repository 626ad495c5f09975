#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The floors keep apart. For every floor, with its real compiler arguments: a header that it names compiles, one that it does not name does not; a symbol of a floor
that it names links, one of a floor that it does not name does not. And each outside library is included only where it is wrapped.

check.py BUILD SOURCE FLOOR...    (floors from the ground up)
check.py --outside SOURCE
"""
import json, os, re, shlex, subprocess, sys, tempfile

OUTSIDE = [  # header, files that may include it
    (r'<uv\.h>', r'^src/io/[^/]*_uv\.c$|^src/io/io_uv\.h$'),
    (r'<nghttp2/', r'^src/http/h2_[^/]*\.[ch]$'),
    (r'<sqlite3\.h>', r'^src/data/[^/]*_sqlite\.[ch]$|^src/data/db_private\.h$'),
    (r'<openssl/', r'^src/io/tls_[^/]*\.c$|^src/security/'),
    (r'<yaml\.h>', r'^src/conf/[^/]*_yaml\.c$'),
]


def uses_of(source, floor):
    text = open(f"{source}/src/{floor}/meson.build").read()
    return re.findall(r"'([a-z0-9_]+)'", re.search(r"uses\s*=\s*\[(.*?)\]", text, re.S)[1])


def run(args):
    return subprocess.run(args, capture_output=True, text=True)


def include_args(source, floors):
    return [a for f in floors for a in ("-iquote", f"{source}/src/{f}")]


def header_of(source, floor):
    """A header of that floor that can stand alone."""
    names = sorted(n for n in os.listdir(f"{source}/src/{floor}") if n.endswith(".h"))
    return names[0] if names else None


def symbols_of(build, floor):
    out = run(["nm", "-g", "--defined-only", f"{build}/src/libficus_{floor}.a"]).stdout
    return sorted(set(re.findall(r"^[0-9a-f]+ T (\w+)$", out, re.M)))


def links(build, source, floor, uses, symbol, folder):
    """Link the floor alone from its whole archive, plus a file that calls the symbol, with the floors that it names."""
    path = f"{folder}/call.c"
    open(path, "w").write(f"void {symbol}(void);\nvoid probe_call(void);\nvoid probe_call(void) {{ {symbol}(); }}\n")
    archives = [f"{build}/src/libficus_{u}.a" for u in uses]
    return run(["gcc", "-fPIC", "-shared", "-fno-builtin", "-w", "-o", f"{folder}/call.so", path, f"{build}/src/libficus_{floor}.a",
                "-Wl,--start-group", *archives, "-Wl,--end-group", "-Wl,--no-undefined", "-luv", "-lsqlite3", "-lcrypto", "-lyaml", "-lpthread", "-lm"])


def compiles(source, floors, header, folder):
    path = f"{folder}/include.c"
    open(path, "w").write(f'#include "{header}"\n')
    return run(["gcc", "-std=gnu17", "-D_GNU_SOURCE", "-fsyntax-only", *include_args(source, floors), f"-I{source}/include", path])


def check_floor(build, source, floor, floors, folder):
    uses = uses_of(source, floor)
    known = [floor] + uses
    others = [f for f in floors if f not in known and header_of(source, f)]
    faults = []
    if uses:
        ok = compiles(source, known, header_of(source, uses[0]), folder)
        if ok.returncode:
            faults.append(f"a header of {uses[0]}, which {floor} names, does not compile: {ok.stderr.splitlines()[0]}")
        ok = links(build, source, floor, uses, symbols_of(build, uses[0])[0], folder)
        if ok.returncode:
            faults.append(f"a symbol of {uses[0]}, which {floor} names, does not link: {ok.stderr.splitlines()[-2:]}")
    for other in others:
        header = header_of(source, other)
        bad = compiles(source, known, header, folder)
        if bad.returncode == 0 or "No such file" not in bad.stderr:
            faults.append(f"{floor} can include {header} of {other}, which it does not name")
        symbol = symbols_of(build, other)[0]
        bad = links(build, source, floor, uses, symbol, folder)
        if bad.returncode == 0 or f"undefined reference to `{symbol}'" not in bad.stderr:
            faults.append(f"{floor} can call {symbol} of {other}, which it does not name")
    return faults, len(others)


def outside(source):
    faults = []
    for folder, _, names in os.walk(f"{source}/src"):
        for name in names:
            path = os.path.relpath(f"{folder}/{name}", source)
            if not name.endswith((".c", ".h")):
                continue
            for n, line in enumerate(open(f"{source}/{path}"), 1):
                for header, allowed in OUTSIDE:
                    if re.match(r"\s*#\s*include\s*" + header, line) and not re.match(allowed, path):
                        faults.append(f"{path}:{n}: {line.strip()}: this library is wrapped elsewhere")
    return faults


def main():
    if sys.argv[1] == "--outside":
        faults = outside(sys.argv[2])
        print("\n".join(faults) or "every outside library is included only where it is wrapped")
        return 1 if faults else 0
    build, source, floors = sys.argv[1], sys.argv[2], sys.argv[3:]
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for floor in floors:
            faults, tried = check_floor(build, source, floor, floors, folder)
            bad += len(faults)
            print(f"{floor}: " + ("\n  ".join(faults) if faults else f"{tried} floors are out of its reach"))
    return 1 if bad else 0


sys.exit(main())
