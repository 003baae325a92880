"""The doctor: machines that are not this one, told apart by what they report."""

import json

import pytest

from qcourse.common import machine
from qcourse.doctor import cuda, examination, machine_checks

H100 = {"name": "NVIDIA H100 80GB HBM3", "memory_bytes": 80 * 2**30, "capability": "9.0", "driver": "570.1"}
T4 = {"name": "Tesla T4", "memory_bytes": 15 * 2**30, "capability": "7.5", "driver": "535.1"}


def named(findings, name):
    return next(finding for finding in findings if finding.name == name)


@pytest.mark.parametrize(
    ("flags", "avx512", "bf16"),
    [({"avx2"}, "limited", "limited"), ({"avx2", "avx512f", "avx512_bf16"}, "ok", "ok"),
     ({"asimd", "bf16"}, "limited", "ok")],
)  # fmt: skip
def test_cpu_features_decide_what_runs(monkeypatch, flags, avx512, bf16):
    monkeypatch.setattr(machine, "cpu_flags", lambda: frozenset(flags))
    found = machine_checks.examine_cpu()
    assert named(found, "AVX-512").state == avx512 and named(found, "bf16 arithmetic").state == bf16
    assert avx512 == "ok" or "cannot run in vLLM here" in named(found, "AVX-512").means


@pytest.mark.parametrize(("gpus", "tier"), [((), 0), ((T4,), 1), ((H100,), 2)])
def test_tiers(monkeypatch, gpus, tier):
    monkeypatch.setattr(machine, "gpus", lambda: gpus)
    assert machine_checks.tier()[0] == tier


def test_a_t4_is_told_that_it_has_neither_bf16_nor_fp8(monkeypatch):
    monkeypatch.setattr(machine, "gpus", lambda: (T4,))
    opens = cuda.examine_cuda()[0].means
    assert "AWQ" in opens and "bf16" not in opens and "FP8" not in opens
    monkeypatch.setattr(machine, "gpus", lambda: (H100,))
    assert "FP8 tensor cores" in cuda.examine_cuda()[0].means


def test_the_three_cuda_versions_are_told_apart():
    fine = cuda.cuda_versions(driver="13.0", torch="12.8", toolkit="11.8")
    assert [finding.state for finding in fine] == ["ok", "ok", "ok"]
    old = named(cuda.cuda_versions(driver="12.4", torch="13.0", toolkit=None), "torch's CUDA")
    assert old.state == "missing" and "newer than the driver's 12.4" in old.means and "driver" in old.mend
    cpu_torch = named(cuda.cuda_versions(driver="12.4", torch=None, toolkit=None), "torch's CUDA")
    assert "no CUDA in it" in cpu_torch.means and cpu_torch.mend.startswith("pip install torch")
    assert named(cuda.cuda_versions("12.4", "12.1", None), "toolkit's CUDA").state == "limited"


def test_torchs_cuda_version_is_what_torch_says():
    import torch

    assert cuda.torch_cuda() == torch.version.cuda


@pytest.mark.parametrize(
    ("limit", "expected"), [("max", None), ("2000000000\n", 2 * 10**9), ("9" * 18, None)]
)
def test_memory_is_the_containers_limit(tmp_path, limit, expected):
    import psutil

    file = tmp_path / "memory.max"
    file.write_text(limit)
    whole = psutil.virtual_memory().total
    assert machine.memory_limit((str(file), str(tmp_path / "absent"))) == (expected or whole)


@pytest.mark.parametrize(("size", "state"), [(25e9, "ok"), (2e9, "limited"), (1e9, "missing")])
def test_two_gigabytes_are_enough_for_all_but_vllm(monkeypatch, size, state):
    monkeypatch.setattr(machine, "memory_limit", lambda: int(size))
    finding = machine_checks.examine_memory()[0]
    assert finding.state == state and (state != "limited" or "but the vLLM parts" in finding.means)


def test_a_missing_engine_names_the_command_and_the_lessons_it_leaves_partial(monkeypatch):
    real = machine_checks.find
    monkeypatch.setattr(machine_checks, "find", lambda name: None if name == "llama.cpp" else real(name))
    engines = machine_checks.examine_engines()
    assert named(engines, "llama.cpp").mend.startswith("make main")
    monkeypatch.setattr(machine_checks, "LESSON_ENGINES", {"00": ("llama.cpp",)})
    partial = machine_checks.lessons(engines)
    assert all(bool(lack) == name.startswith("00") for name, lack in partial.items())


def test_the_whole_examination_is_json_and_text():
    found = examination.examine()
    values = json.loads(json.dumps(found.to_dict()))
    assert values["usable"] is True and values["tier"] in (0, 1, 2)
    assert {"Windows", "macOS", "WSL2"} <= values["support"].keys()
    text = str(found)
    assert "engines" in text and f"tier {values['tier']}" in text


def test_windows_is_sent_to_wsl(monkeypatch):
    monkeypatch.setattr(machine_checks.platform, "system", lambda: "Windows")
    finding = named(machine_checks.examine_platform(), "platform")
    assert finding.state == "missing" and "wsl --install" in finding.mend
