# SPDX-License-Identifier: Apache-2.0
# The few commands of this project; what they do is in Meson, in tools/ and in the programs themselves.
#   make up       build, start the shop with the real data loaded, stop everything on Ctrl-C
#   make test     build and run every test
#   make build    build only
#   make replay   push the real invoices through the gateway of the running shop, then reconcile (RATE=40 LOOPS=1)
#   make install  ficus, libficus, headers, ficus.pc, man page (PREFIX=/usr/local DESTDIR=)
BUILD ?= build
RATE ?= 40
LOOPS ?= 1
PREFIX ?= /usr/local
URL ?= http://127.0.0.1:8080
FILE ?= shop/ficus.yaml

.PHONY: up build test replay install clean

$(BUILD)/build.ninja:
	@tools/install build
	@meson setup $(BUILD) --prefix=$(PREFIX) -Dtests=false >/dev/null

build: $(BUILD)/build.ninja
	@tools/install build
	@ninja -C $(BUILD) | tail -1

up: build
	@shop/up $(BUILD) $(FILE)

test:
	@tools/install test
	@tools/test

replay: build
	@shop/replay/run $(BUILD) $(FILE) --url $(URL) --rate $(RATE) --loops $(LOOPS)

install: build
	@DESTDIR=$(DESTDIR) meson install -C $(BUILD) --no-rebuild

clean:
	rm -rf $(BUILD)
