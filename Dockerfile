# osteon's server with ONNX Runtime (CPU) and the bundled model.
#
#   docker build -t osteon .
#   docker run --read-only -p 8080:8080 -v osteon-data:/data osteon
#
# Base images are arguments, so that a site can name its own mirror.
ARG RUST_IMAGE=rust:1.95-slim-bookworm
ARG PYTHON_IMAGE=python:3.12-slim-bookworm
ARG BASE_IMAGE=debian:bookworm-slim

# ---- the server
FROM ${RUST_IMAGE} AS build
WORKDIR /build
COPY Cargo.toml Cargo.lock build.rs ./
COPY crates crates
COPY src src
# The caches live outside the image's layers; with a builder that knows no cache mounts, they are ordinary folders.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --release --locked --bin osteon \
    && cp target/release/osteon /osteon

# ---- ONNX Runtime, by the same pinned and checked download as on a developer's machine
FROM ${PYTHON_IMAGE} AS onnxruntime
WORKDIR /fetch
COPY scripts scripts
RUN OSTEON_CACHE=/fetch/cache scripts/fetch-onnxruntime > path \
    && cp "$(cat path)" /libonnxruntime.so

# ---- what is shipped
FROM ${BASE_IMAGE}
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="osteon" \
      org.opencontainers.image.description="Inference server for radiographs: DICOM in, a score or a coded refusal out" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.vendor="The osteon authors" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"

# A number and not a name, so that Kubernetes can see that it is not root. The chart uses the same one.
RUN install -d -o 65532 -g 65532 -m 0750 /data
COPY --from=onnxruntime --chmod=0644 /libonnxruntime.so /usr/local/lib/osteon/libonnxruntime.so
COPY LICENSE /usr/local/share/doc/osteon/LICENSE
COPY models /models
COPY --from=build /osteon /usr/local/bin/osteon
# whose certificates count, for buckets, databases and destinations; SSL_CERT_FILE names another file
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt

ENV OSTEON_LISTEN=0.0.0.0:8080 \
    OSTEON_MODELS=/models \
    OSTEON_DATA=/data \
    ORT_DYLIB_PATH=/usr/local/lib/osteon/libonnxruntime.so
USER 65532:65532
WORKDIR /data
EXPOSE 8080 11112
# Studies and the database. /models is no volume: it would keep serving an old release's models after an upgrade;
# mount your own models over it.
VOLUME ["/data"]
# No HEALTHCHECK: Kubernetes ignores it and asks /health/live and /health/ready itself, as any other supervisor can,
# and the image has no HTTP client to ask with.
ENTRYPOINT ["osteon"]
CMD ["serve"]
