"""The explorers: what the number format's figure shows, the controls, the text where there is no notebook."""

import ipywidgets as widgets
import nbclient
import nbformat
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
    def draw(bits=3, symmetric=True):
        return []

    moved, drawn = widgets.interactive(draw, bits=(2, 8), symmetric=True).children[:-1], []
    explorer.redraw_on_change(moved, lambda **values: drawn.append(values))
    moved[0].value = 5
    moved[1].value = False
    assert drawn == [{"bits": 5, "symmetric": True}, {"bits": 5, "symmetric": False}]
    assert [control.description for control in moved] == ["bits", "symmetric"]


def test_without_a_notebook_the_first_drawing_is_printed(capsys):
    explorer.explore(explorer.number_format, bits=(2, 8), symmetric=True)
    assert capsys.readouterr().out.startswith("3 bits, groups of 32: 3.50 bits a weight, mean squared error")
    explorer.explore(lambda count=2: [{"count": count, "half": count / 2}], count=(1, 4))
    assert capsys.readouterr().out.split() == ["count", "half", "-------", "------", "2", "1"]


def test_in_a_kernel_controls_stand_under_the_drawing_and_redraw_it(tmp_path):
    cells = ["from qcourse.course.explorer import explore",
             "explore(lambda share=0.5: [{'share': share}], share=(0.0, 1.0, 0.25))",
             "import ipywidgets; [w for w in ipywidgets.Widget.widgets.values() "
             "if isinstance(w, ipywidgets.FloatSlider)][-1].value = 0.75"]  # fmt: skip
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    nbclient.NotebookClient(notebook, timeout=60).execute()
    drawing, box = notebook.cells[1].outputs
    assert "0.75" in drawing.data["text/html"]  # the slider was moved, the same output shows it
    assert "application/vnd.jupyter.widget-view+json" in box.data and "Controls" in box.data["text/plain"]
