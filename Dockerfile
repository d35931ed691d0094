# A small image with the server, run as a user without rights.
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin pinnersage

FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /src/target/release/pinnersage /usr/local/bin/pinnersage
EXPOSE 50051 9464
ENTRYPOINT ["pinnersage"]
CMD ["serve", "--catalog", "/data/catalog", "--profiles", "/data/profiles", \
     "--listen", "0.0.0.0:50051", "--ops-listen", "0.0.0.0:9464"]
