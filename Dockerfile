# One static program, the authorities that it trusts, and nothing else. `deploy/image build TAG`
# builds it, with labels; by hand: podman build --format docker . (OCI's has no HEALTHCHECK).

# What it is built with. deploy/image takes the digest that this has now, or the one that
# `deploy/image pin` has written here.
ARG RUST_IMAGE=docker.io/library/rust:1.95.0-slim-bookworm

FROM ${RUST_IMAGE} AS dependencies
# What it writes into the program is read by cargo audit.
RUN command -v cargo-auditable || cargo install --locked cargo-auditable@0.7.7
WORKDIR /build
# Crates change seldom and take the longest: a layer of their own, made with a program that does
# nothing. Cargo asks for the files that its manifest names.
COPY Cargo.toml Cargo.lock ./
COPY deploy/binary deploy/
RUN mkdir -p benches src tests/load \
    && touch benches/scan.rs src/lib.rs tests/load/run.rs \
    && printf '//! Nothing yet.\nfn main() {}\n' >src/main.rs \
    && deploy/binary

FROM dependencies AS build
COPY build.rs ./
COPY config config
COPY src src
ARG DECODER_COMMIT
# They may be older than what was made of the files that they replace, and Cargo looks at no more.
RUN find build.rs src -exec touch {} + \
    && install -D "$(deploy/binary)" /image/usr/local/bin/blueprint-decoder \
    && install -D -m 644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt

FROM scratch
ARG VERSION=0.0.0
ARG REVISION=unknown
ARG SOURCE=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="blueprint-decoder" \
      org.opencontainers.image.description="Finds the marked fragments in documents you do not control, within declared bounds" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      org.opencontainers.image.created="${CREATED}"
COPY --from=build /image /
# A number, so that Kubernetes sees that it is not root.
USER 65532:65532
EXPOSE 8080
# It needs DECODER_CONFIG, where the service has its configuration from a file.
HEALTHCHECK --interval=10s --timeout=5s --start-period=5s --retries=3 \
    CMD ["/usr/local/bin/blueprint-decoder", "health"]
ENTRYPOINT ["/usr/local/bin/blueprint-decoder"]
