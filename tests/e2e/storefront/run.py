#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A person shops in Chromium, at a shop of its own with the real products, while services die.

    tests/e2e/storefront/run.py [--build FOLDER] [--only WORDS] [--pictures FOLDER]

--only: the tests whose names hold these words. --pictures: instead of testing, a picture of each page, on a desktop and
a phone, light and dark. Needs Debian's chromium, nodejs (18 or newer) and npm; the packages named in package-lock.json
are put into the build folder.
"""

import filecmp
import os
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))

from shop import DATA, Shop, build_folder  # noqa: E402  the path is set above

TEST_S_MAX = 500


def packages(build):
    """The folder with node_modules, as package-lock.json says."""
    folder = os.path.join(os.path.abspath(build), "e2e-storefront-npm")
    os.makedirs(folder, exist_ok=True)
    done = os.path.join(folder, "done.json")
    lock = os.path.join(HERE, "package-lock.json")
    if os.path.exists(done) and filecmp.cmp(done, lock, shallow=False):
        return folder
    for name in ("package.json", "package-lock.json"):
        shutil.copy(os.path.join(HERE, name), folder)
    npm = ["npm", "ci", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    env = dict(os.environ, PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD="1")
    ended = subprocess.run(npm, cwd=folder, env=env, capture_output=True, text=True, timeout=200, check=False)
    if ended.returncode != 0:
        raise SystemExit(f"npm ci in {folder} failed (it needs the npm registry once):\n{ended.stdout}{ended.stderr}")
    shutil.copy(lock, done)
    return folder


def load(shop):
    ended = subprocess.run(
        [
            os.path.join(shop.build, "shop/replay/shop-replay"),
            "--load-only",
            "--quiet",
            "--url",
            shop.url,
            "--admin",
            os.path.join(shop.state, "admin.json"),
            "--file",
            DATA,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if ended.returncode != 0:
        raise SystemExit(f"the products could not be loaded:\n{ended.stdout}{ended.stderr}")


def main():
    build, rest = build_folder(sys.argv[1:])
    for program in ("chromium", "node", "npm"):
        if shutil.which(program) is None:
            raise SystemExit(f"{program} is missing; tools/install test installs it")
    modules = packages(build)
    shop = Shop(build, "storefront")
    try:
        shop.up()
        load(shop)
        env = dict(
            shop.env,
            NODE_MODULES=modules + "/",
            SHOP_URL=shop.url,
            SHOP_FICUS=shop.ficus,
            SHOP_MANIFEST=shop.manifest,
            CHROMIUM=shutil.which("chromium"),
        )
        return subprocess.run(
            ["node", os.path.join(HERE, "storefront.mjs"), *rest], env=env, timeout=TEST_S_MAX, check=False
        ).returncode
    finally:
        shop.end()


if __name__ == "__main__":
    sys.exit(main())
