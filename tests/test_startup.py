"""Import budget: nothing heavy is imported before settings, paths and class names were checked.

The one exception: `sim:` data, since the simulator paints with scipy.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from marsgen.commands.places import ORT_FILES

ROOT = Path(__file__).parent.parent
HEAVY = {"torch", "torchvision", "scipy", "skimage", "matplotlib", "diffusers", "accelerate", "pandas"}
HEADER = b'{"__metadata__": {"record": "{}"}}'
WEIGHTS = len(HEADER).to_bytes(8, "little") + HEADER
"""a whole safetensors file without a tensor"""
PROGRAM = """
import contextlib, importlib, io, json, sys
for words in json.loads(sys.argv[1]):
    before, out, err, code = set(sys.modules), io.StringIO(), io.StringIO(), None
    sys.argv = words
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            importlib.import_module(words[0] + ".cli").main()
        except SystemExit as stop:
            code = stop.code
    print(json.dumps([code, err.getvalue(), sorted(set(sys.modules) - before)]))
"""


def answers(commands: Sequence[Sequence[str]], cwd: Path) -> list[tuple[int, str, set[str]]]:
    """Run commands one after the other in a new process: exit code, standard error, what each was first to import."""
    words = [sys.executable, "-c", PROGRAM, json.dumps([list(command) for command in commands])]
    done = subprocess.run(words, capture_output=True, text=True, cwd=cwd, check=True)
    return [(code, err, set(modules)) for code, err, modules in map(json.loads, done.stdout.splitlines())]


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
        ("drawer", "marsgen train-generator"),
        ("pred", "segmenter predict"),
    ):
        (folder / name).mkdir()
        trained_on = data | ({"location": "tiny.npz"} if name == "drawer" else {})
        identity = {"command": command, "inputs": {"data": trained_on}, "config": {"data": split}}
        (folder / name / "config.yaml").write_text(yaml.safe_dump(identity))
        (folder / name / "DONE").write_text("{}")
        (folder / name / "best.safetensors").write_bytes(WEIGHTS)
    for name in ("gen", "drawer"):
        (folder / name / "generator.json").write_text('{"generator": "pix2pix"}')
    seen = {part: [] for part in ("train", "val", "test", "extra")}
    (folder / "run" / "split.json").write_text(json.dumps(seen))
    head = {"trained_on": [], "classes": ["big_rock"], "data": {"location": "absent.npz", "fingerprint": "0" * 16}}
    (folder / "synth" / "synth.json").write_text(json.dumps(head))
    shutil.copy(tiny_npz, folder / "tiny.npz")
    (folder / "empty").mkdir()
    (folder / "ort").mkdir()
    for name in ORT_FILES:
        (folder / "ort" / name).touch()
    (folder / "other" / "labels").mkdir(parents=True)
    Image.fromarray(np.ones((32, 32), np.uint8)).save(folder / "other" / "labels" / "a.png")
    (folder / "other" / "classes.yaml").write_text(
        "ignored: 0\nclasses:\n- {name: moss, id: 1}\n- {name: fern, id: 2}\n"
    )
    (folder / "study.yaml").write_text((ROOT / "configs/tiny/study.yaml").read_text(encoding="utf-8"))
    return folder


TINY = ("--data", "tiny.npz")
COPY = ("--generator", "copy-paste", *TINY)
MISTAKES = {
    # a path that is not there
    ("marsgen", "inspect", "--data", "absent"): "absent: no such file or folder",
    ("marsgen", "inspect", *TINY, "--against", "absent"): "absent: no such file or folder",
    ("marsgen", "inspect", *TINY, "--classes", "absent"): "absent: no such classes file",
    ("marsgen", "import", "other", "--classes", "absent"): "absent: no such classes file",
    ("marsgen", "train-generator", *TINY, "--kind", "distilled", "--teacher", "absent"): "absent: no run folder here",
    ("marsgen", "synthesize"): "no finished run of `marsgen train-generator` under outputs/",
    ("marsgen", "preview"): "no finished run of `marsgen train-generator` under outputs/",
    ("marsgen", "playground", "--ort", "ort"): "no finished run of `marsgen train-generator` under outputs/",
    ("marsgen", "import", "absent"): "absent: no such file or folder",
    ("marsgen", "train-generator", "--data", "absent"): "absent: no such file or folder",
    ("marsgen", "train-generator", "--kind", "diffusion", *TINY, "--unlabelled", "absent"): "absent: no such file",
    ("marsgen", "synthesize", "--generator", "absent"): "absent: no run folder here",
    ("marsgen", "synthesize", "--generator", "gen"): "absent.npz: no such file or folder",
    ("marsgen", "synthesize", "--generator", "copy-paste", "--data", "absent"): "absent: no such file or folder",
    ("marsgen", "synthesize", "--generator", "copy-paste", *TINY, "--judge", "absent", "--keep", "0.5"): "no segmenter",
    ("marsgen", "synthesize", "--generator", "copy-paste", *TINY, "--focus", "absent"): "no segmenter here",
    ("marsgen", "synthesize", "--generator", "gen", "--maps", "absent"): "absent: no such file or folder",
    ("marsgen", "synthesize", "--generator", "copy-paste", *TINY, "--maps", "tiny.npz"): "--maps beside --generator",
    (
        "marsgen",
        "synthesize",
        "--generator",
        "gen",
        *TINY,
        "--maps",
        "other",
    ): "--maps other: its classes are moss, fern, those of",
    ("marsgen", "preview", "absent"): "absent: no run folder here",
    ("marsgen", "preview", "gen"): "absent.npz: no such file or folder",
    ("marsgen", "export", "absent"): "absent: no such file or folder",
    ("marsgen", "export", "absent", "--to", "onnx"): "absent: no such file or folder",
    ("marsgen", "export", "gen", "--to", "onnx", "--set", "stepz=1"): "unknown key 'stepz'",
    ("marsgen", "export", "gen", "--to", "onnx"): "absent.npz: no such file or folder",
    ("marsgen", "synthesize", *COPY, "--judge", "empty", "--keep", "0.5"): "empty: no segmenter here",
    ("marsgen", "synthesize", *COPY, "--set", "select.judge=absent", "--keep", "0.5"): "absent: no segmenter here",
    ("marsgen", "synthesize", *COPY, "--focus", "empty"): "empty: no segmenter here",
    ("marsgen", "score", "absent"): "absent: no run folder here",
    ("marsgen", "score", "synth", "--judge", "absent"): "absent: no segmenter here",
    ("marsgen", "score", "synth", "--features", "absent"): "--features absent: no such file",
    ("marsgen", "playground", "gen", "--data", "absent"): "absent: no such file or folder",
    ("marsgen", "playground", "gen", "--ort", "ort"): "absent.npz: no such file or folder",
    ("marsgen", "playground", "gen", "--browse", "absent"): "absent: no such file or folder",
    ("marsgen", "playground", "gen", "--scores", "absent"): "absent: no run folder here",
    ("marsgen", "playground", "gen", "--segmenter", "absent.onnx"): "absent.onnx: no such file",
    ("marsgen", "playground", "gen"): "node_modules/onnxruntime-web/: no ort.wasm.min.mjs",
    ("marsgen", "playground", "gen", "--compare", "absent"): "absent: no run folder here",
    ("marsgen", "playground", "gen", "--compare", "pred", "--test", "absent"): "absent: no such file or folder",
    ("marsgen", "playground", "gen", "--ort", "absent"): "--ort absent: no ort.wasm.min.mjs",
    ("segmenter", "train", "--data", "absent"): "absent: no such file or folder",
    ("segmenter", "train", *TINY, "--extra", "absent"): "--extra absent: no such folder",
    ("segmenter", "train", *TINY, "--fork", "absent"): "absent: no run folder here",
    ("segmenter", "train", *TINY, "--classes", "absent"): "absent: no such classes file",
    ("segmenter", "evaluate", "run", *TINY, "--classes", "absent"): "absent: no such classes file",
    ("segmenter", "predict", "run", *TINY, "--classes", "absent"): "absent: no such classes file",
    ("segmenter", "evaluate", "absent", *TINY): "absent: no run folder here",
    ("segmenter", "evaluate", "run", "--data", "absent"): "absent: no such file or folder",
    ("segmenter", "predict", "absent", *TINY): "absent: no run folder here",
    ("segmenter", "predict", "run", "--data", "absent"): "absent: no such file or folder",
    ("segmenter", "predict", "absent.onnx", *TINY): "absent.onnx: no such file",
    ("segmenter", "export", "absent"): "absent: no run folder here",
    ("segmenter", "export", "run", "--data", "absent"): "absent: no such file or folder",
    ("segmenter", "export", "run", "--set", "stepz=1"): "unknown key 'stepz'",
    ("segmenter", "export", "run"): "absent.npz: no such file or folder",
    ("segmenter", "pseudo-label", "absent", *TINY): "absent: no run folder here",
    ("segmenter", "pseudo-label", "run", "--data", "absent"): "absent: no such file or folder",
    ("segmenter", "compare", "absent", "run"): "absent: no run folder here",
    ("segmenter", "report", "absent", "run"): "absent: no run folder here",
    ("segmenter", "study-report", "absent"): "absent: no such folder",
    ("segmenter", "study-report", "empty"): "empty: neither a finished study",
    ("segmenter", "study", "absent.yaml", *TINY): "absent.yaml: no such study",
    ("segmenter", "study", "study.yaml", "--data", "absent"): "absent: no such file or folder",
    ("segmenter", "auto", "--data", "absent"): "absent: no such file or folder",
    ("segmenter", "auto", *TINY, "--recipes", "absent.yaml"): "--recipes absent.yaml: no such file",
    ("segmenter", "auto", *TINY, "--budget", "soon"): "--budget soon: expected a time",
    # a run of another command
    ("marsgen", "train-generator", *TINY, "--kind", "distilled", "--teacher", "run"): "run was made by",
    ("marsgen", "synthesize", "--generator", "run"): "run was made by `segmenter train`",
    ("marsgen", "preview", "run"): "run was made by `segmenter train`",
    ("marsgen", "export", "run", "--to", "onnx"): "run was made by `segmenter train`",
    ("marsgen", "export", "tiny.npz", "--to", "onnx"): "tiny.npz: no run folder here",
    ("marsgen", "score", "run"): "run was made by `segmenter train`",
    ("marsgen", "playground", "run"): "run was made by `segmenter train`",
    ("segmenter", "train", *TINY, "--extra", "gen"): "gen was made by `marsgen train-generator`",
    ("segmenter", "train", *TINY, "--fork", "gen"): "gen was made by `marsgen train-generator`",
    ("segmenter", "evaluate", "gen", *TINY): "gen was made by `marsgen train-generator`",
    ("segmenter", "predict", "gen", *TINY): "gen was made by `marsgen train-generator`",
    ("segmenter", "export", "gen"): "gen was made by `marsgen train-generator`",
    ("segmenter", "pseudo-label", "gen", *TINY): "gen was made by `marsgen train-generator`",
    ("segmenter", "compare", "gen", "run"): "gen was made by `marsgen train-generator`",
    # options that do not go together
    ("marsgen", "train-generator", *TINY, "--kind", "distilled"): "--kind distilled and --teacher",
    ("marsgen", "train-generator", *TINY, "--unlabelled", "tiny.npz"): "pix2pix needs labelled pictures",
    ("marsgen", "synthesize", "--generator", "copy-paste"): "copy-paste knows no data of its own",
    (
        "marsgen",
        "synthesize",
        "--generator",
        "drawer",
        "--maps",
        "tiny.npz",
        "--class",
        "sand",
    ): "--maps beside --class",
    # a key that is not there
    ("marsgen", "inspect", *TINY, "--set", "stepz=1"): "unknown key 'stepz'",
    ("marsgen", "import", "tiny.npz", "--set", "stepz=1"): "unknown key 'stepz'",
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
    ("segmenter", "auto", *TINY, "--set", "stepz=1"): "unknown key 'stepz'",
    # a value that cannot be
    ("segmenter", "train", *TINY, "--set", "steps=many"): "steps is 'many'; expected a whole number",
    ("segmenter", "evaluate", "run", *TINY, "--set", "part=unicorn"): "part is 'unicorn'; expected one of",
    ("marsgen", "train-generator", *TINY, "--set", "kind=unicorn"): "kind is 'unicorn'",
    ("marsgen", "import", "tiny.npz", "--format", "cocoa"): "format is 'cocoa' (did you mean 'coco'?)",
    ("marsgen", "synthesize", "--generator", "copy-past", *TINY): "did you mean 'copy-paste'?",
    # an arm or a set that is not there
    ("segmenter", "study", "study.yaml", *TINY, "--set", "baseline=unicorn"): "unicorn",
    ("segmenter", "study", "study.yaml", *TINY, "--set", "arms.pasted.extra=[unicorn]"): "unicorn",
    ("segmenter", "auto", *TINY, "--set", "arms=[unicorn]"): "no arm 'unicorn' in the recipes",
}
"""command line -> words of its error"""
PASTE = ("marsgen", "synthesize", "--generator", "copy-paste")
MARS, OTHER = "no class 'unicorn'; the classes are soil, bedrock", "no class 'unicorn'; the classes are moss, fern"
MISSPELT_CLASSES = {
    (*PASTE, *TINY, "--class", "unicorn"): MARS,
    (*PASTE, *TINY, "--set", "classes=[big_rock,unicorn]"): MARS,
    (*PASTE, *TINY, "--set", "paste.avoid_classes=[unicorn]", "--class", "big_rock"): MARS,
    (*PASTE, *TINY, "--set", "paste.ground_classes=[unicorn]", "--class", "big_rock"): MARS,
    (*PASTE, *TINY, "--classes", "other/classes.yaml", "--class", "unicorn"): OTHER,
    (*PASTE, "--data", "other", "--class", "unicorn"): OTHER,
    (*PASTE, "--data", "sim:40", "--class", "unicorn"): MARS,
    ("marsgen", "synthesize", "--generator", "drawer", "--class", "unicorn"): MARS,
    ("segmenter", "auto", *TINY, "--class", "unicorn"): MARS,
    ("segmenter", "auto", "--data", "other", "--class", "unicorn"): OTHER,
    ("segmenter", "train", *TINY, "--set", "best_metric=iou_unicorn"): "best_metric is 'iou_unicorn'",
    ("segmenter", "train", "--data", "other", "--set", "best_metric=iou_fen"): "did you mean 'iou_fern'?",
    ("segmenter", "train", "--data", "other", "--set", "calibrate=1"): "other names no rare class",
    (
        "segmenter",
        "study",
        "study.yaml",
        *TINY,
        "--set",
        "train.best_metric=iou_unicorn",
    ): "best_metric is 'iou_unicorn'",
    ("segmenter", "study", "study.yaml", *TINY, "--set", "sets.pasted.settings.classes=[unicorn]"): f"classes: {MARS}",
}
"""command line -> words of its error; the names of the classes are known without a look at the scenes"""


@pytest.fixture(scope="module")
def answered(place) -> dict[tuple[str, ...], tuple[int, str, set[str]]]:
    return dict(zip(MISTAKES, answers(list(MISTAKES), place), strict=True))


@pytest.mark.parametrize("words", MISTAKES, ids=" ".join)
def test_a_mistake_is_answered_before_anything_heavy_is_imported(words, answered):
    code, err, imported = answered[words]
    assert MISTAKES[words] in err
    assert code == 2
    assert imported & {*HEAVY, "numpy", "PIL"} == set()


def test_a_misspelt_class_is_answered_before_anything_is_imported_that_reads_scenes(place):
    """Nor numpy, which takes a third of the time that such an answer may take."""
    answered = answers(list(MISSPELT_CLASSES), place)
    for words, (code, err, imported) in zip(MISSPELT_CLASSES, answered, strict=True):
        assert MISSPELT_CLASSES[words] in err, words
        assert code == 2
        assert imported & {*HEAVY, "numpy", "PIL", "marsgen.scenes.sources"} == set(), words


def test_a_place_that_is_not_there_is_answered_before_the_settings_are_read(place):
    absent = [words for words in MISTAKES if words[:2] in (("segmenter", "train"), ("marsgen", "inspect"))]
    absent = [words for words in absent if "--set" not in words and "gen" not in words]
    absent += [("segmenter", "evaluate", "absent", *TINY), ("marsgen", "synthesize", "--generator", "absent")]
    assert len(absent) == 9
    for code, _, imported in answers(absent, place):
        assert code == 2
        assert imported & {*HEAVY, "numpy", "yaml", "PIL"} == set()


def test_help_imports_less_still(place):
    for code, _, imported in answers([("marsgen", "--help"), ("segmenter", "--help")], place):
        assert code == 0
        assert imported & {*HEAVY, "numpy", "pydantic", "yaml", "PIL"} == set()


@pytest.mark.slow
def test_a_training_imports_only_what_it_uses(place):
    words = ("segmenter", "train", *TINY, "--set", "steps=1", "--set", "batch_size=2", "--set", "unet.width=4")
    ((code, _, imported),) = answers([words], place)
    assert code == 0
    assert "torch" in imported  # the budget above can be exceeded, and that would be seen
    # augmentation is our own, and only diffusion needs diffusers (torch's optimizers import torch._dynamo themselves)
    assert imported & {"torchvision", "diffusers", "matplotlib"} == set()
