"""Engines that no fast test starts otherwise: in their own interpreter they agree with our numerics."""

import json
import subprocess

import pytest
import torch

from qcourse.numerics import affine, codebook, packing
from tests.engines import require

WEIGHT = torch.linspace(-1, 0.8, 128).view(2, 64)
CODES = (torch.arange(64, dtype=torch.uint8) * 7 % 16).view(8, 8)  # [out, in]
SCRIPTS = {
    "bitsandbytes": """
from bitsandbytes import functional
packed, state = functional.quantize_4bit(weight, blocksize=64, quant_type="nf4")
result = functional.dequantize_4bit(packed, state)""",
    "gptqmodel": """
from gptqmodel.quantization.quantizer import quantize
result = quantize(weight, scale, zero, 15, False)""",
    "compressed-tensors": """
from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
result = pack_to_int32((codes - 8).to(torch.int8), 4)""",
    "autoawq": """
from awq.utils.packing_utils import reverse_awq_order, unpack_awq
result = reverse_awq_order(*unpack_awq(packed, packed, 4), 4)[0] & 15""",
    "autogptq": """
from auto_gptq.quantization.quantizer import quantize
result = quantize(weight, scale, zero, torch.tensor(15))""",
}


def arguments():
    """Return what the scripts work on: a weight with its affine grid, and codes, plain and packed for AWQ."""
    made = affine.quantize_affine(WEIGHT, 4, 64, symmetric=False)
    return {"weight": WEIGHT, "scale": made.scale, "zero": made.zero_point.float(),
            "codes": CODES.int(), "packed": packing.pack_awq(CODES)}  # fmt: skip


def ours(name):
    """Return the tensor that an engine's script should give."""
    if name == "bitsandbytes":
        return codebook.quantize_codebook(WEIGHT, 64, "nf4", double_quantization=False).dequantize()
    if name == "compressed-tensors":
        return packing.pack_compressed_tensors(CODES, 4)
    if name == "autoawq":
        return CODES.T
    return affine.quantize_affine(WEIGHT, 4, 64, symmetric=False).dequantize()


@pytest.mark.engine
@pytest.mark.parametrize("name", SCRIPTS)
def test_it_computes_what_we_compute(name):
    engine = require(name, lane="start")
    given = {key: value.tolist() for key, value in arguments().items()}
    code = "\n".join([
        "import json, sys, torch",
        "weight, scale, zero, codes, packed = (torch.tensor(v) for v in json.loads(sys.argv[1]).values())",
        "packed = packed.to(torch.int32)",
        SCRIPTS[name],
        "print('result', json.dumps(result.tolist()))",
    ])  # fmt: skip
    command = [engine.python, "-c", code, json.dumps(given)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    lines = [line for line in done.stdout.splitlines() if line.startswith("result")]
    assert lines, done.stderr[-2000:]
    found = torch.tensor(json.loads(lines[0].removeprefix("result")))
    torch.testing.assert_close(found.double(), ours(name).double(), rtol=1e-6, atol=1e-7)
