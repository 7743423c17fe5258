"""`make test` leaves out what is marked slow; a merge runs everything."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAKE = shutil.which("make")


def run_by(target: str) -> list[str]:
    """The lines with which a target of the Makefile starts pytest."""
    assert MAKE is not None
    done = subprocess.run([MAKE, "--dry-run", target], cwd=ROOT, capture_output=True, text=True, check=True)
    return [line for line in done.stdout.splitlines() if " -m pytest " in line]


@pytest.mark.skipif(MAKE is None, reason="needs make")
def test_a_merge_runs_every_test_once_and_make_test_leaves_out_the_slow_ones():
    (quick,), (everything,) = run_by("test"), run_by("test-all")
    assert quick.split() == [*everything.split(), "-m", '"not', 'slow"']
    merged = re.findall(r"^make (.+)$", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), flags=re.M)
    assert merged == ["check", "test-all"]


def test_targets_that_pages_name_are_in_the_makefile():
    (phony,) = re.findall(r"^\.PHONY: (.+)$", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.M)
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    named = set(re.findall(r"(?:^|`)make ([a-z-]+)", text, flags=re.M))
    assert {"test", "test-all", "check", "demo"} <= named <= set(phony.split())


def test_notebooks_and_what_may_take_longer_than_other_tests_are_marked_slow(request: pytest.FixtureRequest):
    usual = float(request.config.getini("timeout"))
    for item in request.session.items:
        limit = item.get_closest_marker("timeout")
        if item.path.suffix == ".ipynb" or (limit is not None and limit.args[0] > usual):
            assert item.get_closest_marker("slow") is not None, item.nodeid
