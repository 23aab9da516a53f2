# The operator as a static program on an image with nothing else but certificates and time zones.
FROM rust:1-alpine AS build
# jemalloc is built with it.
RUN apk add --no-cache make
WORKDIR /src
# Dependencies are a layer of their own: it is built again only when they change.
COPY .cargo .cargo
COPY Cargo.toml Cargo.lock ./
# Cargo reads the manifests of all members of the workspace, whatever it builds.
COPY tests/support/Cargo.toml tests/support/
RUN mkdir src && touch src/lib.rs && echo 'fn main() {}' >src/main.rs && \
    cargo build --release --locked --bin enclave-operator
COPY src src
# Cargo goes by time, and what is copied may be older than the stand-ins above.
RUN touch src/lib.rs src/main.rs && cargo build --release --locked --bin enclave-operator

FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /src/target/release/enclave-operator /enclave-operator
# By number, so that Kubernetes can tell that it is not root.
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["/enclave-operator"]
