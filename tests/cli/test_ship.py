"""qcourse ship as the gate of a release: what passes, what does not, and the report of both."""

import json

import pytest

from qcourse.common import QCourseError
from qcourse.pipeline.policy import Policy, kept, read_policy
from tests.engines import require

ROW = {"kl_mean": 0.08, "top1_agreement": 0.9, "skills": {"facts": {"accuracy": 0.8}, "prose": "no signal"},
       "intervals": {"kl_mean": [0.06, 0.11], "top1_agreement": [0.87, 0.93],
                     "skills.facts": [0.6, 0.9]}}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "limit", "good"),
    [("kl_mean", 0.12, True), ("kl_mean", 0.1, False), ("top1_agreement", 0.86, True),
     ("top1_agreement", 0.88, False), ("skills.facts", 0.6, True), ("skills.facts", 0.7, False)],
)  # fmt: skip
def test_a_limit_is_kept_by_the_whole_interval(name, limit, good):
    if good:
        assert f"{limit:g}" in kept(name, limit, ROW)
        return
    with pytest.raises(QCourseError, match=rf"at (least|most) {limit:g}"):
        kept(name, limit, ROW)


@pytest.mark.parametrize("name", ["skills.prose", "skills.absent", "kl_worst"])
def test_a_limit_on_what_was_not_measured_fails(name):
    with pytest.raises(QCourseError, match="was not measured"):
        kept(name, 1, ROW)


def test_a_policy_is_read_or_refused(tmp_path):
    file = tmp_path / "policy.yaml"
    file.write_text("limits: {kl_mean: 0.1}\nlicences: [mit]\n")
    assert read_policy(file) == Policy({"kl_mean": 0.1}, licences=("mit",))
    bad = {"limit: 1": "limit", "limits: {kl_mean: low}": "kl_mean", "- 1": "must hold", "a: [": "not YAML"}
    for text, said in bad.items():
        file.write_text(text)
        with pytest.raises(QCourseError, match=said):
            read_policy(file)
    with pytest.raises(QCourseError, match="cannot be read"):
        read_policy(tmp_path / "absent.yaml")


@pytest.fixture
def written(cli, llama_gqa, tmp_path):
    """A round-to-nearest artefact of the small model."""
    output = tmp_path / "artefact"
    assert cli("quantize", llama_gqa, "--method", "rtn", "--output", output).code == 0
    return output


@pytest.fixture
def release(cli, llama_gqa, tmp_path):
    """Return a function (artefact, policy text) -> (exit code, the report's values)."""

    def run(artefact, text):
        engine = "" if "engine" in text else "engine: transformers\n"
        file = tmp_path / "policy.yaml"
        file.write_text(f"windows: 1\ncontext: 128\nitems: 0\n{engine}{text}")
        options = (
            "--baseline",
            llama_gqa,
            "--policy",
            tmp_path / "policy.yaml",
            "--report",
            tmp_path / "reports",
        )
        found = cli("ship", artefact, *options, "--json")
        assert found.out, found.err
        return found.code, json.loads(found.out)

    return run


def test_a_release_is_decided_gate_by_gate(written, release, llama_gqa, tmp_path):
    code, values = release(written, "limits: {kl_mean: 5}\n")
    gates = {gate["name"]: gate for gate in values["gates"]}
    assert list(gates) == [
        "base",
        "licence",
        "reproducible",
        "kl_mean",
        "smoke test in transformers",
        "tensor parallel",
    ]
    assert code == 1 and not values["ships"]
    assert [name for name, gate in gates.items() if not gate["passed"]] == ["licence"]  # the base has no card
    (written / "README.md").write_text("---\nlicense: mit\n---\n")
    code, values = release(written, "limits: {kl_mean: 5}\nlicences: [mit]\n")
    assert code == 0 and values["ships"] and values["launch"]["vllm"].startswith("vllm serve")
    report = next((tmp_path / "reports").glob("artefact-*.md")).read_text()
    assert "artefact ships" in report and values["content"] in report
    assert json.loads(next((tmp_path / "reports").glob("*.json")).read_text()) == values
    for name in ("Dockerfile", "kubernetes.yaml"):
        (file,) = (tmp_path / "reports").glob(f"artefact-*.{name}")
        assert "exec vllm serve /models/artefact" in file.read_text()


@pytest.mark.parametrize(
    ("text", "gate", "said"),
    [("limits: {kl_mean: 0.0000001}\n", "kl_mean", "at most 1e-07"),
     ("tensor_parallel: 3\n", "tensor parallel", "cannot be dealt to 3 devices"),
     ("licences: [apache-2.0]\n", "licence", "not among those allowed"),
     ("engine: spaceship\n", "smoke test in spaceship", "unknown engine")],
)  # fmt: skip
def test_each_gate_can_fail(written, release, text, gate, said):
    (written / "README.md").write_text("---\nlicense: mit\n---\n")
    code, values = release(written, "reproduce: false\n" + text)
    failed = {each["name"]: each["found"] for each in values["gates"] if not each["passed"]}
    assert code == 1 and list(failed) == [gate] and said in failed[gate]


