# docker build -t tsirius:cpu .                 the server and every command, without torch
# docker build -t tsirius:gpu --target gpu .    with torch: fine-tuning and models from the hub
# docker run --rm -v "$PWD:/work" tsirius:cpu run shop.toml
FROM python:3.11-slim AS wheel
WORKDIR /source
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY src src
RUN python -m pip wheel --no-cache-dir --no-deps --wheel-dir /wheel .

FROM python:3.11-slim AS base
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN useradd --uid 10001 --create-home tsirius
WORKDIR /work
ENTRYPOINT ["tsirius"]
CMD ["--help"]

FROM base AS gpu
# Torch's wheels bring the libraries of CUDA; the host brings the driver.
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    --mount=type=bind,source=constraints.txt,target=/constraints.txt \
    python -m pip install -c /constraints.txt "$(echo /wheel/*.whl)[export,folders,gpu,serve]"
USER 10001:10001

FROM base AS cpu
RUN --mount=type=bind,from=wheel,source=/wheel,target=/wheel \
    --mount=type=bind,source=constraints.txt,target=/constraints.txt \
    python -m pip install -c /constraints.txt "$(echo /wheel/*.whl)[folders,serve]"
USER 10001:10001
