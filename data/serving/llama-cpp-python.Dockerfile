# $name in llama.cpp, on this machine's own address alone; the model's folder is mounted, not copied:
#   docker build --tag $label --file THIS_FILE .
#   docker run --rm --network host --env API_KEY --volume $folder:/models/$name:ro $label
FROM python:3.11-slim AS build
RUN apt-get update && apt-get install --yes --no-install-recommends build-essential cmake
RUN pip wheel --no-cache-dir --wheel-dir /wheels 'llama-cpp-python[server]==0.3.36'

FROM python:3.11-slim
RUN apt-get update && apt-get install --yes --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
RUN --mount=from=build,source=/wheels,target=/wheels \
    pip install --no-cache-dir --no-index --find-links /wheels 'llama-cpp-python[server]==0.3.36'
USER 1000
HEALTHCHECK --start-period=2m --interval=30s --timeout=10s CMD $probe
CMD $command
