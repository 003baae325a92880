"""The table of rooms holds in README and in the imports, and importing the package costs nothing heavy."""

import ast
import importlib
import re
import subprocess
import sys
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from qcourse.common import repository

# Imported inside functions only, so that no room makes another one slow.
LATE = {"transformers", "bitsandbytes", "llama_cpp", "peft", "matplotlib", "gguf", "vllm", "gptqmodel",
        "llmcompressor", "datasets", "pandas", "IPython", "ipywidgets", "ray"}  # fmt: skip
ROOMS = sorted(path.parent.name for path in (repository() / "qcourse").glob("*/__init__.py"))


def test_the_import_contract_is_kept():
    """lint-imports reads the contracts from pyproject.toml."""
    command = [
        sys.executable,
        "-c",
        "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=repository())
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_room_has_a_contract():
    contracts = tomllib.loads((repository() / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
    governed = {
        module.removeprefix("qcourse.") for contract in contracts for module in contract["source_modules"]
    }
    assert governed | {"cli", "common"} == set(ROOMS)
    for contract in contracts:
        forbidden = {name.removeprefix("qcourse.") for name in contract["forbidden_modules"]}
        assert not forbidden & {"common"}, "everyone may import qcourse.common"


def imported_modules(path: Path, modules: set[str]) -> set[str]:
    """Return the modules that a file imports, inside functions and under TYPE_CHECKING too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            full = {alias.name: f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in modules else node.module for name in full.values()}
    return names & modules


def circle_in(imports: dict[str, set[str]]) -> list[str]:
    """Return modules that import each other in a circle; [] where there are none."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def test_no_modules_import_each_other_in_a_circle():
    files = {}
    for path in (repository() / "qcourse").rglob("*.py"):
        name = ".".join(path.relative_to(repository()).with_suffix("").parts).removesuffix(".__init__")
        files[name] = path
    imports = {name: imported_modules(path, set(files)) - {name} for name, path in files.items()}
    assert circle_in(imports) == []
    lowest = "qcourse.numerics.checks"  # the control: a late import back up closes a circle
    assert set(circle_in(imports | {lowest: {"qcourse.quantize"}})) >= {lowest, "qcourse.quantize"}


def test_late_imports_count_as_imports(tmp_path):
    (tmp_path / "late.py").write_text("def f():\n    from qcourse.numerics import types, Grid\n")
    found = imported_modules(tmp_path / "late.py", {"qcourse.numerics", "qcourse.numerics.types"})
    assert found == {"qcourse.numerics", "qcourse.numerics.types"}


def test_readme_has_a_row_for_every_room():
    readme = (repository() / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"\[(\w+)\]\(qcourse/(\w+)\)", readme)
    assert all(name == folder for name, folder in rows)
    assert sorted(name for name, _ in rows) == sorted(set(ROOMS) - {"cli", "common"})


def top_level_imports(tree: ast.Module) -> set[str]:
    """Return the packages that a module imports when it is itself imported."""
    names, waiting = set(), list(tree.body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split(".")[0])
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        elif not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
    return names


def test_the_check_sees_imports_under_if_and_try_and_not_in_functions():
    tree = ast.parse("try:\n    import peft\nexcept ImportError:\n    pass\ndef f():\n    import gguf\n")
    assert top_level_imports(tree) == {"peft"}


def test_heavy_libraries_are_imported_where_they_are_used():
    found = {
        str(path.relative_to(repository())): sorted(heavy)
        for path in (repository() / "qcourse").rglob("*.py")
        # programs of their own, and what runs in another environment
        if path.parent.name not in ("peers", "inside_vllm")
        and not path.stem.endswith(("_worker", "llama_cpp_engine"))
        and (heavy := top_level_imports(ast.parse(path.read_text())) & LATE)
    }
    assert not found


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_holds_every_name_that_it_exports(room):
    module = importlib.import_module(f"qcourse.{room}")
    assert not [name for name in getattr(module, "__all__", ()) if not hasattr(module, name)]


@pytest.mark.parametrize(
    "module", ["qcourse", "qcourse.common", "qcourse.cli", "qcourse.plan", "qcourse.recipe"]
)
def test_light_modules_stay_light(module):
    """These are under 0.3 s because torch, numpy and their like are not loaded by them."""
    code = f"import sys, {module}; print(sorted({{'torch', 'numpy', 'pandas'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr
