"""What the project is installed from says the same everywhere: pins, lock file, Dockerfiles."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DOCKERFILES = sorted((ROOT / "docker").glob("*.Dockerfile"))


def test_there_are_images_for_cpus_and_gpus():
    assert [path.stem for path in DOCKERFILES] == ["cpu", "cuda"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_what_an_image_copies_is_there_and_not_ignored(path):
    lines = re.findall(r"^COPY (?!--from)(.+)$", path.read_text(encoding="utf-8"), flags=re.M)
    copied = [word for line in lines for word in line.split()[:-1]]
    assert {"constraints.txt", "pyproject.toml", "marsgen", "segmenter", "configs"} <= set(copied)
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    for name in copied:
        assert (ROOT / name).exists(), name
        assert f"!{name}" in ignored
    # what the wheel is made of: hatch stops where one of them is missing
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert {*wheel["packages"], *wheel["force-include"], PROJECT["project"]["readme"], "LICENSE"} <= set(copied)


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_an_image_has_the_python_that_the_project_is_checked_with(path):
    versions = set(re.findall(r"^FROM python:(\d+\.\d+)", path.read_text(encoding="utf-8"), flags=re.M))
    assert versions == {PROJECT["tool"]["mypy"]["python_version"]}
    assert versions.pop() in SpecifierSet(PROJECT["project"]["requires-python"])


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_an_image_installs_pins_and_extras_that_exist_and_does_not_run_as_root(path):
    text = path.read_text(encoding="utf-8")
    (extras,) = re.findall(r'"\.\[(.*?)\]"', text)
    assert set(extras.split(",")) <= set(PROJECT["project"]["optional-dependencies"])
    installs = re.findall(r"pip install (.*)", text)
    assert all("-c constraints.txt" in line or "-r torch.txt" in line for line in installs)
    assert text.split("FROM ")[-1].count("\nUSER 1000\n") == 1
