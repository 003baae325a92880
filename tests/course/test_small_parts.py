"""Source display, budgets, derivation, figures and tables."""

import logging
import re

import nbformat
import pytest
import torch

from qcourse.common import QCourseError, repository
from qcourse.common.display import show_table
from qcourse.course import budget, figures, show_source
from qcourse.course.lesson_from_solution import derive, derived
from qcourse.course.source import source_text


def sample(x):
    """Double x."""
    return 2 * x


def test_the_readme_links_every_lesson_and_room_and_nothing_that_is_not_there():
    root = repository()
    links = re.findall(r"\]\(([^)#:]+)\)", (root / "README.md").read_text(encoding="utf-8"))
    assert [link for link in links if not (root / link).exists()] == []
    lessons = {f"notebooks/{path.name}" for path in (root / "notebooks").glob("[0-9]*.ipynb")}
    rooms = {f"qcourse/{path.parent.name}" for path in (root / "qcourse").glob("*/__init__.py")}
    assert lessons | rooms - {"qcourse/common", "qcourse/cli"} <= set(links)


def test_source_is_the_files_own_text(capsys):
    show_source(sample)
    shown = capsys.readouterr().out
    assert "return 2 * x" in shown and "test_small_parts.py" in shown and "Double" in shown
    assert source_text(sample, docstring=False) == "def sample(x):\n    return 2 * x\n"


def test_budget_refuses_before_anything_runs(monkeypatch):
    monkeypatch.setattr("qcourse.course.budgets.available_memory", lambda: 2e9)
    with pytest.raises(QCourseError, match=r"needs about 3.0 GB.*2.0 GB are free"):
        with budget("A large thing", seconds=1, gigabytes=3):
            raise AssertionError("the block ran")


def test_budget_says_what_it_took(capsys):
    with budget("A small thing", seconds=1, gigabytes=0.001):
        pass
    shown = capsys.readouterr().out
    assert shown.startswith("A small thing: about 1 s") and "took 0.0 s" in shown


def test_available_memory_respects_the_containers_limit(tmp_path):
    from qcourse.common.machine import available_memory

    (tmp_path / "max").write_text("5000000\n")
    (tmp_path / "current").write_text("1000000\n")
    files = (str(tmp_path / "max"),), (str(tmp_path / "current"),)
    assert available_memory(*files) == 4_000_000
    (tmp_path / "max").write_text("max\n")
    assert available_memory(*files) > 4_000_000


SOLUTION = """def double(x):
    # your turn
    ### BEGIN SOLUTION
    y = 2 * x
    return y
    ### END SOLUTION"""


def test_a_lesson_is_its_solution_with_stubs_and_without_outputs(tmp_path):
    cell = nbformat.v4.new_code_cell(
        SOLUTION, outputs=[nbformat.v4.new_output("stream", text="4")], execution_count=3
    )
    solution = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Title"), cell])
    (tmp_path / "notebooks" / "solutions").mkdir(parents=True)
    nbformat.write(solution, tmp_path / "notebooks" / "solutions" / "98_x.ipynb")
    (written,) = derive(tmp_path)
    lesson = nbformat.read(written, as_version=4)
    assert lesson.cells[1].metadata.tags == ["colab"]
    assert lesson.cells[2].source == "def double(x):\n    # your turn\n    raise NotImplementedError"
    assert lesson.cells[2].outputs == [] and lesson.cells[0].source == "# Title"
    assert derived(solution).cells[1].source == lesson.cells[2].source


def test_two_solutions_in_a_cell_leave_what_is_between():
    text = f"{SOLUTION}\n\n\nkept = 1\n\n\n{SOLUTION}"
    both = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(text)])
    source = derived(both).cells[0].source
    assert source.count("raise NotImplementedError") == 2 and "kept = 1" in source and "2 * x" not in source


def heights(ax):
    """Return the heights of the bars of an axes."""
    return [round(bar.get_height(), 6) for bar in ax.patches]


