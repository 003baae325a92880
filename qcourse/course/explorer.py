"""A number format to try by hand: the grid and the rounding errors of 128 weights, redrawn by controls."""

from collections.abc import Callable
from typing import Any

from qcourse.common.display import in_notebook
from qcourse.course.frame import axes, tell
from qcourse.numerics.affine import quantize_affine


def number_format_explorer(
    bits: int = 3, group_size: int = 32, outlier: float = 4.0, symmetric: bool = True
) -> None:
    """Show the format's figure, with a control for each argument where a kernel runs.

    group_size: divides 128; outlier: what the largest of the weights is multiplied by.
    """
    given = {"bits": bits, "group_size": group_size, "outlier": outlier, "symmetric": symmetric}
    figure = number_format(**given)
    if not in_notebook():
        print(figure.get_label())
        return
    from IPython.display import display

    shown = display(figure, display_id=True)
    try:
        import ipywidgets as widgets
    except ImportError:
        return
    controls = {
        "bits": widgets.IntSlider(bits, 2, 8),
        "group_size": widgets.SelectionSlider(
            options=sorted({8, 16, 32, 64, 128, group_size}), value=group_size
        ),
        "outlier": widgets.FloatSlider(outlier, min=1, max=max(16, outlier), step=0.5),
        "symmetric": widgets.Checkbox(symmetric),
    }
    redraw_on_change(controls, lambda **values: shown.update(number_format(**values)))
    box = widgets.VBox(list(controls.values()))
    # Where no kernel runs, as on a forge, the figure above is the fallback.
    display({**box._repr_mimebundle_(), "text/plain": "Controls: run this cell to move them."}, raw=True)


def redraw_on_change(controls: dict[str, Any], draw: Callable[..., None]) -> None:
    """Label the controls by their names, and call `draw` with the values of all when one of them changes."""
    for name, control in controls.items():
        control.description = name.replace("_", " ")
        control.continuous_update = False
        control.observe(lambda _: draw(**{key: each.value for key, each in controls.items()}), names="value")


def number_format(bits: int, group_size: int, outlier: float, symmetric: bool) -> Any:
    """Return the figure: the rounding error of each weight, and the levels of the largest weight's group.

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
