"""AdamW in 8 bits: the code books of bitsandbytes, steps close to 32-bit ones, a quarter of the memory."""

import pytest
import torch

from qcourse.finetune import AdamW8bit
from qcourse.finetune.adam8bit import Moment, compress
from qcourse.finetune.loop import optimizer_bytes
from qcourse.numerics.codebook import dynamic_map, unsigned_dynamic_map
from tests.engines import require


@pytest.mark.parametrize("signed", [True, False])
def test_code_books_are_those_of_bitsandbytes(signed):
    require("bitsandbytes")
    from bitsandbytes.functional import create_dynamic_map

    ours = dynamic_map() if signed else unsigned_dynamic_map()
    torch.testing.assert_close(ours, create_dynamic_map(signed=signed), rtol=1e-6, atol=0)


@pytest.mark.parametrize("signed", [True, False])
def test_a_moment_is_kept_to_its_nearest_level(signed):
    """The signed book ends at -0.993 and at 1."""
    spread = torch.logspace(-6, 0, 20)[:, None]
    values = torch.randn(20, 300, generator=torch.Generator().manual_seed(0)) * spread
    values = values if signed else values.abs()
    kept = compress(values, signed).values(values.shape)
    book = dynamic_map() if signed else unsigned_dynamic_map()
    gap = max(float(book.diff().max() / 2), 0.0071 if signed else 0.0)
    assert ((kept - values).abs() <= gap * values.abs().amax()).all()
    tiny = values[0].abs().amax()  # blocks of 256: the small ones do not pay for the large
    assert ((kept - values)[0, :256].abs() <= 1.01 * gap * tiny).all()
    assert signed or (kept[values > 0] > 0).all()
    assert compress(torch.zeros(300), signed).values(torch.Size([300])).abs().max() == 0


def quadratic(make) -> tuple[float, torch.optim.Optimizer]:
    """Minimize a sum of squares with unequal weights for 60 steps; return what is left and the optimizer."""
    torch.manual_seed(0)
    start, weights = torch.randn(64, 128), torch.rand(64, 128) + 0.1
    parameter = torch.nn.Parameter(start.clone())
    small = torch.nn.Parameter(torch.ones(8))
    optimizer = make([parameter, small])
    for _ in range(60):
        loss = (weights * parameter.square()).mean() + small.square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return float(loss.detach()), optimizer


def test_it_follows_32_bits_with_a_quarter_of_the_state():
    plain, wide = quadratic(lambda p: torch.optim.AdamW(p, lr=0.02, weight_decay=0.0))
    loss, narrow = quadratic(lambda p: AdamW8bit(p, lr=0.02))
    assert loss == pytest.approx(plain, rel=0.1)
    assert optimizer_bytes(narrow) < 0.27 * optimizer_bytes(wide)
    kinds = [
        [isinstance(state[name], Moment) for name in ("first", "second")] for state in narrow.state.values()
    ]
    assert kinds == [[True, True], [False, False]]  # eight values keep 32 bits


def test_weight_decay_shrinks_what_has_no_gradient():
    parameter = torch.nn.Parameter(torch.ones(4))
    optimizer = AdamW8bit([parameter], lr=0.1, weight_decay=0.5)
    parameter.grad = torch.zeros(4)
    optimizer.step()
    torch.testing.assert_close(parameter.detach(), torch.full((4,), 0.95))
