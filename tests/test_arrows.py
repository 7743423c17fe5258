"""Imports point one way: the map in marsgen/__init__.py, held against the code."""

import ast
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
SHARED = ("marsgen.core", "marsgen.scenes", "marsgen.cleaning", "marsgen.console")
STATIONS = {
    "marsgen.scenes": (
        "marsgen.masks",
        "marsgen.generators",
        "marsgen.synthesis",
        "marsgen.commands",
    ),
    "marsgen.masks": ("marsgen.generators", "marsgen.synthesis", "marsgen.commands"),
    "marsgen.generators": ("marsgen.masks", "marsgen.synthesis", "marsgen.commands"),
}


def imports_of(package: str) -> list[tuple[str, str]]:
    """(file, imported module) for every import statement, inside functions too."""
    found = []
    for path in sorted((ROOT / package.replace(".", "/")).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module:
                found.append((str(path.relative_to(ROOT)), node.module))
            elif isinstance(node, ast.Import):
                found += [(str(path.relative_to(ROOT)), alias.name) for alias in node.names]
    return found


def test_the_walk_sees_the_imports_there_are():
    assert ("marsgen/synthesis/scene_maker.py", "marsgen.masks.plan") in imports_of("marsgen")


def test_marsgen_never_imports_segmenter():
    assert [pair for pair in imports_of("marsgen") if pair[1].split(".")[0] == "segmenter"] == []


def test_segmenter_uses_only_the_shared_part_of_marsgen():
    foreign = [
        (path, module)
        for path, module in imports_of("segmenter")
        if module.startswith("marsgen.") and not module.startswith(SHARED)
    ]
    assert foreign == []


def test_no_station_imports_one_downstream():
    back = [
        (path, module)
        for package, downstream in STATIONS.items()
        for path, module in imports_of(package)
        if module.startswith(downstream)
    ]
    assert back == []


def test_help_does_not_wait_for_torch():
    code = (
        "import sys, marsgen.cli, segmenter.cli; "
        "slow = {'torch', 'torchvision', 'scipy', 'skimage', 'matplotlib'} & set(sys.modules); "
        "print(sorted(slow))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
