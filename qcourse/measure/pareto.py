"""The Pareto figure: bits per weight against KL divergence, lower left is better."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from qcourse.measure.scoreboard import Row, comparable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKERS = "osD^vP*X<>"


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
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    shown = [row for row in rows if row.bits_per_weight and row.kl_mean and row.lane != "noise"]
    lanes = list(dict.fromkeys(row.lane for row in shown))
    for row in shown:
        draw_point(axes, row, lanes.index(row.lane))
    front = pareto_front([(row.bits_per_weight, row.kl_mean) for row in shown])
    line = sorted((shown[i].bits_per_weight, shown[i].kl_mean) for i in front)
    axes.plot([x for x, _ in line], [y for _, y in line], color="0.6", zorder=0)
    for row in rows:
        if row.lane == "noise" and row.kl_mean:
            axes.axhline(row.kl_mean, color="0.6", linestyle=":", label="bf16 against fp32")
    axes.set(
        xlabel="bits per weight (all stored bits / all parameters)",
        yscale="log",
        title=title,
        ylabel="mean KL(bf16 || quantized), nats a token",
    )
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize="small")
    return figure


def draw_point(axes, row: Row, lane: int) -> None:
    """Draw one row with its interval and name; the lane decides colour and marker."""
    low, high = row.intervals.get("kl_mean", (row.kl_mean, row.kl_mean))
    spread = [[max(0.0, row.kl_mean - low)], [max(0.0, high - row.kl_mean)]]
    axes.errorbar(
        row.bits_per_weight,
        row.kl_mean,
        yerr=spread,
        color=f"C{lane}",
        marker=MARKERS[lane % len(MARKERS)],
        label=lane_label(axes, row.lane),
        capsize=2,
        linestyle="none",
    )
    axes.annotate(f" {row.recipe}", (row.bits_per_weight, row.kl_mean), fontsize="x-small", va="center")


def lane_label(axes, lane: str) -> str:
    """Return the lane's legend text the first time, and matplotlib's sign for "no entry" afterwards."""
    return "_nolegend_" if lane in axes.get_legend_handles_labels()[1] else lane
