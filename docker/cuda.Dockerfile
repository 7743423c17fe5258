# marsgen and segmenter on NVIDIA GPUs; the host needs a driver for CUDA 13 and the NVIDIA Container Toolkit:
#   docker build -f docker/cuda.Dockerfile -t marsgen:cuda .
#   docker run --rm --gpus all --shm-size 2g -v "$PWD:/data" --user "$(id -u):$(id -g)" marsgen:cuda marsgen doctor
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/marsgen
ENV PATH=/opt/marsgen/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY constraints.txt ./
# torch's wheels bring CUDA with them, so the image needs none; first, so that a change of this project does not load
# them again
RUN grep -E '^torch(vision)?==' constraints.txt > torch.txt \
    && pip install -c constraints.txt -r torch.txt
COPY pyproject.toml README.md LICENSE ./
COPY configs configs
COPY marsgen marsgen
COPY segmenter segmenter
RUN pip install -c constraints.txt ".[imagenet,export]"

FROM python:3.11-slim-bookworm
RUN useradd --create-home --uid 1000 marsgen
COPY --from=build /opt/marsgen /opt/marsgen
# folders that every user may write into: --user need not be known here
ENV PATH=/opt/marsgen/bin:$PATH PYTHONUNBUFFERED=1 MARSGEN_CACHE=/tmp/marsgen MPLCONFIGDIR=/tmp/matplotlib \
    NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 1000
WORKDIR /data
CMD ["marsgen", "--help"]
