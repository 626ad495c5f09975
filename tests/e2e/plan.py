#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""shop-replay and the reconciliation, which share no code, read the same plan from the same file: the real one and one
that is as dirty as files get.

tests/e2e/plan.py [--build FOLDER]
"""

import json
import os
import subprocess
import sys
import tempfile

from shop import DATA, ROOT, build_folder

HEADING = b"InvoiceNo,StockCode,Description,Quantity,InvoiceDate,UnitPrice,CustomerID,Country\r\n"
DIRTY = (
    HEADING
    + b"".join(
        line + b"\r\n"
        for line in (
            b'1,A,"quoted, with ""quotes""",2,d,1.50,17,UK',
            b"1,A,second name,1,d,1.5,17,UK",  # twice in an invoice: added up
            b'1,B,"over\r\ntwo lines",3,d,2,17,UK',
            b"1,C,caf\xe9 in Latin-1,1,d,0.005,17,UK",  # half a penny is one
            b"1,C,caf\xc3\xa9 in UTF-8,1,d,0.004,17,UK",  # less is none
            b"1,D, ,1,d,1,17,UK",
            b"1,E,zero,1,d,0,17,UK",
            b"1,F,back,-4,d,3,17,UK",
            b"1,G,none,0,d,3,17,UK",
            b"1,H,negative,1,d,-5.00,17,UK",
            b"1,I,no number,x,d,1,17,UK",
            b"1,J,no price,1,d,1.,17,UK",
            b"1,K,too few,1,d,1",
            b"1,L,too many,1,d,1,17,UK,x",
            b"1,,no sku,1,d,1,17,UK",
            b"2,A,second name,5,d,1.75,,UK",  # a guest, at another price
            b"2,b,lower case is another sku,5,d,9.999,,UK",
            b"C3,A,second name,-5,d,1.75,,UK",
            b"C3,b,lower,-5,d,9.99,,UK",  # equals invoice 2
            b"C4,A,second name,-3,d,1.5,17,UK",  # partial
            b"C5,A,second name,-3,d,1.5,18,UK",  # of somebody who bought nothing
            b"C6,Z,never priced,-3,d,0,17,UK",
            b"7,Q,only free things,1,d,0,17,UK",  # no order at all
            b"8,A,second name,5,d,1.75,,UK",
            b"C9,A,second name,-5,d,1.75,,UK",
            b"C10,A,second name,-5,d,1.75,,UK",  # cancelled once, not twice
        )
    )
    + b"\r\n"
    + b"".join(b"%d,S%d,n,7,d,1.00,9,UK\r\n" % (100 + i // 3, i) for i in range(130))
)


def plans(build, path, *args):
    c = subprocess.run(
        [os.path.join(build, "shop/replay/shop-replay"), "--plan", "--file", path, *args],
        capture_output=True,
        check=True,
    )
    python = subprocess.run(
        [sys.executable, os.path.join(ROOT, "shop/replay/reconcile.py"), "--plan", "--file", path, *args],
        capture_output=True,
        check=True,
    )
    return json.loads(c.stdout), json.loads(python.stdout)


def compare(what, build, path, *args):
    c, python = plans(build, path, *args)
    different = [key for key in c.keys() | python.keys() if c.get(key) != python.get(key)]
    print(
        f"{'FAILED' if different else 'ok    '} {what}: {len(c['orders'])} orders, {len(c['listed'])} lines listed"
        f"{', differ in ' + str(different) if different else ''}"
    )
    return not different


def check_dirty(plan):
    """The same mistake twice would look like agreement: some facts of the dirty file, by hand."""
    orders = {o["invoice"]: o for o in plan["orders"]}
    products = {p["sku"]: p for p in plan["products"]}
    facts = (
        orders["1"]["items"]
        == [
            {"sku": "A", "quantity": 3},
            {"sku": "B", "quantity": 3},
            {"sku": "C", "quantity": 1},
            {"sku": "D", "quantity": 1},
        ],
        (products["A"]["price"], products["A"]["name"]) == (175, "second name"),
        (products["C"]["price"], products["C"]["name"]) == (1, "caf\u00e9 in Latin-1"),
        (products["B"]["name"], products["D"]["name"]) == ("over\r\ntwo lines", "D"),
        (orders["1"]["total"], orders["1"]["file_total"]) == (3 * 175 + 600 + 1 + 100, 450 + 600 + 1 + 100),
        (products["b"]["price"], orders["2"]["file_total"]) == (1000, 5 * 175 + 5 * 1000),
        "7" not in orders and "E" not in products,
        {c["invoice"]: c["verdict"] for c in plan["credits"]}
        == {
            "C3": "cancels",
            "C4": "partial",
            "C5": "no such order in the file",
            "C6": "no such order in the file",
            "C9": "cancels",
            "C10": "partial",
        },
        plan["listed_by_reason"]["malformed"] == 5,
        sum(p["stock"] == 3 for p in plan["products"]) >= 2,
    )
    bad = [i for i, fact in enumerate(facts) if not fact]
    print(f"{'FAILED' if bad else 'ok    '} facts of the dirty file{': ' + str(bad) if bad else ''}")
    return not bad


def main():
    build, _ = build_folder(sys.argv[1:])
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "it's dirty.csv")
        with open(path, "wb") as f:
            f.write(DIRTY)
        results = [
            compare("the real file", build, DATA),
            compare("its first 100 invoices", build, DATA, "--invoices", "100"),
            compare("another seed", build, DATA, "--seed", "18446744073709551615"),
            compare("a dirty file", build, path),
            check_dirty(plans(build, path)[0]),
        ]
    print(f"{sum(results)} passed, {len(results) - sum(results)} failed")
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
