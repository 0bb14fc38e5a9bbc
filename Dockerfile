# docker build -t optimizers . && docker run --rm optimizers search
# torch as it comes from the package index runs with CUDA and without; for its smaller builds for the CPU alone give
# --build-arg TORCH_INDEX= the address that pytorch.org's installation page shows.
FROM python:3.13-slim

ARG TORCH_INDEX
# The compiler is for kernels that are built at first use.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
# hadolint ignore=DL3013
RUN pip install --no-cache-dir torch torchvision ${TORCH_INDEX:+--index-url "$TORCH_INDEX"}

WORKDIR /evoopt
COPY pyproject.toml README.md LICENSE ./
COPY evoopt evoopt
COPY search_spaces search_spaces
# hadolint ignore=DL3013
RUN pip install --no-cache-dir '.[tensorboard]'

RUN useradd --create-home --uid 1000 evoopt \
    && install -d -o evoopt -g evoopt /home/evoopt/runs /home/evoopt/data
USER 1000
# Runs, and data sets, are kept where the caller mounts these.
WORKDIR /home/evoopt
ENV EVOOPT_DATA=/home/evoopt/data
VOLUME ["/home/evoopt/runs", "/home/evoopt/data"]

ENTRYPOINT ["evoopt"]
CMD ["--help"]
