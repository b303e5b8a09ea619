# docker build --build-arg VERSION="$(git describe --tags --always)" --build-arg REVISION="$(git rev-parse --short=12 HEAD)" -t cloudidq .
# docker run --rm cloudidq demo
#
# A worker may take worker.shutdown_timeout (20s) to stop, Docker kills after 10: docker stop --time 30.

FROM --platform=$BUILDPLATFORM golang:1.26 AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG VERSION=dev
ARG REVISION=unknown
ARG TARGETOS
ARG TARGETARCH
# No VCS stamp: .git is not in the context.
RUN CGO_ENABLED=0 GOOS=$TARGETOS GOARCH=$TARGETARCH \
    go build -trimpath -buildvcs=false -ldflags "-s -w -X main.version=$VERSION -X main.revision=$REVISION" -o /out/cloudidq ./cmd/cloudidq

# No shell and no package manager; it holds the root certificates that TLS to WeChat needs.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/cloudidq /usr/local/bin/cloudidq
USER nonroot:nonroot
LABEL org.opencontainers.image.title="cloudidq" \
      org.opencontainers.image.description="Exchanges WeChat cloudIDs for their open data, in the background" \
      org.opencontainers.image.licenses="MIT"
EXPOSE 8080 9090
# Of api, worker and serve; the binary asks its own ops listener.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["/usr/local/bin/cloudidq", "healthcheck"]
ENTRYPOINT ["/usr/local/bin/cloudidq"]
