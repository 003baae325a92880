"""How vLLM is started as its own process: `serve.vllm(folder)`, its options and environment."""

import os
from pathlib import Path

from qcourse.common import cache_folder, read_config
from qcourse.common.gguf_files import served_name
from qcourse.serve.keys import chosen_key
from qcourse.serve.ports import HOST, choose_port
from qcourse.serve.process import ServerProcess
from qcourse.serve.vllm_adapter import adapter_options
from qcourse.serve.vllm_install import check_machine, check_recipe, find_vllm
from qcourse.serve.vllm_server import VLLMServer

LONGEST = 2048
INSIDE = Path(__file__).with_name("inside_vllm")
FIXED_OPTIONS = (
    "--enforce-eager", "--max-logprobs", "-1", "--generation-config", "vllm",
    "--middleware", "log_probabilities.LogProbabilities",
)  # fmt: skip


def vllm(
    path: Path | str,
    kv_cache_dtype: str = "auto",
    port: int | None = None,
    max_model_len: int | None = None,
    *,
    dtype: str = "bfloat16",
    kv_space: int = 1,
    threads: int | None = None,
    adapter: Path | str | None = None,
    extra: tuple[str, ...] = (),
    api_key: str | None = None,
    timeout: float = 600,
    progress: bool = True,
) -> VLLMServer:
    """Start vLLM on a checkpoint folder and return the server once it answers; use it in a `with` block.

    max_model_len: default the model's context, at most 2,048; kv_space: GiB of KV cache on a CPU;
    threads: of the CPU build, default OMP_NUM_THREADS or all; adapter: a folder in peft's format, served
    unmerged beside the model; extra: further options of vLLM's own; api_key: default a random one, "" for
    none, which vLLM reads from its environment: other users of the machine see command lines.
    Raises QCourseError: no such folder, port taken, vLLM not installed, a CPU without the needed kernels,
    a recipe it cannot load, or an engine that dies while starting (with its own reason).
    """
    folder, install = Path(path).resolve(), find_vllm()
    config = read_config(folder)
    check_recipe(folder)
    check_machine(config, kv_cache_dtype, install)
    number = choose_port(port)
    length = max_model_len or min(LONGEST, config.get("max_position_embeddings", LONGEST))
    command = [
        str(install.python), "-m", "vllm.entrypoints.openai.api_server", *FIXED_OPTIONS,
        *options(folder, number, dtype, length, kv_cache_dtype), *adapter_options(adapter), *extra,
    ]  # fmt: skip
    log = cache_folder() / "logs" / f"vllm-{number}.log"
    key = chosen_key(api_key)
    process = ServerProcess("vLLM", command, environment(kv_space, threads) | {"VLLM_API_KEY": key}, log)
    tuned = None if adapter is None else Path(adapter).resolve()
    server = VLLMServer(folder, number, process, install, kv_cache_dtype, dtype, tuned, tuple(extra), key)
    return server.start(timeout, progress)


def options(folder: Path, port: int, dtype: str, length: int, kv_cache_dtype: str) -> list[str]:
    """Return vLLM's options for a checkpoint, on this machine's own address."""
    return [
        "--model", str(folder), "--served-model-name", served_name(folder),
        "--host", HOST, "--port", str(port), "--dtype", dtype,
        "--max-model-len", str(length), "--kv-cache-dtype", kv_cache_dtype,
    ]  # fmt: skip


def environment(kv_space: int, threads: int | None) -> dict[str, str]:
    """Return the engine's environment: offline, no usage reports, of our own Python path only inside_vllm.

    VLLM_ENABLE_V1_MULTIPROCESSING=0 lets the model run inside the engine's process instead of in a third
    one: on two cores the start takes 15 s instead of 24, and a token half as long. vLLM keeps them apart to
    bind the threads of OpenMP, which OMP_NUM_THREADS does for a whole process here.
    """
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "PYTHONHOME")}
    count = threads or int(os.environ.get("OMP_NUM_THREADS", 0)) or os.cpu_count()
    return kept | {
        "PYTHONPATH": str(INSIDE), "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "VLLM_CPU_KVCACHE_SPACE": str(kv_space), "VLLM_CPU_OMP_THREADS_BIND": "nobind",
        "OMP_NUM_THREADS": str(count), "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1",
    }  # fmt: skip
