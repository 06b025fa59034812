# Build: dependencies first, so that a change of the source does not compile them again.
FROM rust:1.95-bookworm AS build
WORKDIR /build
ENV CARGO_PROFILE_RELEASE_LTO=thin CARGO_PROFILE_RELEASE_STRIP=symbols CARGO_INCREMENTAL=0
COPY Cargo.toml Cargo.lock build.rs ./
COPY src/oip/grpc_predict_v2.proto src/oip/
COPY crates/kenyon-learn/Cargo.toml crates/kenyon-learn/
COPY benches benches
COPY examples examples
RUN echo 'fn main() {}' > src/main.rs && touch src/lib.rs \
    && mkdir -p crates/kenyon-learn/src && touch crates/kenyon-learn/src/lib.rs \
 && cargo build --release --locked --bin kenyon \
 && rm -rf src target/release/kenyon* target/release/deps/*kenyon* target/release/.fingerprint/kenyon-*
COPY migrations migrations
COPY static static
COPY crates crates
COPY src src
RUN cargo build --release --locked --bin kenyon

FROM debian:bookworm-slim
# The base image decides the versions; pinning one would break with its next update.
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin kenyon \
 && install -d -o kenyon -g kenyon /data
COPY --from=build /build/target/release/kenyon /usr/local/bin/kenyon
COPY LICENSE /usr/share/doc/kenyon/LICENSE
USER 10001
VOLUME /data
# Inside a container the server is reached from outside it: set KENYON_MASTER_KEY, or KENYON_INSECURE=true
# where the network is trusted. The root file system may be read-only; only /data is written.
ENV KENYON_LISTEN=0.0.0.0:8080 KENYON_GRPC_LISTEN=0.0.0.0:8081 KENYON_DATA_DIR=/data TMPDIR=/data
EXPOSE 8080 8081
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["kenyon", "health"]
ENTRYPOINT ["kenyon"]
CMD ["serve"]
