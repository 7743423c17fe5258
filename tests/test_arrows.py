"""Imports point one way: every import of both packages is compared with the table in CONTRIBUTING.md."""

import ast
import re
import subprocess
import sys
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def all_modules() -> dict[str, Path]:
    """Dotted name -> file of every module of both packages."""
    files = [path for package in ("marsgen", "segmenter") for path in sorted((ROOT / package).rglob("*.py"))]
    parts = {path: path.relative_to(ROOT).with_suffix("").parts for path in files}
    return {".".join(part for part in parts[path] if part != "__init__"): path for path in files}


def imports_of(text: str, known: set[str]) -> set[str]:
    """Modules among `known` that a file imports: at its top, inside functions, and for type checking alike."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written with the full name"
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found.add(name if name in known else node.module)
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return {name for name in found if name.split(".")[0] in ("marsgen", "segmenter")}


def read_order() -> dict[str, bool]:
    """The table of CONTRIBUTING.md, in its order: folder or module -> whether segmenter may import it."""
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `((?:marsgen|segmenter)[\w.]*)` \|.*\| (yes|no|) *\|$", text, flags=re.M)
    return {name: word == "yes" for name, word in rows}


MODULES = all_modules()
ORDER = read_order()


@cache
def graph() -> dict[str, set[str]]:
    """What each module imports; late, because it takes a second that collecting tests need not wait for."""
    return {name: imports_of(path.read_text(encoding="utf-8"), set(MODULES)) for name, path in MODULES.items()}


def row_of(module: str) -> str | None:
    """The row that a module belongs to: its own, else that of the folder that it is in."""
    while module:
        if module in ORDER:
            return module
        module = module.rpartition(".")[0]
        if module in ("marsgen", "segmenter"):  # rows of their own that hold no other module
            return None
    return None


def violations(imports: dict[str, set[str]]) -> list[str]:
    """Imports that the table does not allow."""
    ranks = {name: rank for rank, name in enumerate(ORDER)}
    wrong = []
    for module, imported in imports.items():
        for other in imported:
            row, other_row = row_of(module), row_of(other)
            if row is None or other_row is None:
                wrong.append(f"{module} imports {other}: one of them is not in the table")
            elif ranks[other_row] > ranks[row]:
                wrong.append(f"{module} imports {other}, which stands after it")
            elif module.startswith("segmenter") and other.startswith("marsgen") and not ORDER[other_row]:
                wrong.append(f"{module} imports {other}, which segmenter must not import")
    return sorted(wrong)


def test_the_walk_sees_imports_everywhere():
    text = """
from typing import TYPE_CHECKING
import marsgen.core.runs
from marsgen.core import errors
if TYPE_CHECKING:
    from marsgen.scenes.scene import Scene
def f():
    from segmenter.config import TrainConfig
"""
    found = {"marsgen.core.runs", "marsgen.core.errors", "marsgen.scenes.scene", "segmenter.config"}
    assert imports_of(text, {"marsgen.core.errors"}) == found
    assert "marsgen.masks.plan" in graph()["marsgen.synthesis.scene_maker"]
    assert len(MODULES) > 80


def test_the_table_names_every_folder_once():
    assert list(ORDER)[:3] == ["marsgen", "marsgen.core", "marsgen.scenes"]
    assert [name for name in MODULES if row_of(name) is None] == []
    assert [name for name in ORDER if name not in MODULES] == []


def test_every_folder_imports_only_what_stands_before_it_in_the_table():
    assert violations(graph()) == []


@pytest.mark.parametrize(
    ("module", "imported", "words"),
    [
        ("marsgen.core.storage.files", "marsgen.scenes.scene", "which stands after it"),
        ("marsgen.generators.pix2pix.pix2pix", "marsgen.commands.score", "which stands after it"),
        ("marsgen.cli", "segmenter.config", "which stands after it"),
        ("segmenter.training.train", "marsgen.masks.blend", "which segmenter must not import"),
        ("segmenter.results.page", "marsgen.pages.score_page", "which segmenter must not import"),
        ("marsgen.new_folder.module", "marsgen.core.storage.files", "not in the table"),
    ],
)
def test_what_points_back_is_found(module, imported, words):
    (found,) = violations({module: {imported}})
    assert words in found


def test_there_is_no_import_circle():
    try:
        list(TopologicalSorter(graph()).static_order())
    except CycleError as problem:
        pytest.fail("import circle: " + " -> ".join(problem.args[1]))


def test_marsgen_never_imports_segmenter():
    assert [
        (name, other)
        for name, imported in graph().items()
        for other in imported
        if name.startswith("marsgen") and other.startswith("segmenter")
    ] == []


def test_help_does_not_wait_for_torch():
    code = (
        "import sys, marsgen.cli, segmenter.cli; "
        "slow = {'torch', 'torchvision', 'scipy', 'skimage', 'matplotlib', 'pandas'} & set(sys.modules); "
        "print(sorted(slow))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
