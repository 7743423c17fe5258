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
DAMAGED = (
    ("cut-head", "synth", "synth.json", b'{"trained_on": ["a'),
    ("empty-head", "synth", "synth.json", b""),
    ("list-head", "synth", "synth.json", b"[1]"),
    ("latin-head", "synth", "synth.json", b'{"trained_on": "\xff"}'),
    ("dataless-head", "synth", "synth.json", b'{"trained_on": []}'),
    ("bad-classes", "synth", "classes.yaml", b"classes: ["),
    ("cut-run", "run", "config.yaml", b"command: ["),
    ("latin-run", "run", "config.yaml", b"\xff\xfe"),
    ("empty-run", "run", "config.yaml", b""),
    ("unfinished", "run", "DONE", b""),
    ("cut-split", "run", "split.json", b'{"train": ['),
    ("empty-split", "run", "split.json", b"{}"),
    ("cut-weights", "run", "best.safetensors", WEIGHTS[:20]),
    ("cut-generator", "drawer", "generator.json", b"{"),
    ("other-generator", "drawer", "generator.json", b'{"generator": 3}'),
    ("cut-drawer", "drawer", "best.safetensors", WEIGHTS[:20]),
)
"""a folder, of which it is a copy, and what one of its files holds instead"""
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
    (folder / "texts" / "deep").mkdir(parents=True)
    (folder / "texts" / "deep" / "readme.txt").write_text("nothing to see")
    (folder / "notes.txt").write_text("nothing to see")
    (folder / "bad.npz").write_bytes(b"PK")
    (folder / "bad.yaml").write_text("classes: [")
    (folder / "latin.yaml").write_bytes(b"classes: \xff\xfe")
    (folder / "five.yaml").write_text("5")
    for damaged, of, name, content in DAMAGED:
        shutil.copytree(folder / of, folder / damaged, dirs_exist_ok=True)
        (folder / damaged / name).write_bytes(content)
    shutil.copytree(folder / "run", folder / "weightless")
    (folder / "weightless" / "best.safetensors").unlink()
    (folder / "counts").mkdir()
    (folder / "counts" / "study.json").write_text("{")
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
MORE_MISTAKES = {
    # a run of another command, where a judge is wanted
    ("marsgen", "synthesize", *COPY, "--judge", "gen", "--keep", "0.5"): "gen was made by `marsgen train-generator`",
    ("marsgen", "synthesize", *COPY, "--judge", "pred", "--keep", "0.5"): "pred was made by `segmenter predict`",
    ("marsgen", "synthesize", *COPY, "--focus", "synth"): "synth was made by `marsgen synthesize`",
    ("marsgen", "synthesize", *COPY, "--set", "select.judge=gen", "--keep", "0.5"): "gen was made by",
    ("marsgen", "score", "synth", "--judge", "gen"): "gen was made by `marsgen train-generator`",
    # a folder or a file without data
    ("segmenter", "train", "--data", "empty"): "empty: no picture and no table in this folder",
    ("segmenter", "train", "--data", "texts"): "texts: no picture and no table in this folder",
    ("segmenter", "train", "--data", "run"): "run: a run of `segmenter train`, which holds no scenes",
    ("segmenter", "train", "--data", "notes.txt"): "notes.txt: a file but no .npz or Parquet",
    ("segmenter", "train", "--data", "bad.npz"): "bad.npz: no whole .npz file",
    ("segmenter", "train", "--data", "sim:x"): "sim:x: expected a number of scenes",
    ("segmenter", "train", "--data", "sim:40,sed=1"): "no option 'sed' (did you mean 'seed'?)",
    ("segmenter", "train", *TINY, "--extra", "empty"): "empty: no picture and no table",
    ("segmenter", "auto", "--data", "empty"): "empty: no picture and no table",
    ("segmenter", "predict", "run", "empty"): "empty: no picture and no table",
    ("segmenter", "pseudo-label", "run", "--data", "gen"): "gen: a run of `marsgen train-generator`",
    ("marsgen", "inspect", "--data", "empty"): "empty: no picture and no table",
    ("marsgen", "import", "empty"): "empty: no picture and no table",
    ("marsgen", "export", "empty"): "empty: no picture and no table",
    ("marsgen", "export", "run"): "run: a run of `segmenter train`, which holds no scenes",
    ("marsgen", "synthesize", "--generator", "drawer", "--maps", "empty"): "empty: no picture and no table",
    ("marsgen", "score", "synth", "--reference", "empty"): "empty: no picture and no table",
    # what a run lacks or has of another kind
    ("marsgen", "train-generator", *TINY, "--kind", "distilled", "--teacher", "drawer"): "a pix2pix generator; only",
    ("segmenter", "train", *TINY, "--fork", "run"): "--fork run: it keeps no state to start from",
    ("segmenter", "predict", "weightless", *TINY): "best.safetensors: no such checkpoint",
    ("segmenter", "evaluate", "weightless", *TINY): "best.safetensors: no such checkpoint",
    ("segmenter", "export", "weightless", *TINY): "best.safetensors: no such checkpoint",
    ("segmenter", "pseudo-label", "weightless", *TINY): "best.safetensors: no such checkpoint",
    ("marsgen", "score", "synth", "--judge", "weightless"): "best.safetensors: no such checkpoint",
    ("marsgen", "score", "synth"): "synth was made from absent.npz, which is not here",
    ("marsgen", "score", "synth", "--features", "judge"): "--features judge: no judge was given",
    ("marsgen", "playground", "drawer", "--ort", "ort", "--segmenter", "notes.txt"): "notes.txt: no .onnx file",
    # a damaged file
    ("marsgen", "score", "cut-head"): "synth.json: not readable json (Unterminated string",
    ("marsgen", "score", "empty-head"): "synth.json: not readable json (empty)",
    ("marsgen", "score", "list-head"): "synth.json: not readable json (a list where a mapping was expected)",
    ("marsgen", "score", "latin-head"): "synth.json: not readable json (not UTF-8 text)",
    ("marsgen", "score", "dataless-head"): "does not say which data and classes the set was made from",
    ("marsgen", "score", "bad-classes"): "classes.yaml: not readable yaml",
    ("marsgen", "export", "cut-head", "--out", "new"): "synth.json: not readable json (Unterminated string",
    ("marsgen", "score", "synth", "--judge", "cut-split"): "split.json: not readable json",
    (
        "marsgen",
        "synthesize",
        *COPY,
        "--judge",
        "empty-split",
        "--keep",
        "0.5",
    ): "expected lists of scene keys",
    ("marsgen", "synthesize", *COPY, "--focus", "cut-weights"): "not a readable checkpoint (20 bytes with a header",
    ("marsgen", "synthesize", "--generator", "cut-generator"): "generator.json: not readable json",
    ("marsgen", "synthesize", "--generator", "other-generator"): "generator.json: no text under 'generator'",
    ("marsgen", "synthesize", "--generator", "cut-drawer"): "not a readable checkpoint",
    ("marsgen", "preview", "cut-generator"): "generator.json: not readable json",
    ("marsgen", "export", "cut-drawer", "--to", "onnx"): "not a readable checkpoint",
    ("segmenter", "predict", "cut-run", *TINY): "config.yaml: not readable yaml",
    ("segmenter", "predict", "latin-run", *TINY): "config.yaml: not readable yaml (not UTF-8 text)",
    ("segmenter", "predict", "empty-run", *TINY): "config.yaml: not written by this toolkit, or damaged",
    ("segmenter", "evaluate", "unfinished", *TINY): "unfinished: this run has not finished",
    ("segmenter", "evaluate", "cut-split", *TINY): "split.json: not readable json",
    ("segmenter", "train", *TINY, "--classes", "bad.yaml"): "bad.yaml: not readable yaml",
    ("marsgen", "inspect", *TINY, "--classes", "latin.yaml"): "latin.yaml: not readable yaml (not UTF-8 text)",
    ("segmenter", "evaluate", "run", *TINY, "--classes", "five.yaml"): "five.yaml: a mapping with keys",
    ("segmenter", "train", *TINY, "--config", "bad.yaml"): "bad.yaml: not readable yaml",
    ("segmenter", "train", *TINY, "--config", "run"): "--config run: a folder",
    ("segmenter", "study", "latin.yaml", *TINY): "latin.yaml: not readable yaml (not UTF-8 text)",
    ("segmenter", "auto", *TINY, "--recipes", "five.yaml"): "expected 'key: value' lines",
    ("segmenter", "study-report", "counts"): "study.json: not readable json",
    # a folder to write into that holds something else
    ("segmenter", "train", *TINY, "--out", "notes.txt"): "notes.txt is a file; --out names a folder",
    ("segmenter", "train", *TINY, "--out", "texts"): "texts is not empty and is no run folder",
    ("segmenter", "train", *TINY, "--out", "synth"): "synth belongs to another run (command is 'marsgen synthesize'",
    ("segmenter", "evaluate", "run", *TINY, "--out", "run"): "run belongs to another run",
    ("segmenter", "auto", *TINY, "--out", "run"): "run belongs to another run",
    ("segmenter", "study", "study.yaml", *TINY, "--out", "run"): "run belongs to another run",
    ("marsgen", "inspect", *TINY, "--out", "notes.txt"): "notes.txt is a file; --out names a folder",
    ("marsgen", "synthesize", *COPY, "--out", "run"): "run belongs to another run",
    ("marsgen", "train-generator", *TINY, "--out", "run"): "run belongs to another run",
    ("marsgen", "demo", "--out", "run"): "run is the folder of a run; the demo writes many runs",
    # options that do not go together
    ("segmenter", "compare", "run"): "one run was named; a comparison needs at least two",
    ("segmenter", "report", "run", "run"): "run is named twice",
    ("segmenter", "study", "study.yaml", *TINY, "--on", "bogus"): "--on bogus: expected ray",
    ("segmenter", "study", "study.yaml", *TINY, "--per-job", "cpu=3"): "--per-job: unknown key 'cpu'",
    ("segmenter", "study", "study.yaml", *TINY, "--test", "tiny.npz", "--folds", "3"): "leave out --test, or the folds",
    ("segmenter", "auto", *TINY, "--on", "ray", "--workers", "2"): "--workers is of this machine",
    ("marsgen", "synthesize", *COPY, "--per-job", "cpus=1"): "nothing is started without --workers or --on",
    ("marsgen", "synthesize", *COPY, "--strength", "0.5"): "copy-paste draws nothing: draw.strength",
    ("marsgen", "synthesize", "--generator", "drawer", "--guidance", "2"): "pix2pix draws in one pass: draw.guidance",
    ("marsgen", "synthesize", *COPY, "--mode", "variation"): "copy-paste at strength 0 gives the real scenes back",
    ("marsgen", "synthesize", *COPY, "--set", "paste.placement=focus"): "--focus is missing",
    ("marsgen", "playground", "drawer", "--ort", "ort", "--test", "tiny.npz"): "--test names labelled scenes for",
    ("marsgen", "playground", "drawer", "--ort", "ort", "--compare", "pred"): "--compare pred alone",
}
"""the same, for what is there and cannot be used, and for options that contradict"""
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


