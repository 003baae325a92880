"""Streaming gives the codes of a run in memory, goes on after an interruption, and spares the source."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoTokenizer

from qcourse import export, models
from qcourse.common import QCourseError, content_hash
from qcourse.quantize import quantize, quantize_folder, reference
from qcourse.quantize import stream as stream_module
from qcourse.recipe import named


def facts_of(layer) -> dict:
    """What is told of a layer beside its tensors, and which tensors it has."""
    return {name: value if not hasattr(value, "dtype") else "tensor" for name, value in vars(layer).items()
            if name != "nested"} | {"nested": layer.nested is not None}  # fmt: skip


def same(first, second) -> bool:
    """Whether two sets of layers hold the same tensors and facts."""
    return set(first) == set(second) and all(
        torch.equal(first[name].codes, second[name].codes)
        and torch.equal(first[name].scale, second[name].scale)
        and (first[name].bits, first[name].kind) == (second[name].bits, second[name].kind)
        and facts_of(first[name]) == facts_of(second[name])
        for name in first
    )


@pytest.mark.parametrize(
    "recipe", ["gptq-w4g128", "gptaq-w3g64", "awq-w4g128", "rtn-w3g64", "nf4", "fp8-static", "nvfp4"]
)
def test_streamed_codes_equal_those_made_in_memory(small_model, llama_gqa, small_tokens, tmp_path, recipe):
    whole = quantize(small_model(llama_gqa, torch.bfloat16), named(recipe), small_tokens, progress=False)
    streamed = quantize_folder(llama_gqa, named(recipe), small_tokens, tmp_path / "work", progress=False)
    assert same(whole.layers, streamed.layers)
    assert streamed.manifest["layers"] == whole.manifest["layers"]
    norm = "model.layers.1.post_attention_layernorm.weight"
    assert torch.equal(streamed.model.state_dict()[norm], whole.model.state_dict()[norm])
    with torch.no_grad():
        wanted, got = (reference(result)(small_tokens[:2]).logits for result in (whole, streamed))
    if not named(recipe).method.startswith("fp8"):  # the streamed model's linears do not simulate activations
        assert torch.equal(wanted, got)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_a_checkpoint_of_another_dtype_gives_the_files_of_a_run_in_memory(
    llama_tied, small_tokens, tmp_path, dtype
):
    """Both compute in bfloat16; the copy that streaming needs is made one tensor at a time."""
    recipe, folder = named("awq-w4g128"), tmp_path / "model"
    models.load(llama_tied, dtype=dtype).model.save_pretrained(folder, max_shard_size="200KB")
    AutoTokenizer.from_pretrained(llama_tied).save_pretrained(folder)
    before = content_hash(folder)
    whole = quantize(models.load(folder).model, recipe, small_tokens, progress=False)
    streamed = quantize_folder(folder, recipe, small_tokens, tmp_path / "work", progress=False)
    written = [
        export.save(made.layers, made.model, None, tmp_path / name, "awq", recipe)
        for name, made in (("whole", whole), ("streamed", streamed))
    ]
    assert content_hash(written[0]) == content_hash(written[1])
    assert content_hash(folder) == before


def test_a_copy_that_does_not_fit_on_the_disk_is_refused(llama_tied, tmp_path, monkeypatch):
    folder = tmp_path / "model"
    models.load(llama_tied, dtype="float16").model.save_pretrained(folder)
    full = SimpleNamespace(free=1000)
    monkeypatch.setattr("qcourse.models.bfloat16_copy.shutil.disk_usage", lambda _: full)
    with pytest.raises(QCourseError, match="not bfloat16.*0.0 GB are free"):
        quantize_folder(folder, named("rtn-w4g128"), None, tmp_path / "work", progress=False)


class Killed(Exception):
    """Stands for the process being killed."""


@pytest.mark.parametrize("name", ["awq+gptq-w3g128", "gptaq-w3g64"])
@pytest.mark.parametrize("moment", ["before the layer is written", "after it, before its outputs"])
def test_interrupted_run_goes_on_and_ends_with_the_same_codes(
    llama_gqa, small_tokens, tmp_path, monkeypatch, moment, name
):
    recipe, work = named(name), tmp_path / "work"
    whole = quantize_folder(llama_gqa, recipe, small_tokens, tmp_path / "other", progress=False)
    done = stream_module.finish_step

    def dies(step, result, state):
        if step.index == 1 and moment.startswith("before"):
            raise Killed
        done(step, result, state)
        if step.index == 0 and moment.startswith("after"):
            raise Killed

    monkeypatch.setattr(stream_module, "finish_step", dies)
    with pytest.raises(Killed):
        quantize_folder(llama_gqa, recipe, small_tokens, work, progress=False)
    seen = []
    monkeypatch.setattr(
        stream_module, "finish_step", lambda *given: (seen.append(given[0].index), done(*given))
    )
    resumed = quantize_folder(llama_gqa, recipe, small_tokens, work, progress=False)
    assert same(whole.layers, resumed.layers) and whole.manifest["layers"] == resumed.manifest["layers"]
    assert seen[-1] == 1 and len(seen) <= 2
    for index in range(2):
        name = f"layer-{index:04d}.safetensors"
        assert (work / name).read_bytes() == (tmp_path / "other" / name).read_bytes()


DIES = """
import importlib, os, signal, sys
from qcourse.cli import main
module = importlib.import_module("qcourse.{module}.{name}")
real, left = module.{function}, [{calls}]

