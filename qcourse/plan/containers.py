"""An artefact behind a server in a container: a Dockerfile and a Kubernetes manifest around its launch line.

The templates are data/serving/*. As everywhere the server binds 127.0.0.1 and asks for a key: Docker shares
the host's network, and Kubernetes probes inside the pod.
"""

import json
import re
from pathlib import Path
from string import Template

from qcourse.common import data_folder
from qcourse.plan.launch import launch, name_without_spaces
from qcourse.plan.templates import gguf_context

PROBE = (
    "import os, urllib.request as web; web.urlopen(web.Request('http://127.0.0.1:{port}/v1/models', "
    "headers={{'Authorization': 'Bearer ' + os.environ['API_KEY']}}), timeout=9)"
)
SPARE = 4  # GiB beside twice the weights, which pass through the host's memory on their way to a device


def containers(path: Path, form: str, size: int, context: int = 4096, gpus: int = 1,
               port: int = 8000) -> dict[str, str]:  # fmt: skip
    """Return {"Dockerfile": text, "kubernetes.yaml": text} for an artefact of format `form` and `size` bytes.

    GGUF files are served by llama.cpp on the CPU, folders by vLLM on `gpus` devices.
    Raises QCourseError for a format that vLLM does not read.
    """
    server = "llama-cpp-python" if form == "gguf" else "vllm"
    name = name_without_spaces(path)
    inside = f"/models/{name}" if path.is_dir() else f"/models/{name}/{path.name}"
    context = min(context, gguf_context(path) or context)
    line = launch(server, inside, form, context, gpus=gpus, port=port).command
    values = {
        "name": name,
        "label": re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:63],
        "folder": path if path.is_dir() else path.parent,
        "command": json.dumps(["sh", "-c", f"exec {line}"]),
        "probe": json.dumps(["python3", "-c", PROBE.format(port=port)]),
        "memory": SPARE + -(-2 * size // 2**30),
        "gpus": gpus if server == "vllm" else 0,
        "port": port,
    }
    files = {"Dockerfile": f"{server}.Dockerfile", "kubernetes.yaml": "kubernetes.yaml"}
    return {made: Template((data_folder() / "serving" / file).read_text(encoding="utf-8")).substitute(values)
            for made, file in files.items()}  # fmt: skip
