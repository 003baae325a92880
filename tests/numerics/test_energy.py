"""The mean squared output of a weight: half of the products give what all of them give."""

import pytest
import torch

from qcourse.numerics.energy import output_energy


@pytest.mark.parametrize(("out", "columns"), [(3, 5), (64, 128), (33, 172), (16, 512), (1, 300)])
def test_it_is_the_mean_squared_output(out, columns):
    inputs, weight = torch.randn(400, columns), torch.randn(out, columns)
    outputs = inputs.double() @ weight.double().T
    found = output_energy(weight, inputs.T @ inputs / len(inputs))
    assert float(found) == pytest.approx(float(outputs.square().sum(1).mean()), rel=1e-4)


def test_of_no_change_it_is_zero():
    assert output_energy(torch.zeros(4, 256), torch.eye(256)) == 0
