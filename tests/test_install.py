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


# uv.lock


def normal(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def locked() -> list[dict]:
    return tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))["package"]


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {normal(name): version for name, version in pairs}


def test_pip_and_uv_install_the_same_versions(locked):
    others = {package["name"]: package["version"] for package in locked if package["name"] != "marsgen"}
    assert len(others) > 150
    assert {name: pins().get(name) for name in others} == others, "run `make lock`"


def test_the_lock_holds_what_the_project_asks_for(locked):
    (project,) = (package for package in locked if package["name"] == "marsgen")
    extras = PROJECT["project"]["optional-dependencies"]
    assert set(project["optional-dependencies"]) == set(extras), "run `make lock`"
    names = {package["name"] for package in locked}
    for line in [*PROJECT["project"]["dependencies"], *(line for lines in extras.values() for line in lines)]:
        asked = Requirement(line)
        assert normal(asked.name) in names, line
        assert asked.name == "marsgen" or pins()[normal(asked.name)] in asked.specifier, line


def test_the_lock_names_public_places_alone(locked):
    for package in locked:
        assert package["source"] in ({"registry": "https://pypi.org/simple"}, {"editable": "."}), package["name"]
        files = [*package.get("wheels", ()), *([package["sdist"]] if "sdist" in package else ())]
        assert all(file["url"].startswith("https://files.pythonhosted.org/packages/") for file in files)
        assert all(file["hash"].startswith("sha256:") for file in files)


# the page


def test_the_page_on_installing_names_what_is_there(capsys):
    from test_flow import commands_of, refuse_what_does_not_exist

    page = ROOT / "docs" / "install.md"
    text = page.read_text(encoding="utf-8")
    for command in commands_of(page):
        words = command.split()
        if not words[1].startswith("-"):
            refuse_what_does_not_exist(words, capsys)
    assert set(re.findall(r"docker/\w+\.Dockerfile", text)) == {f"docker/{path.name}" for path in DOCKERFILES}
    (torch,) = re.findall(r"torch==(\S+) torchvision", text)
    (vision,) = re.findall(r"torchvision==(\S+)", text)
    assert (pins()["torch"], pins()["torchvision"]) == (torch, vision)
    for extra in re.findall(r"'\.\[(.*?)\]'", text):
        assert set(extra.split(",")) <= set(PROJECT["project"]["optional-dependencies"])
