"""The Pareto figure: bits per weight against KL divergence, lower left is better."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qcourse.common.colours import colour_of
from qcourse.measure.scoreboard import Row, comparable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKERS = {"transformers": "o", "vllm": "s", "llama.cpp": "^"}


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the numbers of the points that no other is as good as in both coordinates and better in one."""
    return [
        i for i, (x, y) in enumerate(points)
        if not any(a <= x and b <= y and (a, b) != (x, y) for a, b in points)
    ]  # fmt: skip


def pareto(rows: Sequence[Row], title: str = "") -> "Figure":
    """Return a figure of bits per weight against mean KL with intervals, the front drawn as a line.

    A row of lane "noise" (bf16 against fp32) becomes the floor below which differences mean nothing.
    Rows without both figures are left out. Raises QCourseError for mixed models or evaluation sets.
    """
    from matplotlib.figure import Figure

    comparable(rows)
    figure = Figure(figsize=(10, 5.5), layout="constrained")
    axes = figure.add_subplot(yscale="log", title=title)
    axes.set_xlabel("bits per weight (all stored bits / all parameters)")
    axes.set_ylabel("mean KL(bf16 || quantized), nats a token")
    shown = [row for row in rows if row.bits_per_weight and row.kl_mean and row.lane != "noise"]
    for row in rows:
        if row.lane == "noise" and row.kl_mean:
            axes.axhline(row.kl_mean, color="0.6", linestyle=":", label="noise: bf16 against fp32")
    draw_front(axes, shown)
    for engine in dict.fromkeys(row.engine for row in shown):
        draw_points(axes, engine, [row for row in shown if row.engine == engine])
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small", loc="upper right")
    name_points(figure, axes, shown)
    return figure


def draw_front(axes: Any, rows: Sequence[Row]) -> None:
    """Join the points that no other beats in both coordinates."""
    points = [(row.bits_per_weight, row.kl_mean) for row in rows if row.bits_per_weight and row.kl_mean]
    line = sorted(points[i] for i in pareto_front(points))
    axes.plot([x for x, _ in line], [y for _, y in line], color="0.8", zorder=0)


def draw_points(axes: Any, engine: str, rows: Sequence[Row]) -> None:
    """Draw the rows of one engine with their intervals: its marker, and the colour of each row's method."""
    marker = MARKERS.get(engine, "D")
    axes.plot([], [], color="0.3", marker=marker, linestyle="none", label=engine)
    for row in rows:
        mean = row.kl_mean or 0.0
        low, high = row.intervals.get("kl_mean", (mean, mean))
        spread = [[max(0.0, mean - low)], [max(0.0, high - mean)]]
        look = {"color": colour_of(point_name(row)), "marker": marker, "markersize": 5, "capsize": 2}
        axes.errorbar([row.bits_per_weight], [mean], yerr=spread, linestyle="none", **look)


def name_points(figure: "Figure", axes: Any, rows: Sequence[Row]) -> None:
    """Write lane or recipe beside each point, moved apart where names would overlap."""
    from adjustText import adjust_text
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure).draw()  # names are placed by their drawn size
    names = [axes.text(row.bits_per_weight, row.kl_mean, point_name(row), fontsize="small") for row in rows]
    if len(names) > 1:
        adjust_text(names, ax=axes, expand=(1.15, 1.4), arrowprops={"arrowstyle": "-", "color": "0.7"})


def point_name(row: Row) -> str:
    """Return the recipe, and the lane where its name says more."""
    return row.recipe if row.recipe.startswith(row.lane) else f"{row.lane}: {row.recipe}"
