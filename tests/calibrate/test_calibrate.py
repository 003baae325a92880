"""Batches, Gram matrices against float64, walking layer by layer against the whole model."""

import json

import pytest
import torch

from qcourse import calibrate, models
from qcourse.calibrate import InputSums, accumulate_gram, batches, mirror, walk
from qcourse.common import QCourseError

TEXT = " ".join(
    f"The scale of group {index} is its largest weight divided by {index % 7} levels." for index in range(60)
)


@pytest.fixture(scope="module")
def tokenizer(llama_tied):
    return models.load(llama_tied).tokenizer


def test_batches_have_the_shape_and_repeat_by_seed(tokenizer):
    first = batches(tokenizer, [TEXT], 4, 64, seed=1)
    assert first.shape == (4, 64) and first.dtype == torch.int64
    assert torch.equal(first, batches(tokenizer, [TEXT], 4, 64, seed=1))
    assert not torch.equal(first, batches(tokenizer, [TEXT], 4, 64, seed=2))
    assert tokenizer.decode(first[0]) in TEXT


def test_windows_are_distinct_while_the_text_lasts(tokenizer):
    length = len(tokenizer(TEXT)["input_ids"])
    windows = batches(tokenizer, TEXT, length // 64, 64)
    assert len({tuple(row.tolist()) for row in windows}) == length // 64
    assert batches(tokenizer, TEXT, 500, 64).shape == (500, 64)  # more than there are: they overlap


def test_empty_short_and_foreign_text(tokenizer):
    for empty in ([], [""], ""):
        with pytest.raises(QCourseError, match="calibration text is empty"):
            batches(tokenizer, empty)
    with pytest.raises(QCourseError, match="fewer than one sequence of 512; give more text"):
        batches(tokenizer, "a short text", 4, 512)
    with pytest.warns(UserWarning, match="tokens per byte"):
        batches(tokenizer, "日本語の文章です。" * 50, 2, 16)


def test_texts_from_files(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo")
    (tmp_path / "b.jsonl").write_text('{"text": "one"}\n\n' + json.dumps({"text": "two"}))
    assert calibrate.read_texts(tmp_path / "a.txt") == ["one\ntwo"]
    assert calibrate.read_texts(tmp_path / "b.jsonl") == ["one", "two"]
    (tmp_path / "c.jsonl").write_text('{"body": "one"}')
    (tmp_path / "d.txt").write_bytes(b"\xff\xfe\x00")
    for name, words in [
        ("c.jsonl", 'object with "text"'),
        ("d.txt", "UTF-8"),
        ("none.txt", "cannot be read"),
    ]:
        with pytest.raises(QCourseError, match=words):
            calibrate.read_texts(tmp_path / name)


def test_texts_that_are_no_strings_are_refused(tmp_path):
    path = tmp_path / "numbers.jsonl"
    path.write_text('{"text": "words"}\n{"text": 5}\n')
    with pytest.raises(QCourseError, match='not a JSON object with "text"'):
        calibrate.read_texts(path)


def test_a_line_ends_at_a_newline_and_nowhere_else(tmp_path):
    """JSON strings may hold U+2028, U+2029 and U+0085 as they are, and JSON needs no line end but its own."""
    odd = "one\u2028two\u2029three\u0085four\x7f"
    for name, end in (("unix.jsonl", "\n"), ("windows.jsonl", "\r\n")):
        lines = [json.dumps({"text": text}, ensure_ascii=False) for text in (odd, "second")]
        (tmp_path / name).write_bytes((end.join([*lines, "", ""])).encode())
        assert calibrate.read_texts(tmp_path / name) == [odd, "second"]
    (tmp_path / "odd.txt").write_bytes(odd.encode())
    assert calibrate.read_texts(tmp_path / "odd.txt") == [odd]


def test_a_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"\xef\xbb\xbfone")
    (tmp_path / "b.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "one"}\r\n{"text": "two"}')
    assert calibrate.read_texts(tmp_path / "a.txt") == ["one"]
    assert calibrate.read_texts(tmp_path / "b.jsonl") == ["one", "two"]


def test_hash_tells_tokens_and_shapes_apart():
    tokens = torch.arange(8).reshape(2, 4)
    assert calibrate.tokens_hash(tokens) == calibrate.tokens_hash(tokens.to(torch.int32))
    assert calibrate.tokens_hash(tokens) != calibrate.tokens_hash(tokens.reshape(4, 2))


@pytest.mark.parametrize("columns", [96, 600])
def test_gram_error_against_float64_is_that_of_fp32_sums(columns):
    inputs = (torch.randn(2000, columns) * torch.exp(torch.randn(columns))).to(torch.bfloat16)
    total = torch.zeros(columns, columns)
    setting = torch.backends.mkldnn.matmul.fp32_precision
    for chunk in inputs.split(500):
        accumulate_gram(total, chunk.reshape(5, 100, columns))
    total = mirror(total)
    assert torch.backends.mkldnn.matmul.fp32_precision == setting
    exact = inputs.double().T @ inputs.double()
    assert (total.double() - exact).norm() / exact.norm() < 3e-6
    rounded = (inputs.T @ inputs).double()  # what a plain bf16 product gives: the control
    assert (rounded - exact).norm() / exact.norm() > 5e-4
    assert torch.equal(total, total.T)


def test_setting_is_restored_after_an_error():
    before = torch.backends.mkldnn.matmul.fp32_precision
    with pytest.raises(RuntimeError), calibrate.bf16_products():
        torch.ones(2, 3) @ torch.ones(2, 3)
    assert torch.backends.mkldnn.matmul.fp32_precision == before


def test_statistics_of_known_inputs():
    sums = InputSums(["q"], 3)
    sums.add(torch.tensor([[[1.0, -2.0, 0.0]], [[3.0, 2.0, 0.0]]]))
    item = sums.finish()
    assert item.n_tokens == 2
    assert item.mean_abs.tolist() == [2, 2, 0] and item.absmax.tolist() == [3, 2, 0]
    assert item.mean_square.tolist() == [5, 4, 0]
    assert item.hessian.tolist() == [[5, 2, 0], [2, 4, 0], [0, 0, 0]]
    item.rescale(torch.tensor([2.0, 1.0, 1.0]))
    assert item.mean_abs.tolist() == [1, 2, 0] and item.hessian[0].tolist() == [1.25, 1, 0]
    assert item.mean_square.tolist() == [1.25, 4, 0]
    with pytest.raises(AttributeError):  # the sum has become the mean
        sums.add(torch.ones(1, 3))


@pytest.mark.parametrize("name", ["llama_tied", "llama_gqa", "qwen2", "qwen3", "odd_width"])
def test_walk_sees_what_the_model_computes(small_folders, small_model, small_tokens, name):
    model = small_model(small_folders[name])
    seen: dict[str, list[torch.Tensor]] = {}
    for full, module in models.linears(model).items():
        module.register_forward_pre_hook(lambda _, args, full=full: seen.setdefault(full, []).append(args[0]))
    with torch.no_grad():
        model(small_tokens, use_cache=False)
    whole = {full: torch.cat(parts).reshape(-1, parts[0].shape[-1]) for full, parts in seen.items()}
    for step in walk(small_model(small_folders[name]), small_tokens):
        statistics = step.collect()
        assert [item.names for item in statistics] == [
            ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
            ["self_attn.o_proj"],
            ["mlp.gate_proj", "mlp.up_proj"],
            ["mlp.down_proj"],
        ]
        for item in statistics:
            inputs = whole[f"model.layers.{step.index}.{item.names[0]}"]
            assert item.n_tokens == len(inputs) == small_tokens.numel()
            assert torch.allclose(item.mean_abs, inputs.abs().mean(0), rtol=1e-3, atol=1e-4)
            exact = inputs.T @ inputs / len(inputs)
            assert (item.hessian - exact).norm() / exact.norm() < 5e-3  # inputs are rounded to bf16


def test_later_layers_see_changes_of_earlier_ones(small_model, llama_tied, small_tokens):
    def second_layer(change: bool) -> torch.Tensor:
        steps = walk(small_model(llama_tied), small_tokens)
        first = next(steps)
        if change:
            first.layer.mlp.down_proj.weight.data.zero_()
        return next(steps).collect(gram=False)[0].mean_abs

    assert not torch.allclose(second_layer(False), second_layer(True), rtol=0.01)
    assert torch.equal(second_layer(True), second_layer(True))


@torch.no_grad()
def test_the_next_layer_gets_what_the_layer_gives_when_its_stages_end(small_model, llama_gqa, small_tokens):
    """Changes made between stages and before the end count; those made after it do not."""

    def second(change) -> torch.Tensor:
        steps = walk(small_model(llama_gqa), small_tokens)
        change(next(steps))
        return torch.cat(next(steps).hidden)

    def zero(step):
        step.layer.mlp.down_proj.weight.data.zero_()

    def during(step):
        for _ in step.stages(gram=False):
            step.layer.mlp.down_proj.weight.data.zero_()

    def after(step):
        list(step.stages(gram=False))
        zero(step)

    def looked(step):
        step.collect(gram=False)
        zero(step)

    unchanged, changed = second(lambda step: None), second(zero)
    assert not torch.allclose(unchanged, changed, rtol=0.01)
    assert torch.equal(second(during), changed) and torch.equal(second(looked), changed)
    assert torch.equal(second(after), unchanged)
    assert torch.equal(second(lambda step: step.go_on_with([2 * part for part in step.hidden])),
                       2 * torch.cat(next(walk(small_model(llama_gqa), small_tokens)).hidden))  # fmt: skip


@pytest.mark.parametrize("then", ["next layer", "collect", "stages"])
def test_stages_left_in_the_middle_are_refused(small_model, llama_gqa, small_tokens, then):
    steps = walk(small_model(llama_gqa), small_tokens)
    step = next(steps)
    next(step.stages(gram=False))
    with pytest.raises(RuntimeError, match="the stages of layer 0 .* run them once and to their end"):
        {"next layer": lambda: next(steps), "collect": step.collect, "stages": lambda: list(step.stages())}[
            then
        ]()


def test_importance_matrix_is_the_mean_square_of_inputs(small_model, llama_gqa, small_tokens):
    importance = calibrate.importance_matrix(small_model(llama_gqa), small_tokens)
    model = small_model(llama_gqa)
    assert set(importance) == set(models.linears(model))
    first = next(iter(walk(model, small_tokens))).collect()[2]
    assert torch.allclose(importance["model.layers.0.mlp.up_proj"], first.mean_square, rtol=1e-2)
