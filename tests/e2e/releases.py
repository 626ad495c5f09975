# SPDX-License-Identifier: Apache-2.0
"""A shop whose orders service is built from sources of its own, so that a test can make its next releases."""

import json
import os
import re
import subprocess

from shop import copy_shop

VERSIONS = re.compile(r'(?<=order_projections\[\] = \{\n).*?(?=    \{NULL\},\n)', re.S)


def sanitizers(build):
    """Of the libficus there: a program that links it needs them, too."""
    with open(os.path.join(build, "meson-info/intro-buildoptions.json"), encoding="utf-8") as f:
        return next(option["value"] for option in json.load(f) if option["name"] == "b_sanitize")


class Releases:
    def __init__(self, shop):
        self.shop = shop
        own = os.path.join(shop.folder, "shop")
        if not os.path.exists(own):  # a shop may have a copy for its own purposes already
            copy_shop(own)
            shop.manifest = os.path.join(own, "ficus.yaml")
        self.orders = os.path.join(own, "services/orders")
        self.program = os.path.join(self.orders, "program")
        self.versions = [1]  # of the projection my_orders, in the program
        self.edit("service.yaml", "run: ${build}/shop/orders", "run: ./program")
        self.make()

    def path(self, name):
        return os.path.join(self.orders, name)

    def read(self, name):
        with open(self.path(name), encoding="utf-8") as f:
            return f.read()

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as f:
            f.write(text)

    def edit(self, name, old, new):
        text = self.read(name)
        assert text.count(old) == 1, (name, old)
        self.write(name, text.replace(old, new))

    def make(self):
        """What stands in the sources takes the place of the program, as a package manager does it."""
        env = dict(self.shop.env, PKG_CONFIG_PATH=os.path.join(self.shop.build, "meson-uninstalled"))
        if (names := sanitizers(self.shop.build)) != "none":
            env["CC"] = f"{env.get('CC', 'cc')} -fsanitize={names}"
        done = subprocess.run(["make", "-s", "-C", self.orders], env=env, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise AssertionError(done.stdout + done.stderr)
        os.rename(os.path.join(self.orders, "orders"), self.program)

    def release(self):
        self.make()
        return self.shop.run("restart", "orders")

    def next_version(self):
        """The next release, in turns: with a further version of my_orders beside the present one, and with that one alone."""
        self.versions = [self.versions[0], self.versions[0] + 1] if len(self.versions) == 1 else self.versions[1:]
        lines = "".join(f'    {{"my_orders", {version}, tables, orders_handle}},\n' for version in self.versions)
        text, count = VERSIONS.subn(lines, self.read("list.c"))
        assert count == 1
        self.write("list.c", text)
        return self.release()
