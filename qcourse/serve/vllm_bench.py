"""vLLM's own load test, `vllm bench serve`, on a server of ours, side by side with `loadtest`."""

import json
import os
import secrets
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from qcourse.common import QCourseError
from qcourse.serve.loadtest import loadtest
from qcourse.serve.vllm_install import find_vllm

if TYPE_CHECKING:
    from qcourse.serve.vllm_server import VLLMServer

# The command line proper asks for a distribution named "vllm", which the CPU build is not.
BENCH = (
    "import argparse; from vllm.benchmarks.serve import add_cli_args, main; "
    "parser = argparse.ArgumentParser(); add_cli_args(parser); main(parser.parse_args())"
)


def bench_serve(server: "VLLMServer", concurrency: int, n_requests: int, prompt_tokens: int,
                new_tokens: int) -> dict[str, float]:  # fmt: skip
    """Return the result of `vllm bench serve` in a closed loop: output_throughput, median_ttft_ms...

    Its prompts are random ids of a seed of their own, so that no prefix is cached.
    Raises QCourseError with its last line if it fails, or if requests do.
    """
    with tempfile.TemporaryDirectory() as folder:
        command = [
            str(find_vllm().python), "-c", BENCH, "--base-url", server.url, "--model", server.model,
            "--tokenizer", str(server.path), "--dataset-name", "random", "--seed", str(secrets.randbits(31)),
            "--random-input-len", str(prompt_tokens), "--random-output-len", str(new_tokens),
            "--num-prompts", str(n_requests), "--max-concurrency", str(concurrency), "--num-warmups", "2",
            "--ignore-eos", "--disable-tqdm", "--save-result", "--result-dir", folder,
            "--result-filename", "bench.json",
        ]  # fmt: skip
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        environment |= {"OPENAI_API_KEY": server.api_key or "none", "HF_HUB_OFFLINE": "1"}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        try:
            found = json.loads((Path(folder) / "bench.json").read_text())
        except OSError:
            last = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()[-1]
            raise QCourseError(f"vllm bench serve ended with code {done.returncode}: {last[:300]}") from None
    if found["completed"] != n_requests:
        raise QCourseError(f"vllm bench serve: only {found['completed']} of {n_requests} requests succeeded")
    return found


def side_by_side(server: "VLLMServer", concurrency: int = 4, n_requests: int = 32, prompt_tokens: int = 64,
                 new_tokens: int = 32) -> dict[str, tuple[float, float]]:  # fmt: skip
    """Return {measure: (by `loadtest`, by `vllm bench serve`)} of the same load on the same server.

    Measures: output tokens/s and the medians of TTFT, TPOT and ITL in ms. QCourseError if requests fail.
    """
    theirs = bench_serve(server, concurrency, n_requests, prompt_tokens, new_tokens)
    ours = loadtest(
        server.url, concurrency, n_requests, prompt_tokens=prompt_tokens, new_tokens=new_tokens,
        model=server.model, api_key=server.api_key,
    )  # fmt: skip
    if ours.errors:
        raise QCourseError(f"{ours.failed} of {n_requests} requests failed: {next(iter(ours.errors))}")
    found = {"output tokens/s": (ours.output_tokens_per_second, theirs["output_throughput"])}
    for name in ("ttft", "tpot", "itl"):
        found[f"median {name.upper()}, ms"] = (1000 * getattr(ours, name)["p50"], theirs[f"median_{name}_ms"])
    return found