def test_bars_show_values_and_the_ends_of_their_intervals():
    ax = figures.bars({"a": 1, "b": 2}, "KL (nats)", "title", errors={"b": (1.5, 2.5)}).axes[0]
    assert [bar.get_width() for bar in ax.patches] == [1, 2]
    assert [text.get_text() for text in ax.get_yticklabels()] == ["a", "b"]
    (interval,) = ax.collections
    assert interval.get_segments()[0].tolist() == [[1.5, 1], [2.5, 1]]
    assert (ax.get_xlabel(), ax.get_title(loc="left"), ax.get_xscale()) == ("KL (nats)", "title", "linear")


def test_on_a_log_axis_no_bar_has_a_length():
    ax = figures.bars({"a": 1, "b": 2}, "KL (nats)", errors={"b": (1.5, 2.5)}, log=True).axes[0]
    assert not ax.patches and ax.get_xscale() == "log"
    assert [line.get_xydata().tolist() for line in ax.lines] == [[[1, 0]], [[2, 1]]]
    assert ax.collections[0].get_segments()[0].tolist() == [[1.5, 1], [2.5, 1]]


def test_a_method_has_one_colour_in_every_figure_and_no_two_share_it():
    from qcourse.common.colours import METHODS, colour_of

    curve = ([1, 2], [3, 4])
    line = figures.lines({"other": curve, "GPTQ, 3 bits": curve}, "x", "y").axes[0].lines[1]
    bar = figures.bars({"gptq-w3g128": 1}, "KL").axes[0].patches[0]
    point = figures.pareto({"gptq-w4g128": (4, 0.1)}, "x", "y").axes[0].lines[0]
    assert line.get_color() == point.get_color() == colour_of("autogptq: gptq-w4g128")
    from matplotlib.colors import to_hex

    assert to_hex(bar.get_facecolor()) == colour_of("gptq").lower()
    assert len(set(METHODS.values())) == len(METHODS)


def test_lines_differ_without_colour():
    curve = ([1, 2], [3, 4])
    drawn = figures.lines({name: curve for name in "abcd"}, "x", "y").axes[0].lines
    assert len({(line.get_linestyle(), line.get_marker()) for line in drawn}) == 4


def test_a_notebook_shows_a_figure_with_its_text(monkeypatch):
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell()
    monkeypatch.setattr("IPython.get_ipython", lambda: shell)
    figure = figures.bars({"gptq": 0.1, "rtn\nplain": 0.25}, "KL (nats)", "Three bits", {"gptq": (0.05, 0.2)})
    shell.display_formatter.active_types = ["image/png"]
    data, metadata = shell.display_formatter.format(figure)
    assert data["image/png"]
    assert metadata["image/png"]["alt"] == ("Three bits. KL (nats). gptq: 0.1 (0.05 to 0.2); rtn plain: 0.25")


def test_grouped_bars_stand_side_by_side():
    ax = figures.grouped(["x", "y"], {"a": [1, 2], "b": [3, 4]}, "share right").axes[0]
    assert heights(ax) == [1, 2, 3, 4]
    places = [round(bar.get_x(), 6) for bar in ax.patches]
    assert places == [-0.4, 0.6, 0.0, 1.0] and {round(bar.get_width(), 6) for bar in ax.patches} == {0.4}
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]


def test_lines_go_through_their_points():
    ax = figures.lines({"a": ([1, 2], [3, 4]), "b": ([1, 2], [5, 6])}, "bits", "KL", log_x=True).axes[0]
    assert [line.get_xydata().tolist() for line in ax.lines] == [[[1, 3], [2, 4]], [[1, 5], [2, 6]]]
    assert (ax.get_xlabel(), ax.get_xscale(), ax.get_yscale()) == ("bits", "log", "linear")


def test_a_heatmap_is_the_matrix_and_a_colour_bar():
    figure = figures.heatmap(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "column", "row", label="error")
    assert figure.axes[0].images[0].get_array().tolist() == [[1, 2], [3, 4]]
    assert figure.axes[1].get_ylabel() == "error"


