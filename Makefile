# SPDX-License-Identifier: Apache-2.0
# The few commands of this project; what they do is in Meson, in tools/ and in the programs themselves.
#   make up       build, start the shop with the real data loaded, stop everything on Ctrl-C (LISTEN=127.0.0.1:8080)
#   make test     build and run every test
#   make build    build only
#   make bench-proxy  install nginx, HAProxy and h2o, run the gateway beside them, print one table (ONLY=plain,tls)
#   make bench-events  install NATS, Redis and PostgreSQL, run the event log beside them, print one table (ONLY=alone,batch)
#   make bench-sagas   durable saga steps a second, beside a plain loop on SQLite
#   make replay   push the real invoices through the gateway of the running shop, then reconcile (RATE=40 LOOPS=1)
#   make install  ficus, libficus, headers, ficus.pc, man page (PREFIX=/usr/local DESTDIR=)
BUILD ?= build
RATE ?= 40
LOOPS ?= 1
PREFIX ?= /usr/local
URL ?= http://127.0.0.1:8080
FILE ?= shop/ficus.yaml

.PHONY: up build test replay bench-proxy bench-events bench-sagas install clean

$(BUILD)/build.ninja:
	@tools/install build
	@meson setup $(BUILD) --prefix=$(PREFIX) --libdir=lib -Dtests=false -Db_lto=true >$(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }

# Ninja's progress is for a terminal; elsewhere only what goes wrong.
build: $(BUILD)/build.ninja
	@tools/install build
	@if [ -t 1 ]; then ninja -C $(BUILD); else echo "Building into $(BUILD)/"; ninja -C $(BUILD) >$(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }; fi

up: build
	@shop/up $(BUILD) $(FILE) $(if $(LISTEN),--set gateway.listen=$(LISTEN))

test:
	@tools/install test
	@tools/test

replay: build
	@shop/replay/run $(BUILD) $(FILE) --url $(URL) --rate $(RATE) --loops $(LOOPS)

bench-proxy: build
	@tools/install bench
	@ninja -C $(BUILD) --quiet bench/load bench/relay
	@bench/proxy.py $(BUILD) $(if $(ONLY),--only $(ONLY))

bench-events: build
	@tools/install bench
	@ninja -C $(BUILD) --quiet bench/load bench/event_load
	@bench/events.py $(BUILD) $(if $(ONLY),--only $(ONLY))

bench-sagas: build
	@ninja -C $(BUILD) --quiet bench/load bench/saga_load bench/saga_bench
	@bench/sagas.py $(BUILD)

# The prefix may differ from the one that this folder was made for, and stands in ficus.pc. lib/ is where pkg-config and
# the loader look below /usr/local; Meson alone would take lib64/.
install: build
	@{ meson configure $(BUILD) --prefix=$(PREFIX) --libdir=lib && ninja -C $(BUILD); } >$(BUILD).log 2>&1 || { cat $(BUILD).log; exit 1; }
	@DESTDIR=$(DESTDIR) meson install -C $(BUILD) --no-rebuild
	@if [ -z "$(DESTDIR)" ] && [ "$$(id -u)" = 0 ]; then ldconfig; fi
	@[ "$$(pkg-config --variable=pcfiledir ficus 2>/dev/null)" = "$(PREFIX)/lib/pkgconfig" ] || echo "pkg-config finds it with PKG_CONFIG_PATH=$(PREFIX)/lib/pkgconfig, the loader with LD_LIBRARY_PATH=$(PREFIX)/lib"

clean:
	rm -rf $(BUILD)