def test_one_byte_of_the_weights_overwritten_is_refused(refused, written):
    weights = next(written.glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    assert "is not what its record describes" in refused("ship", written)


def test_a_record_without_the_hash_is_refused(refused, written):
    values = json.loads((written / "recipe.json").read_text())
    del values["content"]
    (written / "recipe.json").write_text(json.dumps(values))
    assert "holds no hash of its content" in refused("ship", written)


@pytest.mark.parametrize(("elsewhere", "rows", "good", "said"),
                         [(False, 1, False, "with the same versions on the same kind of machine"),
                          (True, 1, True, "of the codes agree"),
                          (True, 10**6, False, "of the codes agree, where 99.9% must")])  # fmt: skip
def test_other_codes_ship_only_if_few_and_from_elsewhere(written, release, elsewhere, rows, good, said):
    """The weights and their record agree, and some codes of the file are a step off."""
    from safetensors.torch import load_file, save_file

    from qcourse.recipe.record import read_record, write_record

    weights = next(written.glob("*.safetensors"))
    tensors = load_file(weights)
    codes = [tensor for name, tensor in tensors.items() if name.endswith(("qweight", "weight_packed"))]
    for tensor in codes[: 1 if rows == 1 else None]:
        tensor.view(-1)[:rows] ^= 1
    save_file(tensors, weights, {"format": "pt"})
    record = read_record(written)
    machine = record.machine | ({"instruction_set": "another"} if elsewhere else {})
    write_record(written, record.model_copy(update={"machine": machine}))
    _, values = release(written, "")
    gate = next(each for each in values["gates"] if each["name"] == "reproducible")
    assert (
        gate["passed"] is good and "quantized again it hashes to" in gate["found"] and said in gate["found"]
    )


def test_other_bytes_of_a_gguf_ship_only_if_few_and_from_elsewhere(cli, llama_gqa, tmp_path):
    require("gguf")
    from qcourse.common import content_hash
    from qcourse.pipeline.reproduce import reproduced
    from qcourse.recipe.record import read_record

    file = tmp_path / "model.gguf"
    assert cli("quantize", llama_gqa, "--method", "gguf-q8_0", "--output", file).code == 0
    content, record = file.read_bytes(), read_record(file)
    assert "the same bytes" in reproduced(file, record, str(llama_gqa))

    def with_changed(count, **machine):
        file.write_bytes(content[:-count] + bytes(byte ^ 1 for byte in content[-count:]))
        values = {"machine": record.machine | machine, "content": content_hash(file)}
        return reproduced(file, record.model_copy(update=values), str(llama_gqa))

    assert "of the bytes of its tensors agree" in with_changed(3, instruction_set="another")
    with pytest.raises(QCourseError, match="agree, where 99.9% must"):
        with_changed(2000, instruction_set="another")
    with pytest.raises(QCourseError, match="with the same versions on the same kind of machine"):
        with_changed(3)


def test_a_folder_that_holds_one_gguf_is_recognised_by_the_files_record(cli, llama_gqa, tmp_path):
    require("gguf")
    folder = tmp_path / "gguf-q8_0-gguf"
    folder.mkdir()
    assert cli("quantize", llama_gqa, "--method", "gguf-q8_0", "--output", folder / "model.gguf").code == 0
    found = cli("ship", folder)
    assert found.code == 0 and "gguf-q8_0 as gguf" in found.out and "llama-server --model" in found.out
    assert f"# here\nqcourse serve {folder / 'model.gguf'}" in found.out


def test_serve_refuses_a_model_that_the_devices_cannot_share(refused, tmp_path):
    from qcourse.recipe import named
    from qcourse.recipe.record import new_record, write_record

    shape = {"model_type": "llama", "hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": 2,
             "num_attention_heads": 8, "num_key_value_heads": 4, "vocab_size": 512}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(shape))
    write_record(tmp_path, new_record(named("gptq-w4g128"), "gptq", {}))
    said = refused("serve", tmp_path, "--tensor-parallel", 4)
    assert "256 columns in groups of 128 on 4 devices: 64 columns each" in said
    assert "runs on one device" in refused("serve", "x.gguf", "--tensor-parallel", 2)


def test_half_a_release_is_refused(refused, written):
    assert "give both or neither" in refused("ship", written, "--baseline", "pico")
