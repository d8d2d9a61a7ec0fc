# One image per service: docker build --target ingest|serve|infer|tool .
#
# Where these images can't be pulled, build with the local ones of internal/containers/build-images.sh:
# --build-arg GO_IMAGE=onehop-local/builder --build-arg PYTHON_IMAGE=onehop-local/builder
# --build-arg RUNTIME_IMAGE=onehop-local/runtime
ARG GO_IMAGE=golang:1.26-bookworm
ARG PYTHON_IMAGE=python:3.12-slim-bookworm
# With glibc and libstdc++, which ONNX Runtime needs.
ARG RUNTIME_IMAGE=debian:12-slim

FROM ${GO_IMAGE} AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
# cgo: ONNX Runtime is loaded through it.
RUN CGO_ENABLED=1 GOFLAGS=-buildvcs=false go build -trimpath -ldflags='-s -w' -o /out/ \
    ./cmd/ingest ./cmd/serve ./cmd/infer ./cmd/onehop

FROM ${PYTHON_IMAGE} AS onnxruntime
ARG ONNXRUNTIME_VERSION=1.30.0
WORKDIR /wheel
RUN pip download --no-deps --only-binary=:all: "onnxruntime==${ONNXRUNTIME_VERSION}" \
    && python3 -m zipfile -e onnxruntime-*.whl . \
    && mkdir /out \
    && cp onnxruntime/capi/libonnxruntime.so.* /out/libonnxruntime.so.1 \
    && cp onnxruntime/LICENSE /out/ONNXRUNTIME-LICENSE

FROM ${RUNTIME_IMAGE} AS base
USER root
RUN getent passwd onehop >/dev/null || useradd --uid 65532 --user-group --no-create-home onehop
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/onehop /usr/local/bin/onehop
# What a service keeps between starts, such as snapshots; writable by its user when a volume is mounted here.
RUN install -d -o onehop -g onehop /var/lib/onehop
WORKDIR /var/lib/onehop
USER onehop

FROM base AS tool
ENTRYPOINT ["/usr/local/bin/onehop"]

FROM base AS ingest
COPY --from=build /out/ingest /usr/local/bin/ingest
ENV ONEHOP_ADMIN_LISTEN=:8083
EXPOSE 8083
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=6 \
    CMD ["/usr/local/bin/onehop", "health", "http://127.0.0.1:8083/readyz"]
ENTRYPOINT ["/usr/local/bin/ingest"]

FROM base AS serve
COPY --from=build /out/serve /usr/local/bin/serve
ENV ONEHOP_LISTEN=:8081 \
    ONEHOP_ADMIN_LISTEN=:9081
EXPOSE 8081 9081
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=6 \
    CMD ["/usr/local/bin/onehop", "health", "http://127.0.0.1:8081/readyz"]
ENTRYPOINT ["/usr/local/bin/serve"]

FROM base AS infer
USER root
COPY --from=onnxruntime /out/ /usr/lib/onnxruntime/
# A library that misses another must fail here and not at the first request.
RUN ln -s onnxruntime/libonnxruntime.so.1 /usr/lib/libonnxruntime.so.1 \
    && ! ldd /usr/lib/libonnxruntime.so.1 | grep 'not found'
USER onehop
COPY --from=build /out/infer /usr/local/bin/infer
ENV ONEHOP_LISTEN=:8082 \
    ONEHOP_ADMIN_LISTEN=:9082 \
    ONEHOP_ONNXRUNTIME=/usr/lib/libonnxruntime.so.1 \
    ONEHOP_MODELS=/models
EXPOSE 8082 9082
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=6 \
    CMD ["/usr/local/bin/onehop", "health", "http://127.0.0.1:8082/readyz"]
ENTRYPOINT ["/usr/local/bin/infer"]
