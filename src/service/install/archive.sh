#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# One static library out of several, in which hidden symbols are local: archive.sh OUTPUT FOLDER ARCHIVE...
set -eu
output=$1 folder=$2
shift 2
mkdir -p "$folder"
${LD:-ld} -r -o "$folder/all.o" --whole-archive "$@"
# What link-time optimization left for the compiler beside the machine code would be taken in its stead, with everything seen.
${OBJCOPY:-objcopy} --localize-hidden --remove-section=".gnu.lto_*" --remove-section=".gnu.debuglto_*" "$folder/all.o"
rm -f "$output"
${AR:-ar} rcs "$output" "$folder/all.o"
