# syntax=docker/dockerfile:1
# docker build --target runtime -t img2img:cuda .                          serve, translate: no torch
# docker build --target runtime --build-arg DEVICE=cpu -t img2img:cpu .    smaller, for processors alone
# docker build --target train -t img2img:train-cuda .                      train, export
# How to use them: docs/tasks/containers.md

# Its Debian is part of the name, since what apt-get installs follows it.
ARG PYTHON=python:3.13-slim-trixie

FROM ${PYTHON} AS build
WORKDIR /src
COPY constraints.txt ./
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --root-user-action ignore -c constraints.txt hatchling
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY examples/emoji/NOTICE.md examples/emoji/LICENSE-Apache-2.0 examples/emoji/
COPY examples/earth/NOTICE.md examples/earth/
COPY examples/quickstart examples/quickstart
COPY weights weights
COPY img2img img2img
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /wheels .

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
WORKDIR /data
ENTRYPOINT ["tini", "--", "img2img"]
CMD ["--help"]

FROM base AS runtime
ARG DEVICE=cuda
ARG EXTRAS="serve tile formats"
# What changes seldom is a layer of its own.
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=bind,source=pyproject.toml,target=/src/pyproject.toml \
    --mount=type=bind,source=constraints.txt,target=/src/constraints.txt \
    --mount=type=bind,source=deploy/requirements.py,target=/src/deploy/requirements.py \
    python /src/deploy/requirements.py "$DEVICE" $EXTRAS > /opt/img2img/requirements.txt \
    && pip install -c /src/constraints.txt -r /opt/img2img/requirements.txt
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-deps /wheels/*.whl
COPY deploy/healthcheck.py /opt/img2img/healthcheck.py
USER 1000:1000
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "/opt/img2img/healthcheck.py"]

FROM base AS train
# Triton, which compiles networks on GPUs, needs a C compiler.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends gcc libc6-dev \
    && rm -rf /var/lib/apt/lists/*
ARG DEVICE=cuda
ARG EXTRAS="train eval tile formats"
RUN --mount=type=cache,target=/root/.cache/pip \
    --mount=type=bind,source=pyproject.toml,target=/src/pyproject.toml \
    --mount=type=bind,source=constraints.txt,target=/src/constraints.txt \
    --mount=type=bind,source=deploy/requirements.py,target=/src/deploy/requirements.py \
    python /src/deploy/requirements.py "$DEVICE" $EXTRAS > /opt/img2img/requirements.txt \
    && pip install -c /src/constraints.txt -r /opt/img2img/requirements.txt
RUN --mount=type=bind,from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-deps /wheels/*.whl
USER 1000:1000
