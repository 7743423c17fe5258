"""Pages of the site that are not written by hand: mkdocs calls the functions whose names begin with on_.

index.md, changelog.md, contributing.md, log.md   README.md and the others of the top folder
notebooks/*.md                                    the notebooks, with the results that are stored in them
format_by_format.md                               the heads of the readers in marsgen/scenes/formats/
settings.md                                       the fields of all settings, see `settings_page`
"""

import base64
import importlib
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

import yaml
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from marsgen.cli import SETTINGS as MARSGEN
from marsgen.core.config import Config
from marsgen.core.settings import meanings_of
from segmenter.cli import SETTINGS as SEGMENTER

ROOT = Path(__file__).parent.parent
TOP = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "LOG.md": "log.md",
}
STUDY = ("StudyConfig", "ArmConfig", "SetConfig")
FORMATS = {
    "labelme": ("LabelMe", "labelme", ""),
    "coco": ("COCO", "coco", ""),
    "yolo": ("YOLO", "yolo", ""),
    "masks": ("Pascal VOC, CVAT, Cityscapes, CamVid", "voc, cityscapes, camvid", ""),
    "class_folders": ("One folder a class", "class-folders", ""),
    "kind_masks": ("A mask for each kind", "kind-masks", ""),
    "tables": ("Parquet and Hugging Face", "parquet, huggingface", " --classes classes.yaml"),
    "geotiff": ("GeoTIFF", "geotiff", " --classes classes.yaml --set range=[0,4000]"),
}
"""module of marsgen/scenes/formats -> title, `--format`, what has to be said"""


