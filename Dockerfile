# syntax=docker/dockerfile:1
# Two images: the server (the default), which has no shell, and with --target batch
# the daily batch, which needs one for the names of its files and today's date.
# Neither has the commands of the feature `evaluation`.

FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
# Features of the server beside the default image, such as "kafka", "kafka-tls" or "otlp".
ARG PINNERSAGE_FEATURES=""
# What librdkafka is compiled with, in images that have it.
# hadolint ignore=DL3008
RUN case "$PINNERSAGE_FEATURES" in *kafka*) \
        apt-get update \
        && apt-get install -y --no-install-recommends g++ libssl-dev make pkg-config \
        && rm -rf /var/lib/apt/lists/* ;; \
    esac
# Dependencies are compiled with an empty program, in a layer that stays until a
# manifest or a proto changes. Cargo wants a file for each bench of the manifest.
COPY Cargo.toml Cargo.lock build.rs ./
COPY proto proto
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    mkdir src benches \
    && sed -n '/^\[\[bench\]\]/,/^name/s|^name = "\(.*\)"|benches/\1.rs|p' Cargo.toml >benches/files \
    && xargs touch <benches/files \
    && echo 'fn main() {}' >src/main.rs && touch src/lib.rs \
    && cargo build --release --locked --no-default-features --features "$PINNERSAGE_FEATURES" --bin pinnersage
# The settings are part of the binary.
COPY deploy/config/pinnersage.toml deploy/config/
COPY src src
ARG PINNERSAGE_GIT_SHA
# COPY keeps the times of the files: older than the empty program, they would not be
# compiled.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    touch src/main.rs src/lib.rs \
    && cargo build --release --locked --no-default-features --features "$PINNERSAGE_FEATURES" --bin pinnersage \
    && mkdir -p /empty

FROM gcr.io/distroless/cc-debian12:debug-nonroot AS batch
COPY --from=build /src/target/release/pinnersage /usr/local/bin/
COPY --from=build --chown=65532:65532 /empty /data
COPY deploy/batch.sh /usr/local/bin/
USER 65532:65532
ENTRYPOINT ["/busybox/sh", "/usr/local/bin/batch.sh"]

FROM gcr.io/distroless/cc-debian12:nonroot AS server
COPY --from=build /src/target/release/pinnersage /usr/local/bin/
# A new volume takes its owner from here, and nothing else is written to: the root
# may be read-only, and /data too where only the batch writes.
COPY --from=build --chown=65532:65532 /empty /data
COPY --from=build --chown=65532:65532 /empty /var/lib/pinnersage
# A number, for Kubernetes cannot tell from a name that it is not root.
USER 65532:65532
EXPOSE 50051 9464
HEALTHCHECK --interval=5s --timeout=2s --start-period=60s --retries=3 \
    CMD ["pinnersage", "health", "--server", "http://127.0.0.1:50051"]
ENTRYPOINT ["pinnersage"]
CMD ["serve", "--catalog", "/data/catalog", "--profiles", "/data/profiles", \
     "--listen", "0.0.0.0:50051", "--ops-listen", "0.0.0.0:9464"]
