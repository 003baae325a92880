"""The frame of a figure: title, axes, look, and the text that stands for it where it cannot be seen."""

from collections.abc import Mapping
from typing import Any

DPI = 72  # a figure of 6.4 x 3.6 inches is then about 15 KB of PNG


def axes(title: str, x: str = "", y: str = "", size: tuple[float, float] = (6.4, 3.4)) -> tuple[Any, Any]:
    """Return a titled figure and its axes; labels carry their units.

    The figure is closed for pyplot, so that a notebook shows it once: as the cell's value. Its label, which
    starts as title and axes, is the alternative text of the image.
    """
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=size, dpi=DPI, layout="constrained")
    plt.close(figure)
    ax.set_title(title, fontsize=11, loc="left")
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.spines[["top", "right"]].set_visible(False)
    figure.set_label(". ".join(part for part in (title, f"{y} over {x}" if x and y else x or y) if part))
    show_with_text(type(figure))
    return figure, ax


def show_with_text(kind: type) -> None:
    """Have the notebook, if this is one, show figures of this kind with their label as alternative text."""
    from IPython import get_ipython
    from IPython.core.pylabtools import print_figure

    if (shell := get_ipython()) is not None:
        shell.display_formatter.formatters["image/png"].for_type(
            kind, lambda figure: (print_figure(figure, base64=True), {"alt": figure.get_label()})
        )


def tell(figure: Any, parts: Mapping[str, str]) -> Any:
    """Add what each name stands at to the figure's alternative text; return the figure."""
    words = "; ".join(f"{' '.join(name.split())}: {said}" for name, said in parts.items())
    figure.set_label(f"{figure.get_label()}. {words}"[:600])
    return figure


def log_ticks(ax: Any) -> None:
    """Make the x axis logarithmic, with plain numbers at 1, 2 and 5 of each decade."""
    from matplotlib.ticker import LogLocator, NullFormatter

    ax.set_xscale("log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.grid(color="0.9")
    ax.set_axisbelow(True)
