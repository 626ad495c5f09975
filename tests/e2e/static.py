#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""libficus.a, as it is installed: what `pkg-config --static` says is all that a program needs to link it, and nothing but the API is in
its way.

    tests/e2e/static.py [--build FOLDER]
"""

import os
import re
import shlex
import shutil
import subprocess
import sys

from checks import Checks
from shop import build_folder

# buf_init and list_init are inner names of Ficus, and here the user's own.
PROGRAM = """#include <ficus/ficus.h>
#include <stdio.h>
int buf_init(int x);
int buf_init(int x) { return x + 1; }
int main(int argc, char **argv)
{
    printf("%d\\n", buf_init(1));
    return argc > 1 ? ficus_main(NULL, argc, argv) : 0;
}
"""
PARTS = ("uv", "nghttp2", "sqlite3", "ssl", "crypto")


def main():
    build, rest = build_folder(sys.argv[1:])
    if rest:
        print(__doc__, file=sys.stderr)
        return 2
    checks = Checks()
    base = os.path.join(os.path.abspath(build), "e2e-static")
    root = os.path.join(base, "root")
    shutil.rmtree(base, ignore_errors=True)
    os.makedirs(base)
    subprocess.run(["meson", "install", "-C", build, "--destdir", root, "--no-rebuild", "--quiet"], check=True)
    package = next(folder for folder, _, files in os.walk(root) if "ficus.pc" in files)
    env = dict(os.environ, PKG_CONFIG_PATH=package, PKG_CONFIG_SYSROOT_DIR=root)
    for folder, _, files in os.walk(root):
        for name in files:
            if name.startswith("libficus") and ".so" in name:
                os.remove(os.path.join(folder, name))
    with open(os.path.join(base, "main.c"), "w", encoding="utf-8") as f:
        f.write(PROGRAM)

    def flags(*words):
        said = subprocess.run(["pkg-config", *words, "ficus"], env=env, capture_output=True, text=True, check=True)
        return shlex.split(said.stdout)

    def link(libs):
        return subprocess.run(["cc", "-o", "program", "-Wall", "-Werror", "main.c", *flags("--cflags"), *libs], cwd=base, capture_output=True, text=True,
                              check=False)

    libs = flags("--static", "--libs")
    said = link(libs)
    checks.check("pkg-config --static has all that it needs", said.returncode == 0, said.stderr[-2000:])
    if said.returncode == 0:
        said = subprocess.run(["./program"], cwd=base, capture_output=True, text=True, check=False)
        checks.check("the program runs, with a name of its own that Ficus has too", said.stdout == "2\n", said.stdout + said.stderr)
        needed = subprocess.run(["readelf", "-d", "program"], cwd=base, capture_output=True, text=True, check=True).stdout
        checks.check("it needs no libficus.so", "libficus" not in needed, needed)
    for part in PARTS:
        said = link([word for word in libs if word != "-l" + part])
        checks.check(f"{part} is needed", "-l" + part in libs and said.returncode != 0)
    shared = flags("--libs")
    checks.check("who links libficus.so gets none of it", not any("-l" + part in shared for part in PARTS), " ".join(shared))
    names = subprocess.run(["nm", "-g", "--defined-only", next(os.path.join(folder, "libficus.a") for folder, _, files in os.walk(root)
                                                             if "libficus.a" in files)], capture_output=True, text=True, check=True).stdout
    seen = re.findall(r"^[0-9a-f]+ [A-Z] (\w+)$", names, re.MULTILINE)
    strangers = [name for name in seen if not name.startswith("ficus_")]
    checks.check("its names are the API", len(seen) > 50 and not strangers, " ".join(strangers[:20]))
    return checks.end()


if __name__ == "__main__":
    sys.exit(main())
