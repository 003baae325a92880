"""Figures of the lessons: a few plain shapes, small files, one look."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

DPI = 72  # a figure of 6.4 x 3.6 inches is then about 15 KB of PNG
COLOURS = ("#2b5f8a", "#c8553d", "#588157", "#8d6a9f", "#b08900", "#5c6b73")


def axes(title: str, x: str = "", y: str = "", size: tuple[float, float] = (6.4, 3.4)) -> tuple[Any, Any]:
    """Return a titled figure and its axes; labels carry their units.

    The figure is closed for pyplot, so that a notebook shows it once: as the cell's value.
    """
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=size, dpi=DPI, layout="constrained")
    plt.close(figure)
    ax.set_title(title, fontsize=11, loc="left")
    ax.set_xlabel(x)
    ax.set_ylabel(y)
    ax.spines[["top", "right"]].set_visible(False)
    return figure, ax


def bars(
    values: Mapping[str, float],
    y: str,
    title: str = "",
    errors: Mapping[str, tuple] | None = None,
    log: bool = False,
) -> Any:
    """Draw one bar a name; `errors` maps names to (low, high) interval ends."""
    figure, ax = axes(title, y=y)
    colours = [COLOURS[index % len(COLOURS)] for index in range(len(values))]
    ax.bar(list(values), list(values.values()), color=colours)
    for index, name in enumerate(values):
        if errors and name in errors:
            ax.vlines(index, *errors[name], color="black")
    if log:
        ax.set_yscale("log")
    if sum(len(part) for name in values for part in name.splitlines()[:1]) > 45:
        ax.tick_params(axis="x", rotation=30)
    return figure


def grouped(names: Sequence[str], series: Mapping[str, Sequence[float]], y: str, title: str = "") -> Any:
    """Draw for each name one bar of each series, side by side."""
    figure, ax = axes(title, y=y, size=(7.2, 3.4))
    width = 0.8 / max(1, len(series))
    for index, (label, values) in enumerate(series.items()):
        places = [place + (index - (len(series) - 1) / 2) * width for place in range(len(names))]
        ax.bar(places, values, width, label=label, color=COLOURS[index % len(COLOURS)])
    ax.set_xticks(range(len(names)), names, rotation=20)
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    return figure


def lines(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    x: str,
    y: str,
    title: str = "",
    log_x: bool = False,
    log_y: bool = False,
) -> Any:
    """Draw one line a name, from its (x values, y values)."""
    figure, ax = axes(title, x, y)
    for index, (name, (xs, ys)) in enumerate(series.items()):
        ax.plot(xs, ys, marker="o", markersize=4, label=name, color=COLOURS[index % len(COLOURS)])
    ax.legend(frameon=False)
    if log_x:
        ax.set_xscale("log", base=2)
    if log_y:
        ax.set_yscale("log")
    return figure


def pareto(
    points: Mapping[str, tuple[float, float]], x: str, y: str, title: str = "", log_y: bool = True
) -> Any:
    """Draw named points; a line joins those that no other point beats on both axes (less is better)."""
    from qcourse.measure.pareto import pareto_front

    figure, ax = axes(title, x, y, (7.2, 4.4))
    for index, (name, (px, py)) in enumerate(sorted(points.items(), key=lambda item: item[1])):
        ax.plot(px, py, "o", color=COLOURS[0])
        ax.annotate(name, (px, py), (5, 6 if index % 2 else -10), textcoords="offset points", fontsize=8)
    places = list(points.values())
    front = sorted(places[index] for index in pareto_front(places))
    ax.plot([px for px, _ in front], [py for _, py in front], "--", color=COLOURS[1], linewidth=1)
    if log_y:
        ax.set_yscale("log")
    return figure


def heatmap(
    values: Any,
    x: str,
    y: str,
    title: str = "",
    label: str = "",
    ticks: tuple[Sequence, Sequence] | None = None,
) -> Any:
    """Draw a matrix [rows, columns] as an image with a colour bar.

    ticks: names of columns and of rows; each value is then written into its cell as well.
    """
    figure, ax = axes(title, x, y)
    image = ax.imshow(in_memory(values), aspect="auto", cmap="viridis", interpolation="nearest")
    if ticks:
        ax.set_xticks(range(len(ticks[0])), ticks[0])
        ax.set_yticks(range(len(ticks[1])), ticks[1])
        for row, numbers in enumerate(values):
            for column, number in enumerate(numbers):
                ax.text(column, row, f"{float(number):.2g}", ha="center", backgroundcolor="white")
    figure.colorbar(image, ax=ax, label=label)
    return figure


def histogram(values: Mapping[str, Any], x: str, title: str = "", bins: int = 80, log: bool = False) -> Any:
    """Draw one outlined histogram a name, as share of the values."""
    figure, ax = axes(title, x, "density")
    for index, (name, numbers) in enumerate(values.items()):
        colour = COLOURS[index % len(COLOURS)]
        ax.hist(in_memory(numbers), bins=bins, density=True, histtype="step", label=name, color=colour)
    if log:
        ax.set_yscale("log")
    ax.legend(frameon=False)
    return figure


def in_memory(values: Any) -> Any:
    """Return a tensor from wherever it is to the CPU's memory; anything else as it is."""
    return values.detach().cpu() if hasattr(values, "cpu") else values


def as_png(draw: Callable[[], Any]) -> bytes:
    """Return the PNG bytes of a figure made by `draw`; for the report."""
    from io import BytesIO

    buffer = BytesIO()
    draw().savefig(buffer, format="png")
    return buffer.getvalue()