def test_a_histogram_is_a_density():
    ax = figures.histogram({"a": [0, 0, 0, 1]}, "weight", bins=2).axes[0]
    xy = ax.patches[0].get_xy()
    assert {round(float(y), 6) for y in xy[:, 1]} == {0.0, 1.5, 0.5} and ax.get_xlabel() == "weight"


def test_the_report_gets_a_small_png():
    data = figures.as_png(lambda: figures.bars({"a": 1, "b": 2}, "KL (nats)"))
    assert data.startswith(b"\x89PNG") and len(data) < 60_000


def test_the_line_joins_what_nothing_beats():
    points = {"a": (4, 0.1), "b": (3, 0.3), "c": (5, 0.2), "d": (2, 0.9)}
    front = figures.pareto(points, "bits per weight", "KL").axes[0].lines[-1]
    assert front.get_xydata().tolist() == [[2, 0.9], [3, 0.3], [4, 0.1]]


def test_tables_print_not_applicable_for_nan(capsys):
    show_table([{"skill": "facts", "accuracy": float("nan")}, {"skill": "code", "accuracy": 0.123456}])
    shown = capsys.readouterr().out
    assert "not applicable" in shown and "0.1235" in shown


def test_the_yardstick_runs_the_reference_once_and_changes_no_figure(tmp_path, monkeypatch, capsys):
    from qcourse import measure
    from qcourse.course import Yardstick
    from tests.small_models import write_small_model

    monkeypatch.setenv("QCOURSE_MODEL", str(write_small_model(tmp_path / "small", "qwen2")))
    yard = Yardstick(n_windows=3, context=64)
    other = yard.fresh()
    other.model.norm.weight.data *= 1.1
    row = yard.measure("other", other, 16.0)
    runs = []
    yard.reference.model.register_forward_hook(lambda *_: runs.append(1))
    again = yard.measure("other", other, 16.0)
    assert again == row and runs == []
    direct = measure.divergence(yard.reference.model, other, yard.tokens)
    assert yard.kl("other") == pytest.approx(direct.kl_mean, rel=1e-5) and yard.kl("other") > 0
    yard.measure("bf16", yard.reference.model)
    assert yard.kl("bf16") == pytest.approx(0, abs=1e-6) and len(yard.rows) == 2
    assert str(tmp_path) not in capsys.readouterr().out


def test_the_yardstick_forgets_what_is_too_large(tmp_path, monkeypatch):
    from qcourse.course import yardstick
    from tests.small_models import write_small_model

    monkeypatch.setattr(yardstick, "LARGEST_MEMORY", 10.0)
    monkeypatch.setenv("QCOURSE_MODEL", str(write_small_model(tmp_path / "small", "llama_tied")))
    yard = yardstick.Yardstick(n_windows=2, context=32)
    yard.measure("bf16", yard.reference.model)
    assert yard.remembered.kept == {}


def test_muted_drops_notices_of_a_library_that_raises_its_level(capfd):
    from qcourse.common.quiet import muted

    library = logging.getLogger("a_noisy_library")
    library.addHandler(logging.StreamHandler())
    with muted():
        library.setLevel(logging.DEBUG)
        library.warning("notice")
        print("progress")
    library.warning("afterwards")
    assert "".join(capfd.readouterr()) == "afterwards\n"


def test_calls_are_counted_and_the_function_is_put_back():
    from qcourse.course.calls import count_calls

    original, weight = torch.autograd.backward, torch.ones(2, requires_grad=True)
    with count_calls(torch.autograd, "backward") as passes:
        (weight * 2).detach()
        assert passes == []
        weight.sum().backward()
    assert len(passes) == 1 and weight.grad.tolist() == [1, 1]
    with pytest.raises(KeyError), count_calls(torch.autograd, "backward"):
        raise KeyError
    assert torch.autograd.backward is original
