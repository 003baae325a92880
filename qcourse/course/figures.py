"""Figures of the lessons: a few plain shapes, small files, one look, and a text for who cannot see them.

A method has the same colour in every figure (`qcourse.common.colours`); nothing is told by colour alone.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from qcourse.common.colours import DASHES, MARKERS, colour_of
from qcourse.course.frame import axes, log_ticks, tell

HATCHES = ("", "//", "..", "xx")


def bars(
    values: Mapping[str, float],
    x: str,
    title: str = "",
    errors: Mapping[str, tuple] | None = None,
    log: bool = False,
) -> Any:
    """Draw one horizontal bar a name; `errors` maps names to (low, high) interval ends.

    log: a logarithmic axis, on which a length means nothing: a dot stands for each bar.
    """
    figure, ax = axes(title, x, size=(6.4, 1.0 + 0.34 * len(values)))
    for index, (name, value) in enumerate(values.items()):
        colour = colour_of(name, index)
        if log:
            ax.plot([value], [index], MARKERS[0], color=colour, markersize=7)
        else:
            ax.barh(index, value, color=colour)
        if errors and name in errors:
            ax.hlines(index, *errors[name], color="black", linewidth=1.5)
    ax.set_yticks(range(len(values)), [name.replace("\n", " ") for name in values], fontsize=9)
    ax.invert_yaxis()
    if log:
        log_ticks(ax)
    known = errors or {}
    ends = {name: " ({:.3g} to {:.3g})".format(*known[name]) if name in known else "" for name in values}
    return tell(figure, {name: f"{value:.3g}{ends[name]}" for name, value in values.items()})


def grouped(names: Sequence[str], series: Mapping[str, Sequence[float]], y: str, title: str = "") -> Any:
    """Draw for each name one bar of each series, side by side."""
    figure, ax = axes(title, y=y, size=(7.2, 3.4))
    width = 0.8 / max(1, len(series))
    for index, (label, values) in enumerate(series.items()):
        places = [place + (index - (len(series) - 1) / 2) * width for place in range(len(names))]
        look = {
            "color": colour_of(label, index),
            "hatch": HATCHES[index % len(HATCHES)],
            "edgecolor": "white",
        }
        ax.bar(places, values, width, label=label, **look)
    ax.set_xticks(range(len(names)), [name.replace(" ", "\n") for name in names], fontsize=9)
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1, 1))
    numbers = {label: ", ".join(f"{value:.3g}" for value in values) for label, values in series.items()}
    return tell(figure, {"for": ", ".join(" ".join(name.split()) for name in names), **numbers})


def lines(
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    x: str,
    y: str,
    title: str = "",
    log_x: bool = False,
    log_y: bool = False,
) -> Any:
    """Draw one line a name, from its (x values, y values); lines differ by dashes and markers as well."""
    figure, ax = axes(title, x, y)
    told = {}
    for index, (name, (xs, ys)) in enumerate(series.items()):
        marker, dash = (looks[index % len(looks)] for looks in (MARKERS, DASHES))
        few = {"marker": marker, "markersize": 4} if len(xs) <= 40 else {}
        ax.plot(xs, ys, linestyle=dash, label=name, color=colour_of(name, index), **few)
        told[name] = f"from {float(ys[0]):.3g} to {float(ys[-1]):.3g}" if len(ys) else "no values"
    ax.legend(frameon=False)
    if log_x:
        ax.set_xscale("log", base=2)
    if log_y:
        ax.set_yscale("log")
    return tell(figure, told)


def pareto(
    points: Mapping[str, tuple[float, float]], x: str, y: str, title: str = "", log_y: bool = True,
    errors: Mapping[str, tuple] | None = None
) -> Any:  # fmt: skip
    """Draw named points; a line joins those that no other point beats on both axes (less is better).

    errors: the (low, high) ends of y's interval by name.
    """
    from qcourse.measure.pareto import pareto_front

    figure, ax = axes(title, x, y, (7.2, 4.4))
    for index, (name, (px, py)) in enumerate(sorted(points.items(), key=lambda item: item[1])):
        ax.plot(px, py, "o", color=colour_of(name))
        ax.vlines(px, *(errors or {}).get(name, (py, py)), color=colour_of(name), linewidth=1.5)
        ax.annotate(name, (px, py), (5, 6 if index % 2 else -10), textcoords="offset points", fontsize=8)
    places = list(points.values())
    front = sorted(places[index] for index in pareto_front(places))
    ax.plot([px for px, _ in front], [py for _, py in front], "--", color="0.6", linewidth=1)
    if log_y:
        ax.set_yscale("log")
    return tell(figure, {name: f"{px:.3g}, {py:.3g}" for name, (px, py) in points.items()})


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
    low, high = image.get_clim()
    return tell(figure, {label or "values": f"{low:.3g} (dark) to {high:.3g} (bright)"})


def histogram(values: Mapping[str, Any], x: str, title: str = "", bins: int = 80, log: bool = False) -> Any:
    """Draw one outlined histogram a name, as share of the values."""
    figure, ax = axes(title, x, "density")
    for index, (name, numbers) in enumerate(values.items()):
        look = {"color": colour_of(name, index), "linestyle": DASHES[index % len(DASHES)]}
        ax.hist(in_memory(numbers), bins=bins, density=True, histtype="step", label=name, **look)
    if log:
        ax.set_yscale("log")
    ax.legend(frameon=False)
    return tell(figure, {name: f"{len(numbers)} values" for name, numbers in values.items()})


def in_memory(values: Any) -> Any:
    """Return a tensor from wherever it is to the CPU's memory; anything else as it is."""
    return values.detach().cpu() if hasattr(values, "cpu") else values


def as_png(draw: Callable[[], Any]) -> bytes:
    """Return the PNG bytes of a figure made by `draw`; for the report."""
    from io import BytesIO

    buffer = BytesIO()
    draw().savefig(buffer, format="png")
    return buffer.getvalue()
