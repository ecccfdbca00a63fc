# syntax=docker/dockerfile:1

# The toolchain of rust-toolchain.toml, which is not copied: rustup would fetch clippy and rustfmt.
FROM rust:1.95-alpine AS build
# For ring's C and assembly. Not pinned: the base image's release holds the versions.
# hadolint ignore=DL3018
RUN apk add --no-cache ca-certificates gcc musl-dev
WORKDIR /src
COPY . .
# What `--version` tells; there is no repository in here.
ARG REVISION=unknown
ARG SOURCE_DATE_EPOCH
# On Alpine the target is musl, linked statically.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    PODREFRESH_REVISION="${REVISION}" cargo build --release --locked --bin podrefresh \
    && cp target/release/podrefresh /podrefresh

FROM scratch
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="podrefresh" \
      org.opencontainers.image.description="Keeps Kubernetes pods on the image their tag names now, within PodDisruptionBudgets" \
      org.opencontainers.image.source="https://github.com/podrefresh/podrefresh" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Registries are verified against the public roots.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /podrefresh /podrefresh
# A number, so that `runAsNonRoot` can be checked without a passwd file.
USER 65532:65532
EXPOSE 8443 8080
ENTRYPOINT ["/podrefresh"]
CMD ["controller"]