def dying(*given, **named):
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(*given, **named)

module.{function} = dying
main(sys.argv[1:])
"""
MOMENTS = {
    "in the first layer": dict(module="quantize", name="stream", function="quantize_step", calls=1),
    "before the second layer": dict(module="quantize", name="stream", function="finish_step", calls=2),
    "before a file of the run is written": dict(
        module="quantize", name="progress", function="save_file", calls=1
    ),
    "while the artefact is written": dict(
        module="common", name="tensor_writer", function="write_bytes", calls=9
    ),
    "before the artefact is put in its place": dict(
        module="pipeline", name="build", function="replace_folder", calls=1
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(("method", "bits"), [("gptq", "4"), ("rtn", "8")])
def test_a_killed_command_started_again_leaves_the_same_bytes_and_nothing_else(
    llama_gqa, tmp_path, method, bits
):
    """Killed at five moments in turn, each run going on from what the one before it left."""
    environment = {**os.environ, "QCOURSE_HOME": str(tmp_path / "home")}

    def command(output: str, program: str) -> int:
        arguments = [
            "quantize",
            llama_gqa,
            "--method",
            method,
            "--bits",
            bits,
            "--stream",
            "--output",
            output,
        ]
        return subprocess.run(
            [sys.executable, "-c", program, *arguments], env=environment, cwd=tmp_path
        ).returncode

    def files(output: str) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in Path(tmp_path, output).iterdir()}

    plain = "import sys; from qcourse.cli import main; main(sys.argv[1:])"
    assert command("whole", plain) == 0
    killed = [command("again", DIES.format(**moment)) for moment in MOMENTS.values()]
    assert killed == [-signal.SIGKILL] * len(MOMENTS) and not Path(tmp_path, "again").exists()
    assert command("again", plain) == 0
    assert files("again") == files("whole")
    assert {path.name for path in tmp_path.iterdir()} - {"home"} == {"whole", "again"}


def test_work_of_another_run_is_not_mixed_in(llama_gqa, small_tokens, tmp_path):
    quantize_folder(llama_gqa, named("rtn-w4g128"), work=tmp_path, progress=False)
    with pytest.raises(QCourseError, match="unfinished run of another model, recipe or calibration"):
        quantize_folder(llama_gqa, named("rtn-w3g128"), work=tmp_path, progress=False)
    again = quantize_folder(llama_gqa, named("rtn-w3g128"), work=tmp_path, resume=False, progress=False)
    assert again.layers["model.layers.1.mlp.up_proj"].bits == 3


@pytest.mark.parametrize("name", ["llama_tied", "qwen2", "qwen3"])
def test_mapped_model_computes_what_the_loaded_one_does(small_folders, small_model, small_tokens, name):
    before = content_hash(small_folders[name])
    mapped = models.mapped_model(small_folders[name])
    with torch.no_grad():
        wanted = small_model(small_folders[name], torch.bfloat16)(small_tokens).logits
        assert torch.equal(mapped(small_tokens).logits, wanted)
        mapped.model.layers[0].mlp.up_proj.weight.zero_()
    assert content_hash(small_folders[name]) == before


def test_what_cannot_be_streamed_is_refused(llama_gqa, tmp_path):
    with pytest.raises(QCourseError, match="does not go layer by layer"):
        quantize_folder(llama_gqa, named("rotation+rtn-w4g128"), work=tmp_path)
    with pytest.raises(QCourseError, match="needs calibration tokens"):
        quantize_folder(llama_gqa, named("gptq-w4g128"), work=tmp_path)
