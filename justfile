# The daily commands.

# Everything CI checks.
check:
    bash .ci/run

# Format.
fmt:
    cargo fmt

# The quick tests.
test:
    cargo test --release --workspace

# The book, which a program that is compiled after it serves at /docs/book.
book:
    mdbook build docs

# The main job on bundled data.
demo:
    cargo run --release -- demo

# Licences, advisories, unused dependencies.
audit:
    cargo deny check
    cargo machete
