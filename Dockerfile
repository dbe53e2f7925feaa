# syntax=docker/dockerfile:1
# docker build --target runtime -t img2img:cuda .                          serve, translate: no torch
# docker build --target runtime --build-arg DEVICE=cpu -t img2img:cpu .    smaller, for processors alone
# docker build --target train -t img2img:train-cuda .                      train, export
# How to use them: docs/tasks/containers.md

# Its Debian is part of the name, since what apt-get installs follows it.
ARG PYTHON=python:3.13-slim-trixie

FROM ${PYTHON} AS base
# tini hands signals on: as the first process of a container, Python would not see them.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 img2img \
    && python -m venv /opt/img2img \
    && mkdir /data \
    && chown img2img:img2img /data
# Programs that keep something at home, or ask for the user's name, work with a read-only root and
# any --user, too.
ENV PATH=/opt/img2img/bin:$PATH HOME=/tmp USER=img2img PYTHONUNBUFFERED=1
COPY pyproject.toml constraints.txt /opt/img2img/
COPY deploy/requirements.py deploy/healthcheck.py /opt/img2img/deploy/
WORKDIR /data
ENTRYPOINT ["tini", "--", "img2img"]
CMD ["--help"]

FROM base AS build
WORKDIR /src
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install -c /opt/img2img/constraints.txt hatchling
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY examples/emoji/NOTICE.md examples/emoji/LICENSE-Apache-2.0 examples/emoji/
COPY examples/earth/NOTICE.md examples/earth/
COPY examples/photos/NOTICE.md examples/photos/
COPY examples/quickstart examples/quickstart
COPY weights weights
COPY img2img img2img
# The package alone, at its place below /package.
RUN pip install --no-cache-dir --no-deps --no-build-isolation --root /package .

FROM base AS runtime
ARG DEVICE=cuda
ARG EXTRAS="serve tile formats"
ARG TORCH_INDEX=""
# What changes seldom is a layer of its own.
RUN --mount=type=cache,target=/root/.cache/pip \
    python /opt/img2img/deploy/requirements.py "$DEVICE" $EXTRAS > /opt/img2img/requirements.txt \
    && pip install -c /opt/img2img/constraints.txt -r /opt/img2img/requirements.txt
COPY --from=build /package /
USER 1000:1000
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "/opt/img2img/deploy/healthcheck.py"]

FROM base AS train
# Triton, which compiles networks on GPUs, needs a C compiler.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
ARG DEVICE=cuda
ARG EXTRAS="train eval tile formats"
ARG TORCH_INDEX=""
RUN --mount=type=cache,target=/root/.cache/pip \
    python /opt/img2img/deploy/requirements.py "$DEVICE" $EXTRAS > /opt/img2img/requirements.txt \
    && pip install -c /opt/img2img/constraints.txt -r /opt/img2img/requirements.txt
COPY --from=build /package /
USER 1000:1000
