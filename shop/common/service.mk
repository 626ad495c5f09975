# SPDX-License-Identifier: Apache-2.0
# Builds and tests the service NAME in its folder alone, against an installed libficus, or one in a build folder:
#   make test PKG_CONFIG_PATH=BUILD/meson-uninstalled
# PACKAGES: what it needs beside ficus, as pkg-config names it.
CFLAGS ?= -O2 -g -Wall -Wextra -Wno-unused-parameter
CPPFLAGS += -D_GNU_SOURCE -I../../common
SOURCES = $(filter-out test_%.c,$(wildcard *.c))
HEADERS = $(wildcard *.h ../../common/*.h)
# In the recipes, not by $(shell): only they see a PKG_CONFIG_PATH that was given to make. The rpath lets the program
# find a library that stands in a build folder.
LIBS = $$(pkg-config --libs $(1)) $$(pkg-config --libs-only-L $(1) | sed -E 's/(^| )-L/\1-Wl,-rpath,/g')

$(NAME): $(SOURCES) $(HEADERS)
	$(CC) $(CPPFLAGS) $$(pkg-config --cflags ficus $(PACKAGES)) $(CFLAGS) -o $@ $(SOURCES) $(LDFLAGS) \
		$(call LIBS,ficus $(PACKAGES))

test: test_$(NAME)
	./test_$(NAME) migrations

test_$(NAME): test_$(NAME).c $(SOURCES) $(HEADERS)
	$(CC) $(CPPFLAGS) $$(pkg-config --cflags ficus-test cmocka $(PACKAGES)) $(CFLAGS) -o $@ test_$(NAME).c \
		$(filter-out main.c,$(SOURCES)) $(LDFLAGS) $(call LIBS,ficus-test cmocka $(PACKAGES)) -lpthread

clean:
	rm -f $(NAME) test_$(NAME)
.PHONY: test clean
