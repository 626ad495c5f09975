#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# One static library out of several, in which hidden symbols are local: archive.sh OUTPUT FOLDER ARCHIVE...
set -eu
output=$1 folder=$2
shift 2
mkdir -p "$folder"
${LD:-ld} -r -o "$folder/all.o" --whole-archive "$@"
${OBJCOPY:-objcopy} --localize-hidden "$folder/all.o"
rm -f "$output"
${AR:-ar} rcs "$output" "$folder/all.o"
