# $name in vLLM, on this machine's own address alone; the model's folder is mounted, not copied:
#   docker build --tag $label --file THIS_FILE .
#   docker run --rm --gpus all --network host --ipc host --env API_KEY \
#       --volume $folder:/models/$name:ro $label
FROM vllm/vllm-openai:v0.32.0
ENV HOME=/tmp LOGNAME=server HF_HUB_OFFLINE=1 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1
USER 1000
HEALTHCHECK --start-period=10m --interval=30s --timeout=10s CMD $probe
ENTRYPOINT []
CMD $command
