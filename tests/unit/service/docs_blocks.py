#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Write code blocks of a page of docs/ to files, so that a test runs what is shown.

    docs_blocks.py PAGE FENCE:FIRST=FILE...     the block of this fence whose first line has FIRST
"""

import re
import sys


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        page = f.read()
    for wanted in sys.argv[2:]:
        what, path = wanted.split("=", 1)
        fence, first = what.split(":", 1)
        blocks = [b for b in re.findall(rf"^```{fence}\n(.*?)^```$", page, re.M | re.S) if first in b.split("\n", 1)[0]]
        if len(blocks) != 1:
            sys.exit(f"{sys.argv[1]} has {len(blocks)} blocks of {fence} that begin with {first}")
        with open(path, "w", encoding="utf-8") as f:
            f.write(blocks[0])


if __name__ == "__main__":
    main()
