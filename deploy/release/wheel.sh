#!/usr/bin/env bash
# Builds the wheel for TARGET, which takes what program.sh has compiled. maturin names it after the oldest glibc (manylinux) or
# macOS that it runs on, and fails where it would need more than it says.
# usage: wheel.sh TARGET FOLDER
set -euo pipefail
target=$1
mkdir -p "$2"
folder=$(cd "$2" && pwd)
cd "$(dirname "$0")/../.."
export CARGO_PROFILE_RELEASE_LTO=${CARGO_PROFILE_RELEASE_LTO:-thin} CARGO_PROFILE_RELEASE_STRIP=${CARGO_PROFILE_RELEASE_STRIP:-symbols}
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}

tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python3 -m venv "$tools"
"$tools/bin/pip" install -q --disable-pip-version-check 'maturin>=1.7,<2'
cd clients/python
"$tools/bin/maturin" build --release --locked --target "$target" --out "$folder"
