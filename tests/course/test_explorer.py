"""The number format explorer: what its figure shows, its controls, the text where there is no notebook."""

import ipywidgets as widgets
import numpy as np
import pytest

from qcourse.course import explorer


def shown(*arguments):
    """Return the weights, their errors, the levels and the label of the figure."""
    figure = explorer.number_format(*arguments)
    ax = figure.axes[0]
    weight, error = ax.lines[0].get_data()
    levels = [segment[0][0] for segment in ax.collections[0].get_segments()]
    counts = ax.child_axes[0].patches[0].get_xy()
    assert len(counts) and ax.child_axes[0].get_xlabel() == "weights"
    return np.asarray(weight), np.asarray(error), np.array(levels), figure.get_label()


@pytest.mark.parametrize(("symmetric", "cost"), [(True, "4.50"), (False, "4.62")])
def test_each_weight_of_the_outliers_group_lands_on_a_level(symmetric, cost):
    weight, error, levels, label = shown(4, 32, 4.0, symmetric)
    start = int(np.abs(weight).argmax()) // 32 * 32
    rounded = (weight + error)[start : start + 32]
    assert len(levels) == 16 and np.abs(rounded[:, None] - levels).min(1).max() < 1e-6
    assert f"{cost} bits a weight, mean squared error {np.mean(error**2):.2e}" in label


def test_an_outlier_costs_its_own_group_only():
    weight, calm, *_ = shown(3, 32, 1.0, True)
    _, stirred, *_ = shown(3, 32, 8.0, True)
    group = int(np.abs(weight).argmax()) // 32
    squares = [np.square(error).reshape(4, 32).mean(1) for error in (calm, stirred)]
    assert squares[1][group] > 4 * squares[0][group]
    assert np.array_equal(np.delete(squares[0], group), np.delete(squares[1], group))


def test_a_control_that_moves_draws_with_the_values_of_all():
    controls, drawn = {"bits": widgets.IntSlider(3, 2, 8), "symmetric": widgets.Checkbox(True)}, []
    explorer.redraw_on_change(controls, lambda **values: drawn.append(values))
    controls["bits"].value = 5
    controls["symmetric"].value = False
    assert drawn == [{"bits": 5, "symmetric": True}, {"bits": 5, "symmetric": False}]
    assert controls["bits"].description == "bits"


def test_without_a_notebook_the_figures_text_is_printed(capsys):
    explorer.number_format_explorer(bits=2, group_size=16)
    assert capsys.readouterr().out.startswith("2 bits, groups of 16: 3.00 bits a weight, mean squared error")
