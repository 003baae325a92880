"""Where the compatibility table says that vLLM does not load something, its words are vLLM's own."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from qcourse.recipe import table
from qcourse.serve.vllm_install import find_vllm
from tests.engines import require

pytestmark = pytest.mark.slow

ASK = """
import glob, os, sys
from vllm.engine.arg_utils import EngineArgs
for model in sorted(glob.glob(sys.argv[1] + "/*")):
    try:
        EngineArgs(model=model, dtype="bfloat16", max_model_len=256).create_engine_config()
        print("ANSWER", os.path.basename(model), "loads")
    except Exception as error:
        print("ANSWER", os.path.basename(model), " ".join(str(error).split()))
"""
GPTQ = {"quant_method": "gptq", "group_size": 128, "desc_act": False}
AWQ = {"quant_method": "awq", "group_size": 128, "zero_point": True, "version": "gemm"}
SETTINGS = {
    "nf4-any": {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"},
    "gptq-2-True": GPTQ | {"bits": 2, "sym": True},
    "gptq-3-True": GPTQ | {"bits": 3, "sym": True},
    "gptq-4-False": GPTQ | {"bits": 4, "sym": False},
    "gptq-8-False": GPTQ | {"bits": 8, "sym": False},
    "gptq-4-True": GPTQ | {"bits": 4, "sym": True},
    "awq-3-False": AWQ | {"bits": 3},
    "awq-8-False": AWQ | {"bits": 8},
}
"""method-bits-symmetric -> the quantization_config of such a file."""


@pytest.fixture(scope="module")
def answers(small_folders, tmp_path_factory) -> dict[str, str]:
    """What vLLM says to a folder with each of SETTINGS, and to a GGUF file."""
    require("vllm")
    root, source = tmp_path_factory.mktemp("refusals"), small_folders["llama_gqa"]
    for name, settings in SETTINGS.items():
        folder = root / name
        folder.mkdir()
        for file in ("tokenizer.json", "tokenizer_config.json"):
            (folder / file).write_bytes((source / file).read_bytes())
        config = json.loads((source / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"quantization_config": settings}))
    (root / "gguf-any.gguf").write_bytes(b"GGUF" + bytes(60))
    done = subprocess.run(
        [find_vllm().python, "-c", ASK, str(root)], capture_output=True, text=True, check=True, cwd=root
    )
    lines = [line.split(" ", 2) for line in done.stdout.splitlines() if line.startswith("ANSWER")]
    return {Path(name).stem: said for _, name, said in lines}


def test_the_tables_words_are_vllms(answers):
    assert answers["gptq-4-True"] == "loads" and len(answers) == len(SETTINGS) + 1
    judged = 0
    for row in table():
        bits = "any" if row["bits"] == "any" else f"{row['bits']}-{row['symmetric']}"
        said = answers.get(f"{row['method']}-{bits}")
        if row["engine"] != "vllm" or said is None:
            continue
        if row["loads"] == "no" and row["format"] != "compressed-tensors":
            assert re.search('"(.+?)"', row["evidence"])[1] in said, row
            judged += 1
        elif row["format"] in ("gptq", "awq"):
            assert said == "loads", row
    assert judged == 8


def test_the_cpu_kernels_refusal_stands_in_its_source():
    require("vllm")
    rows = [row for row in table() if row["engine"] == "vllm" and "CPUWNA16" in row["evidence"]
            and row["loads"] == "no"]  # fmt: skip
    kernel = "lib/python*/site-packages/vllm/model_executor/kernels/linear/mixed_precision/cpu.py"
    file = next(find_vllm().python.parents[1].glob(kernel))
    source = re.sub(r'"\s*f?"', "", file.read_text())
    assert rows and all(re.search('"(.+?)"', row["evidence"])[1] in source for row in rows)
