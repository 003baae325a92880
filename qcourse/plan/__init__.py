"""What fits where and how to start it: memory arithmetic, roofline, lanes, launch commands.

from qcourse.plan import plan
print(plan("meta-llama/Llama-3.1-8B", gpu="L4", recipe="awq-w4g128", context=8192, batch=8))
"""

from qcourse.plan.bounds import Roofline, roofline
from qcourse.plan.chooser import Lane, lanes
from qcourse.plan.estimate import Plan, plan
from qcourse.plan.hardware import Accelerator, accelerator, accelerators
from qcourse.plan.launch import SERVERS, commands, modelfile
from qcourse.plan.memory import (
    KV_BYTES,
    bits_per_linear_weight,
    kv_bytes_per_token,
    kv_cache_bytes,
    linear_bytes,
    weights_bytes,
)

__all__ = [
    "Accelerator",
    "KV_BYTES",
    "Lane",
    "Plan",
    "Roofline",
    "SERVERS",
    "accelerator",
    "accelerators",
    "bits_per_linear_weight",
    "commands",
    "kv_bytes_per_token",
    "kv_cache_bytes",
    "lanes",
    "linear_bytes",
    "modelfile",
    "plan",
    "roofline",
    "weights_bytes",
]
