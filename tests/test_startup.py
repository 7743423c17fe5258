"""Import budget: nothing heavy is imported before settings, paths and class names were checked.

The one exception: `sim:` data, since the simulator paints with scipy.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "torchvision", "scipy", "skimage", "matplotlib", "diffusers", "accelerate", "pandas")
PROGRAM = """
import importlib, sys
command = sys.argv[1]
sys.argv = sys.argv[1:]
try:
    importlib.import_module(command + ".cli").main()
except SystemExit as stop:
    print("exit", stop.code)
print("heavy", sorted(set(HEAVY) & set(sys.modules)))
"""


def start(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run a command in a process of its own, which says in the end what it has imported."""
    program = f"HEAVY = {HEAVY!r}\n{PROGRAM}"
    return subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, cwd=cwd, check=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory, tiny_npz) -> Path:
    """A folder with data and with what looks like finished runs, of which nothing heavy is ever read."""
    folder = tmp_path_factory.mktemp("place")
    split = {"val_fraction": 0.15}
    data = {"location": "absent.npz", "fingerprint": "0" * 16, "classes": None}
    for name, command in (
        ("gen", "marsgen train-generator"),
        ("run", "segmenter train"),
        ("synth", "marsgen synthesize"),
    ):
        (folder / name).mkdir()
        identity = {"command": command, "inputs": {"data": data}, "config": {"data": split}}
        (folder / name / "config.yaml").write_text(yaml.safe_dump(identity))
        (folder / name / "DONE").write_text("{}")
    shutil.copy(tiny_npz, folder / "tiny.npz")
    (folder / "study.yaml").write_text((ROOT / "configs/tiny/study.yaml").read_text(encoding="utf-8"))
    return folder


TINY = ("--data", "tiny.npz")
MISTAKES = {
    # a path that is not there
    ("marsgen", "inspect", "--data", "absent"): "absent: no such file or folder",
    ("marsgen", "inspect", *TINY, "--against", "absent"): "absent: no such file or folder",
    ("marsgen", "import", "absent"): "absent: no such file or folder",
    ("marsgen", "train-generator", "--data", "absent"): "absent: no such file or folder",
    ("marsgen", "train-generator", "--kind", "diffusion", *TINY, "--unlabelled", "absent"): "absent: no such file",
    ("marsgen", "synthesize", "--generator", "absent"): "absent: no run folder here",
    ("marsgen", "synthesize", "--generator", "gen"): "absent.npz: no such file or folder",
    ("marsgen", "synthesize", "--generator", "copy-paste", "--data", "absent"): "absent: no such file or folder",
    ("marsgen", "synthesize", "--generator", "copy-paste", *TINY, "--judge", "absent", "--keep", "0.5"): "no segmenter",
    ("marsgen", "synthesize", "--generator", "copy-paste", *TINY, "--focus", "absent"): "no segmenter here",
    ("marsgen", "preview", "absent"): "absent: no run folder here",
    ("marsgen", "preview", "gen"): "absent.npz: no such file or folder",
    ("marsgen", "export", "absent"): "absent: no such file or folder",
    ("marsgen", "score", "absent"): "absent: no run folder here",
    ("segmenter", "train", "--data", "absent"): "absent: no such file or folder",
    ("segmenter", "train", *TINY, "--extra", "absent"): "--extra absent: no such folder",
    ("segmenter", "evaluate", "absent", *TINY): "absent: no run folder here",
    ("segmenter", "evaluate", "run", "--data", "absent"): "absent: no such file or folder",
    ("segmenter", "predict", "absent", *TINY): "absent: no run folder here",
    ("segmenter", "predict", "run", "--data", "absent"): "absent: no such file or folder",
    ("segmenter", "pseudo-label", "absent", *TINY): "absent: no run folder here",
    ("segmenter", "pseudo-label", "run", "--data", "absent"): "absent: no such file or folder",
    ("segmenter", "compare", "absent", "run"): "absent: no run folder here",
    ("segmenter", "report", "absent", "run"): "absent: no run folder here",
    ("segmenter", "study-report", "absent"): "absent: no such folder",
    ("segmenter", "study", "absent.yaml", *TINY): "absent.yaml: no such study",
    ("segmenter", "study", "study.yaml", "--data", "absent"): "absent: no such file or folder",
    # a key that is not there
    ("marsgen", "inspect", *TINY, "--set", "stepz=1"): "unknown key 'stepz'",
    ("marsgen", "import", "absent", "--set", "stepz=1"): "unknown key 'stepz'",
    ("marsgen", "train-generator", *TINY, "--set", "stepz=1"): "unknown key 'stepz'",
    ("marsgen", "train-generator", "--kind", "diffusion", *TINY, "--set", "stepz=1"): "unknown key 'stepz'",
    ("marsgen", "synthesize", "--set", "stepz=1"): "unknown key 'stepz'",
    ("marsgen", "preview", "gen", "--set", "stepz=1"): "unknown key 'stepz'",
    ("marsgen", "export", "tiny.npz", "--set", "stepz=1"): "unknown key 'stepz'",
    ("marsgen", "score", "synth", "--set", "stepz=1"): "unknown key 'stepz'",
    ("marsgen", "demo", "--set", "stepz=1"): "unknown key 'stepz'",
    ("segmenter", "train", *TINY, "--set", "stepz=1"): "unknown key 'stepz'",
    ("segmenter", "evaluate", "run", *TINY, "--set", "stepz=1"): "unknown key 'stepz'",
    ("segmenter", "predict", "run", *TINY, "--set", "stepz=1"): "unknown key 'stepz'",
    ("segmenter", "pseudo-label", "run", *TINY, "--set", "stepz=1"): "unknown key 'stepz'",
    ("segmenter", "compare", "run", "--set", "stepz=1"): "unknown key 'stepz'",
    ("segmenter", "report", "run", "--set", "stepz=1"): "unknown key 'stepz'",
    ("segmenter", "study", "study.yaml", *TINY, "--set", "stepz=1"): "unknown key 'stepz'",
    # a class that is not there
    ("marsgen", "synthesize", "--generator", "copy-paste", *TINY, "--class", "unicorn"): "no class 'unicorn'",
    ("segmenter", "train", *TINY, "--set", "best_metric=iou_unicorn"): "best_metric is 'iou_unicorn'",
}
"""command line -> words of its error"""


@pytest.mark.parametrize("words", MISTAKES, ids=" ".join)
def test_a_mistake_is_answered_before_anything_heavy_is_imported(words, place):
    done = start(*words, cwd=place)
    assert MISTAKES[words] in done.stderr
    assert done.stdout.splitlines()[-2:] == ["exit 2", "heavy []"]


@pytest.mark.parametrize("command", ["marsgen", "segmenter"])
def test_help_imports_less_still(command, place):
    program = f"HEAVY = {(*HEAVY, 'numpy', 'pydantic', 'yaml', 'PIL')!r}\n{PROGRAM}"
    words = [sys.executable, "-c", program, command, "--help"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=place, check=True)
    assert done.stdout.splitlines()[-2:] == ["exit 0", "heavy []"]


def test_the_budget_is_measured(place):
    """A command that does train imports what the budget forbids: the list would be seen."""
    done = start("segmenter", "train", *TINY, "--set", "steps=1", "--set", "batch_size=2", cwd=place)
    assert "exit 0" in done.stdout
    assert "'torch'" in done.stdout.splitlines()[-1]
    # its augmentation is our own, and only diffusion needs diffusers
    assert "'torchvision'" not in done.stdout.splitlines()[-1]
    assert "'diffusers'" not in done.stdout.splitlines()[-1]
