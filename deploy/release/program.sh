#!/usr/bin/env bash
# Builds the program for TARGET, tries it, packs it with its licence, and lists what it is made of.
# usage: program.sh TARGET FOLDER
set -euo pipefail
target=$1
mkdir -p "$2"
folder=$(cd "$2" && pwd)
cd "$(dirname "$0")/../.."
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)

# As in the container image: smaller and a little faster, and too slow to compile for every day.
export CARGO_PROFILE_RELEASE_LTO=${CARGO_PROFILE_RELEASE_LTO:-thin} CARGO_PROFILE_RELEASE_STRIP=${CARGO_PROFILE_RELEASE_STRIP:-symbols}
# The time that the allocator's source writes into the program: that of the commit, so that it can be built again.
export SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct)}
# The program holds the book, which it serves at /docs/book.
mdbook build docs
# With cargo-auditable the program itself lists the crates it is made of, for `cargo audit bin` and scanners of images.
build=(build)
if command -v cargo-auditable >/dev/null; then build=(auditable build); fi
cargo "${build[@]}" --release --locked --bin kenyon --target "$target"
built=${CARGO_TARGET_DIR:-target}/$target/release/kenyon

[ "$("$built" --version)" = "kenyon $version" ]
trial=$(mktemp -d)
trap 'rm -rf "$trial"' EXIT
"$built" demo --exit --data-dir "$trial/data" --listen 127.0.0.1:0 --grpc-listen off

name=kenyon-$version-$target
mkdir "$trial/$name"
cp "$built" LICENSE README.md CHANGELOG.md "$trial/$name/"
tar -C "$trial" -czf "$folder/$name.tar.gz" "$name"
python3 deploy/release/sbom.py "$target" "$folder/$name.cdx.json"
