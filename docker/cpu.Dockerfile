# marsgen and segmenter without a GPU:
#   docker build -f docker/cpu.Dockerfile -t marsgen:cpu .
#   docker run --rm -v "$PWD:/data" --user "$(id -u):$(id -g)" marsgen:cpu marsgen inspect --data my_data
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
RUN python -m venv /opt/marsgen
ENV PATH=/opt/marsgen/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
COPY constraints.txt ./
# torch without CUDA's libraries, from its own index; first, so that a change of this project does not load it again
RUN grep -E '^torch(vision)?==' constraints.txt > torch.txt \
    && pip install --no-deps --index-url https://download.pytorch.org/whl/cpu -r torch.txt
COPY pyproject.toml README.md LICENSE ./
COPY configs configs
COPY marsgen marsgen
COPY segmenter segmenter
RUN pip install -c constraints.txt ".[imagenet,export]"

FROM python:3.11-slim-bookworm
RUN useradd --create-home --uid 1000 marsgen
COPY --from=build /opt/marsgen /opt/marsgen
# folders that every user may write into: --user need not be known here
ENV PATH=/opt/marsgen/bin:$PATH PYTHONUNBUFFERED=1 MARSGEN_CACHE=/tmp/marsgen MPLCONFIGDIR=/tmp/matplotlib
USER 1000
WORKDIR /data
CMD ["marsgen", "--help"]
