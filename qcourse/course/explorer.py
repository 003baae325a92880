"""Figures and tables that controls redraw, and the number format to try by hand."""

from collections.abc import Callable
from typing import Any

from qcourse.common.display import html_table, in_notebook, tabulated
from qcourse.course.frame import axes, tell
from qcourse.numerics.affine import quantize_affine


def explore(draw: Callable[..., Any], **controls: Any) -> None:
    """Show what draw() returns, a figure or rows of a table, drawn anew when a control is moved.

    controls: for each argument of `draw` to move what ipywidgets' `interactive` takes: (low, high) or
    (low, high, step) for a slider, a list for a choice, True or False, a text. They start at draw's defaults.
    Where no kernel runs, as on a forge, the first drawing is what is shown.
    """
    first = draw()
    if not in_notebook():
        print(first.get_label() if hasattr(first, "get_label") else tabulated(first))
        return
    from IPython.display import display

    shown = display(as_shown(first), display_id=True)
    try:
        import ipywidgets as widgets
    except ImportError:
        return
    moved = widgets.interactive(draw, **controls).children[:-1]
    redraw_on_change(moved, lambda **values: shown.update(as_shown(draw(**values))))
    box = widgets.VBox(moved)
    display({**box._repr_mimebundle_(), "text/plain": "Controls: run this cell to move them."}, raw=True)


def redraw_on_change(moved: Any, redraw: Callable[..., None]) -> None:
    """Call `redraw` with the values of all controls, by their names, when one of them has been moved."""
    names = {control: control.description for control in moved}
    for control in moved:
        control.description = names[control].replace("_", " ")
        control.continuous_update = False
        control.observe(lambda _: redraw(**{names[each]: each.value for each in moved}), names="value")


def as_shown(drawn: Any) -> Any:
    """Return a figure as it is, and rows as an object that a notebook shows as a table."""
    if not isinstance(drawn, list):
        return drawn
    from IPython.display import HTML

    return HTML(html_table(drawn))


def number_format(bits: int = 3, group_size: int = 32, outlier: float = 4.0, symmetric: bool = True) -> Any:
    """Return a figure: the rounding errors of 128 weights, and the levels of the largest weight's group.

    group_size: divides 128; outlier: what the largest of the weights is multiplied by.

    Raises ValueError as `quantize_affine` does.
    """
    import torch

    weight = torch.randn(1, 128, generator=torch.Generator().manual_seed(0)) * 0.02
    largest = int(weight.abs().argmax())
    weight[0, largest] *= outlier
    made = quantize_affine(weight, bits, group_size, symmetric)
    error = (made.dequantize() - weight)[0]
    step, zero_point = (part[0, largest // group_size] for part in (made.scale, made.zero_point))
    cost = f"{made.bits_per_weight():.2f} bits a weight, mean squared error {error.square().mean():.2e}"
    title = f"{bits} bits, groups of {group_size}: {cost}"
    figure, ax = axes(title, "weight", "rounded weight - weight")
    levels = (torch.arange(2**bits) - zero_point) * step
    ax.vlines(levels, 0, 1, transform=ax.get_xaxis_transform(), color="0.85", linewidth=1)
    ax.plot(weight[0], error, ".", color="C0")
    side = ax.inset_axes((1.06, 0, 0.22, 1), sharey=ax)
    side.hist(error.numpy(), bins=24, orientation="horizontal", histtype="step", color="C0")
    side.tick_params(labelleft=False)
    side.set_xlabel("weights")
    lines = f"the {2**bits} levels of the largest weight's group, {step:.3g} apart"
    return tell(figure, {"grey lines": lines, "largest error": f"{error.abs().max():.3g}"})