def on_files(files: Any, config: Any) -> Any:
    """Add the generated pages."""
    from mkdocs.structure.files import File

    pages: dict[str, str | bytes] = {page: _linked(name) for name, page in TOP.items()}
    pages |= {"settings.md": settings_page(), "format_by_format.md": formats_page()}
    for notebook in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        pages |= notebook_page(notebook)
    for page, content in pages.items():
        files.append(File.generated(config, page, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links out of docs/ lead to the pages made of those files."""
    for name, page in TOP.items():
        markdown = markdown.replace(f"](../{name})", f"]({page})")
    return markdown


def _linked(name: str) -> str:
    """A file of the top folder, with links as they are from docs/."""
    text = (ROOT / name).read_text(encoding="utf-8").replace("](docs/", "](").replace("[LICENSE](LICENSE)", "LICENSE")
    for other, page in TOP.items():
        text = text.replace(f"]({other})", f"]({page})")
    return re.sub(r"\]\((notebooks/\w+)\.ipynb\)", r"](\1.md)", text)


# tutorials


def notebook_page(path: Path) -> dict[str, str | bytes]:
    """A notebook as a page, and its pictures."""
    import nbformat

    files: dict[str, str | bytes] = {}
    parts = []
    for number, cell in enumerate(nbformat.read(path, as_version=4).cells):
        parts.append(cell.source if cell.cell_type == "markdown" else f"```python\n{cell.source}\n```")
        for output in cell.get("outputs", ()):
            if output.output_type == "stream":
                parts.append(f"```text\n{output.text.rstrip()}\n```")
            elif picture := output.get("data", {}).get("image/png"):
                name = f"{path.stem}_{number}.png"
                files[f"notebooks/{name}"] = base64.b64decode(picture)
                parts.append(f"![result of the cell above]({name})")
    return {f"notebooks/{path.stem}.md": "\n\n".join(parts), **files}


# how to


def formats_page() -> str:
    """How each format lies on the disk, from the heads of its reader, and what to type."""
    lines = ["# Format by format", ""]
    lines += [
        "What is recognised, and the command; [Data in other formats](formats.md) has the settings that all share."
    ]
    for module, (title, names, needed) in FORMATS.items():
        head = importlib.import_module(f"marsgen.scenes.formats.{module}").__doc__ or ""
        first, _, rest = head.strip().partition("\n")
        first = first.rpartition(": ")[2]
        lines += ["", f"## {title}", "", f"{first[0].upper()}{first[1:]} (`--format {names}`)", ""]
        lines += ["```text", textwrap.dedent(rest).strip(), "```", "", "```sh"]
        lines += [
            f"marsgen import my_folder{needed} --dry-run",
            f"marsgen import my_folder{needed} --out my_data",
            "```",
        ]
    return "\n".join(lines) + "\n"


# settings


def settings_page() -> str:
    """Every setting of every command: its type, its default and its docstring."""
    lines = [
        "# Settings",
        "",
        "`--set key=value`, a yaml file for `--config`, or keywords in Python (`settings={'draw.strength': 0.6}`). "
        "`marsgen settings COMMAND` and `segmenter settings COMMAND` print the same as yaml.",
    ]
    models = [
        *((f"marsgen {'train-generator --kind ' * (c == 'diffusion')}{c}", place) for c, place in MARSGEN.items()),
        *((f"segmenter {command}", place) for command, place in SEGMENTER.items()),
        *((_study_title(name), f"segmenter.study.config:{name}") for name in STUDY),
    ]
    for title, place in models:
        module, _, name = place.partition(":")
        model = getattr(importlib.import_module(module), name)
        lines += ["", f"## {title}", "", *(model.__doc__ or "").strip().splitlines()[:1], ""]
        lines += ["| setting | type | default | meaning |", "| --- | --- | --- | --- |"]
        lines += [f"| {' | '.join(row)} |" for row in _rows(model)]
    return "\n".join(lines) + "\n"


def _study_title(name: str) -> str:
    return {"StudyConfig": "segmenter study", "ArmConfig": "an arm of a study", "SetConfig": "a set of a study"}[name]


def _rows(model: type[Config], prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    meanings = meanings_of(model)
    for key, field in model.model_fields.items():
        meaning = " ".join(meanings.get(key, "").split())
        block = next((t for t in (field.annotation, *get_args(field.annotation)) if _is_config(t)), None)
        if block is not None and get_origin(field.annotation) in (None, Union, UnionType):
            if meaning:
                yield _row(f"{prefix}{key}", field, meaning)
            yield from _rows(block, f"{prefix}{key}.")
        else:
            yield _row(f"{prefix}{key}", field, meaning)


def _row(key: str, field: FieldInfo, meaning: str) -> tuple[str, str, str, str]:
    default = _default(field)
    shown = "its settings" if _is_config(field.annotation) else f"`{_yaml(default)}`"
    cells = (_type_of(field), "required" if field.is_required() else shown, meaning)
    return f"`{key}`", *(cell.replace("|", "\\|") for cell in cells)  # type: ignore[return-value]


def _is_config(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Config)


def _default(field: FieldInfo) -> Any:
    value = field.get_default(call_default_factory=True)
    return value.model_dump(mode="json") if isinstance(value, Config) else None if value is PydanticUndefined else value


def _yaml(value: Any) -> str:
    value = list(value) if isinstance(value, tuple) else value
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000)
    return text.removesuffix("...\n").strip()


_WORDS = {int: "whole number", float: "number", bool: "true, false", str: "text", NoneType: "null", Path: "path"}
_MOST_SHOWN = 10**6
"""larger bounds are only there against slips"""
_BOUNDS = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<", "min_length": "length ≥", "max_length": "length ≤"}


def _type_of(field: FieldInfo) -> str:
    found = [(sign, getattr(m, key)) for m in field.metadata for key, sign in _BOUNDS.items() if hasattr(m, key)]
    bounds = [f"{sign} {value:g}" for sign, value in found if value < _MOST_SHOWN]
    return ", ".join([_type_words(field.annotation), *bounds])


def _type_words(kind: Any) -> str:
    if hasattr(kind, "__metadata__"):  # Annotated
        return _type_words(get_args(kind)[0])
    origin, inner = get_origin(kind), get_args(kind)
    if origin is Literal:
        return ", ".join(str(value) for value in inner)
    if origin in (Union, UnionType):
        return " or ".join(_type_words(each) for each in inner)
    if origin is dict:
        return f"{_type_words(inner[0])} → {_type_words(inner[1])}"
    if origin in (list, tuple):
        kinds = list(dict.fromkeys(_type_words(each) for each in inner if each is not Ellipsis))
        number = f"{len(inner)} × " if origin is tuple and Ellipsis not in inner else ""
        return f"list of {number}{' / '.join(kinds)}"
    if _is_config(kind):
        return f"block ({kind.__name__})"
    return _WORDS.get(kind) or re.sub(r"^.*\.", "", getattr(kind, "__name__", str(kind)))
