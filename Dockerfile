# Build: dependencies first, so that a change of the source does not compile them again.
FROM rust:1.95-bookworm AS build
# The time in the program, which the allocator's source writes into it, and of the files in the image.
ARG SOURCE_DATE_EPOCH=0
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
# With the book at /docs/book where `mdbook build docs` has rendered it before.
COPY docs docs
RUN cargo build --release --locked --bin kenyon

# What the image adds to its base, in one tree, so that every file and folder in it has a time of its own choice: the same program gives
# the same layer (see “The same image again” in the documentation of deployment).
FROM debian:bookworm-slim AS files
ARG SOURCE_DATE_EPOCH=0
# Authorities for `s3://`, webhooks and traces. Nothing is installed, so the image needs no package mirror and is small.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /given/etc/ssl/certs/ca-certificates.crt
COPY --from=build /build/target/release/kenyon /given/usr/local/bin/kenyon
COPY LICENSE /given/usr/share/doc/kenyon/LICENSE
# A new tree: the time of a folder that is there already is no change to the engine. Folders after what is in them, which changes their time.
RUN cp -r /given /files && find /files -depth -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +

FROM debian:bookworm-slim
ARG SOURCE_DATE_EPOCH=0
# `useradd` would write today's date and copies of what it changes.
RUN echo 'kenyon:x:10001:10001::/data:/usr/sbin/nologin' >>/etc/passwd && echo 'kenyon:x:10001:' >>/etc/group \
 && install -d -o 10001 -g 10001 /data && touch -d "@$SOURCE_DATE_EPOCH" /etc /etc/passwd /etc/group /data
COPY --from=files /files/ /
ARG VERSION=0.2.0 REVISION=unknown
LABEL org.opencontainers.image.title="Kenyon" \
      org.opencontainers.image.description="A self-hosted learning server" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION"
USER 10001
VOLUME /data
# Inside a container the server is reached from outside it: set KENYON_MASTER_KEY, or KENYON_INSECURE=true
# where the network is trusted. The root file system may be read-only; only /data is written. Probes and metrics have an
# address of their own, inside the container alone unless it is set otherwise: it answers the health check of
# `serve` and `worker`, with TLS and without.
ENV KENYON_LISTEN=0.0.0.0:8080 KENYON_GRPC_LISTEN=0.0.0.0:8081 KENYON_METRICS_LISTEN=127.0.0.1:8082 \
    KENYON_DATA_DIR=/data TMPDIR=/data
EXPOSE 8080 8081
HEALTHCHECK --interval=10s --timeout=4s --start-period=5s CMD ["kenyon", "health"]
ENTRYPOINT ["kenyon"]
CMD ["serve"]
