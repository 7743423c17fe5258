"""The site of docs/: all pages in its navigation, all settings on the page of settings, notebooks as their sources."""

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import jupytext
import pytest
import yaml

from marsgen.core.config import Config
from marsgen.core.settings import meanings_of

ROOT = Path(__file__).parent.parent
NOTEBOOKS = sorted(path for path in (ROOT / "docs" / "notebooks").glob("*.py") if path.stem != "write")
NOT_SETTINGS = {"SimulationConfig"}
"""models named ...Config that no command reads from yaml"""


@pytest.fixture(scope="module")
def hooks() -> ModuleType:
    spec = importlib.util.spec_from_file_location("hooks", ROOT / "docs" / "hooks.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def leaves(nav: Any) -> Iterator[str]:
    for entry in nav:
        for value in entry.values():
            yield from leaves(value) if isinstance(value, list) else [value]


def test_every_page_is_in_the_navigation(hooks: ModuleType):
    named = list(leaves(yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]))
    written = [path.name for path in (ROOT / "docs").glob("*.md")]
    notebooks = [f"notebooks/{path.stem}.md" for path in NOTEBOOKS]
    made = [*hooks.TOP.values(), "settings.md", "format_by_format.md"]
    assert sorted(named) == sorted([*written, *notebooks, *made])


def test_every_setting_has_its_line(hooks: ModuleType):
    page = hooks.settings_page()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert len(rows) > 300
    for row in rows:
        cells = row.replace("\\|", "").strip("| ").split(" | ")
        assert len(cells) == 4, row
        assert all(cells), f"a field without type, default or docstring: {row}"
    for words in (
        "| `data.val_fraction` | number, > 0, < 1 | `0.15` | share of the scenes",
        "| `draw.strength` | number or null, ≥ 0, ≤ 1 | `null` |",
        "| `seeds` | list of whole number",
    ):
        assert words in page


def test_every_model_of_settings_is_on_the_page(hooks: ModuleType):
    """A new ...Config that is part of no command's settings is a mistake; its fields are looked for."""
    page = hooks.settings_page()
    files = [path for package in ("marsgen", "segmenter") for path in (ROOT / package).rglob("*.py")]
    texts = {path: path.read_text(encoding="utf-8") for path in files}
    found = [(name, path) for path in files for name in re.findall(r"^class (\w+Config)\b", texts[path], flags=re.M)]
    assert len(found) > 25
    for name, path in found:
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        model = getattr(importlib.import_module(module), name)
        if name in NOT_SETTINGS or model is Config:
            continue
        for key, text in meanings_of(model).items():
            meaning = " ".join(text.split()).replace("|", "\\|")
            assert f"{key}` |" in page, f"{name}.{key}"
            assert meaning in page, f"{name}.{key}"


def test_the_page_of_formats_names_every_reader(hooks: ModuleType):
    from marsgen.scenes.formats.config import KEYS

    named = [name.strip() for _, names, _ in hooks.FORMATS.values() for name in names.split(",")]
    assert sorted(named) == sorted(KEYS)
    assert "a.jpg  a.json" in hooks.formats_page()


@pytest.mark.parametrize("source", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_stored_notebook_is_its_source(source: Path, hooks: ModuleType):
    wanted, stored = (jupytext.read(path) for path in (source, source.with_suffix(".ipynb")))
    cells = [[(cell.cell_type, cell.source) for cell in notebook.cells] for notebook in (wanted, stored)]
    assert cells[0] == cells[1], f"{source.stem}.ipynb is not made of {source.name}: make notebooks"
    assert any(cell.get("outputs") for cell in stored.cells)
    page = hooks.notebook_page(source.with_suffix(".ipynb"))
    text = page[f"notebooks/{source.stem}.md"]
    assert "```python\n" in text
    assert all(f"({Path(name).name})" in text for name in page if name.endswith(".png"))
