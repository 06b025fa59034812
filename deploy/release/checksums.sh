#!/usr/bin/env bash
# Writes SHA256SUMS for all files of FOLDER, and checks it.
# usage: checksums.sh FOLDER
set -euo pipefail
cd "$1"
rm -f SHA256SUMS
sums=$(find . -maxdepth 1 -type f ! -name SHA256SUMS -exec sha256sum {} + | sed 's| \./| |' | sort -k 2)
printf '%s\n' "$sums" > SHA256SUMS
sha256sum --check --quiet SHA256SUMS
