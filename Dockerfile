# For the CPU, or with --build-arg TORCH=cu128 for CUDA: docker build -t optimizers . && docker run --rm optimizers search
FROM python:3.13-slim

ARG TORCH=cpu
# The compiler is for kernels that are built at first use.
RUN apt-get update \
    && apt-get install -y --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*
RUN pip install --no-cache-dir torch torchvision --index-url "https://download.pytorch.org/whl/${TORCH}"

WORKDIR /evoopt
COPY pyproject.toml README.md LICENSE ./
COPY evoopt evoopt
COPY search_spaces search_spaces
RUN pip install --no-cache-dir '.[tensorboard]'

RUN useradd --create-home evoopt \
    && install -d -o evoopt -g evoopt /home/evoopt/runs /home/evoopt/data
USER evoopt
# Runs, and data sets, are kept where the caller mounts these.
WORKDIR /home/evoopt
ENV EVOOPT_DATA=/home/evoopt/data
VOLUME ["/home/evoopt/runs", "/home/evoopt/data"]

ENTRYPOINT ["evoopt"]
CMD ["--help"]
