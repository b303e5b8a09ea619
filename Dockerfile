# docker build --build-arg VERSION="$(git describe --tags --always)" --build-arg REVISION="$(git rev-parse --short=12 HEAD)" -t cloudidq .
# docker run --rm cloudidq demo
#
# A worker stops within worker.shutdown_timeout (20s), but Docker kills it after 10s. Stop it with
# docker stop --time 30.

FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
ARG REVISION=unknown
ARG TARGETOS
ARG TARGETARCH
# There is no VCS stamp, because .git is not in the build context.
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$VERSION -X main.revision=$REVISION" -o /out/cloudidq ./cmd/cloudidq

# The base image has no shell and no package manager, but the root certificates for TLS to WeChat.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/cloudidq /usr/local/bin/cloudidq
USER nonroot:nonroot
LABEL org.opencontainers.image.title="cloudidq" \
      org.opencontainers.image.description="Resolves WeChat cloudIDs in the background" \
      org.opencontainers.image.licenses="MIT"
EXPOSE 8080 9090
# Applies to api, worker and serve. The binary queries its own ops listener.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["/usr/local/bin/cloudidq", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/cloudidq"]
