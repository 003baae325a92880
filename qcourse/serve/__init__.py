"""Serving artefacts with real engines, each in its own process: vLLM and llama.cpp, spoken to over HTTP."""

from qcourse.serve.connect import RemoteServer, connect
from qcourse.serve.drift import DriftMonitor, DriftReport
from qcourse.serve.llama_cpp_server import LlamaCppServer, llama_cpp
from qcourse.serve.load_figures import LoadTest, knee
from qcourse.serve.loadtest import loadtest
from qcourse.serve.metrics import Metrics, metrics
from qcourse.serve.server import Server
from qcourse.serve.vllm_bench import side_by_side
from qcourse.serve.vllm_install import find_vllm
from qcourse.serve.vllm_server import VLLMServer
from qcourse.serve.vllm_start import vllm

__all__ = [
    "DriftMonitor",
    "DriftReport",
    "LlamaCppServer",
    "LoadTest",
    "Metrics",
    "RemoteServer",
    "Server",
    "VLLMServer",
    "connect",
    "find_vllm",
    "knee",
    "llama_cpp",
    "loadtest",
    "metrics",
    "side_by_side",
    "vllm",
]