@pytest.fixture(scope="module")
def more_answered(place) -> dict[tuple[str, ...], tuple[int, str, set[str]]]:
    return dict(zip(MORE_MISTAKES, answers(list(MORE_MISTAKES), place), strict=True))


@pytest.mark.parametrize("words", MISTAKES, ids=" ".join)
def test_a_mistake_is_answered_before_anything_heavy_is_imported(words, answered):
    check_answer(answered[words], MISTAKES[words])


@pytest.mark.parametrize("words", MORE_MISTAKES, ids=" ".join)
def test_so_is_what_cannot_be_used_or_contradicts(words, more_answered):
    check_answer(more_answered[words], MORE_MISTAKES[words])


def check_answer(answer: tuple[int, str, set[str]], expected: str) -> None:
    code, err, imported = answer
    assert expected in err
    assert "Traceback" not in err
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
    absent = [words for words in absent if "absent" in words and "gen" not in words]
    absent += [("segmenter", "evaluate", "absent", *TINY), ("marsgen", "synthesize", "--generator", "absent")]
    assert len(absent) == 9
    for code, _, imported in answers(absent, place):
        assert code == 2
        assert imported & {*HEAVY, "numpy", "yaml", "PIL"} == set()


def test_help_imports_less_still(place):
    commands = [("marsgen", "--help"), ("segmenter", "--help")]
    commands += [("segmenter", "train", "--help"), ("marsgen", "synthesize", "-h"), ("segmenter", "study", "--help")]
    for code, _, imported in answers(commands, place):
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
