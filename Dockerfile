# syntax=docker/dockerfile:1
# docker build --target runtime -t img2img .            translate, info: no torch
# docker build --target train   -t img2img:train .      train and export, too
# docker run --rm -v "$PWD:/data" img2img translate photos -o out -m flat-to-3d

FROM python:3.12-slim AS build
WORKDIR /src
COPY pyproject.toml hatch_build.py README.md LICENSE constraints.txt ./
COPY img2img img2img
COPY weights weights
COPY examples/quickstart examples/quickstart
COPY examples/emoji/NOTICE.md examples/emoji/LICENSE-Apache-2.0 examples/emoji/
COPY examples/earth/NOTICE.md examples/earth/
RUN pip install --no-cache-dir build==1.6.1 && python -m build --wheel --outdir /wheels

FROM python:3.12-slim AS base
# Not root: what is written to a mounted folder belongs to an ordinary user.
RUN useradd --create-home --uid 1000 img2img \
    && python -m venv /opt/img2img \
    && mkdir /data && chown img2img /data
ENV PATH=/opt/img2img/bin:$PATH PYTHONUNBUFFERED=1
COPY constraints.txt /tmp/constraints.txt

FROM base AS runtime
COPY --from=build /wheels /tmp/wheels
RUN wheel=$(ls /tmp/wheels/*.whl) && pip install --no-cache-dir -c /tmp/constraints.txt "$wheel"
USER 1000
WORKDIR /data
ENTRYPOINT ["img2img"]
CMD ["--help"]

FROM base AS train
COPY --from=build /wheels /tmp/wheels
RUN wheel=$(ls /tmp/wheels/*.whl) \
    && pip install --no-cache-dir -c /tmp/constraints.txt "${wheel}[train]"
USER 1000
WORKDIR /data
ENTRYPOINT ["img2img"]
CMD ["--help"]
