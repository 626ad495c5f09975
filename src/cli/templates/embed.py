#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the files of a folder as C text, so that the ficus command carries them.

embed.py OUTPUT FOLDER FILE...     (each FILE below FOLDER; dot.NAME becomes .NAME)
"""

import os
import sys


def literal(line):
    return '"' + line.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t").replace("\n", "\\n") + '"'


def main():
    output, folder, *files = sys.argv[1:]
    with open(output, "w", encoding="ascii") as out:
        out.write('/* Made by embed.py. */\n#include "templates.h"\n\nconst struct template_file template_files[] = {\n')
        for path in files:
            name = os.path.relpath(path, folder).replace("dot.", ".")
            with open(path, encoding="ascii") as f:
                lines = "\n     ".join(literal(line) for line in f)
            out.write(f"    {{{literal(name)},\n     {lines}}},\n")
        out.write("    {0},\n};\n")


if __name__ == "__main__":
    main()
