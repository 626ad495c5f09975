#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Random schemas and values: the answers of src/schema against those of python3-jsonschema; and whenever one schema is said to read another, no value is found that the old one
takes and the new one does not. Skipped where python3-jsonschema is not installed (tools/install test brings it).

    differential.py ASK [--rounds N] [--seed N]
"""

import argparse
import copy
import json
import random
import subprocess
import sys

try:
    from jsonschema import Draft202012Validator
except ImportError:
    print("python3-jsonschema is not installed")
    sys.exit(77)

TYPES = ["null", "boolean", "integer", "number", "string", "array", "object"]
NAMES = ["a", "b", "ab", "x1"]
PATTERNS = ["^a", "b$", "^[a-c]+$", "x|1", "^(ab)*$", "[^a]", "^.{2}$", "\\d", "^[\\w\u00e0-\u00ff]+$", "a?b+"]
VALUES = [None, True, False, 0, 1, 2, 1.0, -1, 1.5, 10, "", "a", "ab", "b", "x1", "äö", [], [1], [1, 1.0], ["a"], [1, "a"], {}, {"a": 1}, {"a": "a", "b": 2}, {"x1": None}]


class Maker:
    def __init__(self, seed):
        self.r = random.Random(seed)

    def value(self, depth=2):
        r = self.r
        if depth == 0 or r.random() < 0.5:
            return copy.deepcopy(r.choice(VALUES))
        if r.random() < 0.5:
            return [self.value(depth - 1) for _ in range(r.randrange(4))]
        return {n: self.value(depth - 1) for n in r.sample(NAMES, r.randrange(len(NAMES) + 1))}

    def words(self, depth):
        r = self.r
        inner = lambda: self.schema(depth - 1)
        several = lambda: [inner() for _ in range(r.randrange(1, 4))]
        plain = {
            "type": lambda: r.choice(TYPES) if r.random() < 0.7 else r.sample(TYPES, r.randrange(1, 4)),
            "enum": lambda: [self.value(1) for _ in range(r.randrange(1, 5))],
            "const": lambda: self.value(1),
            "minimum": lambda: r.choice([0, 1, -1, 0.5, 1.5]),
            "maximum": lambda: r.choice([0, 1, 2, 10, 1.5]),
            "exclusiveMinimum": lambda: r.choice([0, 1, -1, 0.5]),
            "exclusiveMaximum": lambda: r.choice([1, 2, 10]),
            "multipleOf": lambda: r.choice([1, 2, 0.5, 3]),
            "minLength": lambda: r.randrange(3),
            "maxLength": lambda: r.randrange(3),
            "pattern": lambda: r.choice(PATTERNS),
            "minItems": lambda: r.randrange(3),
            "maxItems": lambda: r.randrange(3),
            "uniqueItems": lambda: r.random() < 0.7,
            "required": lambda: r.sample(NAMES, r.randrange(1, 3)),
            "minProperties": lambda: r.randrange(3),
            "maxProperties": lambda: r.randrange(3),
        }
        nested = {
            "properties": lambda: {n: inner() for n in r.sample(NAMES, r.randrange(1, 4))},
            "additionalProperties": lambda: False if r.random() < 0.5 else inner(),
            "patternProperties": lambda: {p: inner() for p in r.sample(PATTERNS, r.randrange(1, 3))},
            "propertyNames": lambda: r.choice([{"maxLength": 1}, {"pattern": r.choice(PATTERNS)}, {"enum": r.sample(NAMES, 2)}, inner()]),
            "items": inner,
            "prefixItems": several,
            "contains": inner,
            "allOf": several,
            "anyOf": several,
            "oneOf": several,
            "not": inner,
            "if": inner,
            "then": inner,
            "else": inner,
        }
        return {**plain, **(nested if depth > 0 else {})}

    def schema(self, depth=2):
        r = self.r
        if r.random() < 0.06:
            return r.random() < 0.5
        if r.random() < 0.06:
            return {"$ref": r.choice(["#/$defs/one", "#/$defs/two"])}
        words = self.words(depth)
        return {w: words[w]() for w in r.sample(sorted(words), r.randrange(0, 4))}

    def root(self):
        s = self.schema()
        if isinstance(s, dict) and '"$ref"' in json.dumps(s):
            s["$defs"] = {"one": self.schema(0), "two": self.schema(1)}
            if '"$ref"' in json.dumps(s["$defs"]):  # circles have tests of their own
                s["$defs"] = {"one": {"type": "string"}, "two": {"minimum": 1}}
        elif isinstance(s, dict) and r"$ref" in json.dumps(s):
            s = True
        return s

    def changed(self, s):
        """A schema that somebody made of s: something taken away, added or replaced."""
        r = self.r
        if not isinstance(s, dict) or r.random() < 0.1:
            return self.schema(1)
        out = copy.deepcopy(s)
        defs = out.pop("$defs", None)
        keys = list(out)
        for _ in range(r.randrange(1, 3)):
            how = r.random()
            if how < 0.3 and keys:
                out.pop(r.choice(keys), None)
            elif how < 0.6 and keys:
                k = r.choice(keys)
                if isinstance(out.get(k), dict) and k != "const":
                    out[k] = self.changed(out[k]) if k in ("items", "not", "contains", "additionalProperties", "if", "then", "else", "propertyNames") else {
                        n: self.changed(v) if r.random() < 0.5 else v for n, v in out[k].items()}
                elif isinstance(out.get(k), list) and k in ("enum", "required", "anyOf", "oneOf", "allOf", "prefixItems"):
                    out[k] = out[k] + [self.value(1) if k == "enum" else r.choice(NAMES) if k == "required" else self.schema(1)]
                    if k == "required":
                        out[k] = sorted(set(out[k]))
                elif isinstance(out.get(k), int) and not isinstance(out.get(k), bool) and k not in ("const", "multipleOf"):
                    out[k] = max(0, out[k] + r.choice([-1, 1]))
            else:
                words = self.words(1)
                w = r.choice(sorted(words))
                out[w] = words[w]()
        if defs is not None:
            out["$defs"] = defs
        if '"$ref"' in json.dumps(out) and defs is None:
            out["$defs"] = {"one": {"type": "string"}, "two": {"minimum": 1}}
        return out


def ask(program, request):
    program.stdin.write(json.dumps(request, ensure_ascii=False) + "\n")
    program.stdin.flush()
    return program.stdout.readline().rstrip("\n")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("ask")
    parser.add_argument("--rounds", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=1)
    o = parser.parse_args()
    program = subprocess.Popen([o.ask], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8")
    m = Maker(o.seed)
    checked = faults = said_yes = refused = pairs = missed = 0
    for i in range(o.rounds):
        s = m.root()
        values = [m.value() for _ in range(12)]
        oracle = Draft202012Validator(s)
        want = "".join("y" if oracle.is_valid(v) else "n" for v in values)
        got = ask(program, {"schema": s, "values": values})
        if got.startswith("refused"):
            refused += 1
            print("refused", got, json.dumps(s))
            continue
        checked += len(values)
        for v, w, g in zip(values, want, got):
            if w != g:
                faults += 1
                print(f"differs: schema {json.dumps(s)} value {json.dumps(v)}: we say {g}, jsonschema {w}")
        new = m.changed(s)
        got = ask(program, {"new": new, "old": s})
        pairs += 1
        if got.startswith("refused"):
            continue
        taken = [v for v in [m.value() for _ in range(60)] + VALUES if oracle.is_valid(v)]
        reader = Draft202012Validator(new)
        lost = [v for v in taken if not reader.is_valid(v)]
        said_yes += got == "y"
        missed += got == "n" and not lost
        if got == "y" and lost:
            faults += 1
            print(f"not compatible: old {json.dumps(s)} new {json.dumps(new)} value {json.dumps(lost[0])}")
        if ask(program, {"new": s, "old": s}) != "y":
            faults += 1
            print(f"does not read itself: {json.dumps(s)}")
    program.stdin.close()
    program.wait()
    print(f"seed {o.seed}: {checked} values, {pairs} pairs ({said_yes} compatible, {missed} not shown though no value speaks against it), {refused} schemas refused, {faults} faults")
    return 1 if faults or refused else 0


if __name__ == "__main__":
    sys.exit(main())
