# syntax=docker/dockerfile:1
# docker build -t dip-lightning .
# docker run --rm -v "$PWD/data:/data:ro" -v "$PWD/runs:/runs" dip-lightning fit --config /app/configs/aseqdip_ct.yaml
#
# The torch of the registry brings its CUDA libraries along, so this image runs on a GPU as it is (--gpus all).
# To build on a CUDA base instead, name one that has Python 3.12: --build-arg BASE_IMAGE=...
ARG BASE_IMAGE=python:3.12-slim
FROM ${BASE_IMAGE}

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1 \
    MPLBACKEND=Agg

WORKDIR /app

# The lock file first: a change of the code does not download torch again. An environment of its own also works on
# base images whose system Python refuses pip.
COPY requirements.lock ./
RUN python3 -m venv /opt/venv && /opt/venv/bin/pip install --requirement requirements.lock
ENV PATH=/opt/venv/bin:$PATH

COPY pyproject.toml README.md LICENSE ./
COPY dip_lightning ./dip_lightning
COPY configs ./configs
RUN pip install --no-deps .

# With bind mounts, --user "$(id -u):$(id -g)" makes runs belong to you; home takes caches from any user.
RUN useradd --create-home --uid 1000 dip && chmod 1777 /home/dip && mkdir -p /data /runs && chown dip:dip /runs
USER dip
ENV DIP_LIGHTNING_DATA=/data \
    HOME=/home/dip
VOLUME ["/data", "/runs"]
WORKDIR /runs
ENTRYPOINT ["dip-lightning"]
CMD ["--help"]
