"""Bad run folders: files of finished and stopped runs, of generators, of synthetic sets and of a study's counts."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
from case import PASTE, SYNTHESIZE, TRAIN, Case, damage
from materials import TINY_SEGMENTER, copy


def run_files(rng: random.Random, materials: Path, folder: Path) -> Case:
    """A file of a finished run that was edited or damaged."""
    copy(materials, "run", "run1", "train.npz", "test.npz", into=folder)
    evaluation = next((folder / "run" / "evaluations").iterdir())
    choices = [
        folder / "run" / "config.yaml",
        folder / "run" / "DONE",
        folder / "run" / "metrics.jsonl",
        folder / "run" / "split.json",
        folder / "run" / "environment.json",
        evaluation / "evaluation.json",
        evaluation / "names.json",
        evaluation / "config.yaml",
        evaluation / "counts.npy",
        evaluation / "regions.npy",
        evaluation / "ignored.npy",
    ]
    path = rng.choice(choices)
    note = f"{path.name}: {damage(path, rng)}"
    commands: dict[str, list[tuple[str, ...]]] = {
        "config.yaml": [("segmenter", "predict", "run", "--data", "test.npz", "--out", "out")],
        "DONE": [("segmenter", "predict", "run", "--data", "test.npz", "--out", "out")],
        "split.json": [
            ("segmenter", "evaluate", "run", "--data", "test.npz", "--out", "out"),
            ("segmenter", "pseudo-label", "run", "--data", "test.npz", "--out", "out"),
            (*SYNTHESIZE, "--data", "train.npz", "--judge", "run", "--keep", "0.8"),
        ],
    }
    compare: list[tuple[str, ...]] = [
        ("segmenter", "compare", "run", "run1", "--set", "resamples=200", "--out", "out"),
        ("segmenter", "report", "run", "run1", "--set", "resamples=200", "--out", "out"),
    ]
    again = [("segmenter", "train", "--data", "train.npz", *TINY_SEGMENTER, "--set", "steps=4", "--out", "run")]
    words = rng.choice(commands.get(path.name, []) + compare + (again if path.parent.name == "run" else []))
    return Case(words, note)


def unfinished_runs(rng: random.Random, materials: Path, folder: Path) -> Case:
    """A file of a run that was stopped, damaged before the command is repeated."""
    copy(materials, "train.npz", into=folder)
    if rng.random() < 0.5:
        copy(materials, "stopped", into=folder)
        run = folder / "stopped"
        words = ("segmenter", "train", "--data", "train.npz", *TINY_SEGMENTER, "--set", "steps=4", "--out", "stopped")
        names_ = ["config.yaml", "metrics.jsonl", "split.json", "environment.json", "last.safetensors"]
    else:
        copy(materials, "png", into=folder)
        run = folder / "png"
        shutil.move(run / "manifest.jsonl", run / "journal-000-000.jsonl")
        paste = (*PASTE, "--set", "paste.min_thickness=0.1")
        words = ("marsgen", "synthesize", "--generator", "copy-paste", "--data", "train.npz", "--n", "20", *paste)
        words += ("--out", "png")
        names_ = ["config.yaml", "environment.json", "journal-000-000.jsonl", "journal-000-000.jsonl", "synth.json"]
    (run / "DONE").unlink(missing_ok=True)
    path = run / rng.choice(names_)
    return Case(words, f"{path.name}: {damage(path, rng)}")


def sets(rng: random.Random, materials: Path, folder: Path) -> Case:
    """manifest.jsonl, synth.json, classes.yaml or a shard of a synthetic set that was edited or damaged."""
    name = rng.choice(["png", "shards"])
    copy(materials, name, "run", "train.npz", into=folder)
    root = folder / name
    files = [root / "manifest.jsonl", root / "manifest.jsonl", root / "synth.json", root / "classes.yaml"]
    files += sorted((root / "shards").glob("*.npy")) if name == "shards" else []
    path = rng.choice(files)
    note = f"{name}: {path.name}: {damage(path, rng)}"
    words = rng.choice(
        [
            (*TRAIN, "--data", "train.npz", "--extra", name),
            ("marsgen", "export", name, "--out", "out"),
            ("marsgen", "score", name, "--judge", "run", "--out", "out"),
        ]
    )
    return Case(words, note)


def generator_files(rng: random.Random, materials: Path, folder: Path) -> Case:
    """generator.json, config.yaml or DONE of a trained generator that was edited or damaged."""
    name = rng.choice(["generator", "diffusion"])
    copy(materials, name, "train.npz", into=folder)
    files = ["generator.json", "generator.json", "config.yaml", "DONE"]
    path = folder / name / rng.choice([*files, "denoiser/config.json"] if name == "diffusion" else files)
    note = f"{name}: {path.name}: {damage(path, rng)}"
    synth = ("marsgen", "synthesize", "--generator", name, "--n", "4", *PASTE, "--out", "out")
    given = ("--data", "train.npz") if rng.random() < 0.5 else ()
    return Case((*synth, *given), note)


def study_counts(rng: random.Random, materials: Path, folder: Path) -> Case:
    """A file of a study's counts that was edited or damaged."""
    copy(materials, "counts", into=folder)
    path = folder / "counts" / rng.choice(["study.json", "study.json", "images.json", "pasted.npz", "rocks-10.npz"])
    if path.name == "study.json" and rng.random() < 0.25:
        content = json.loads(path.read_text())
        content["arms"][0]["name"] = rng.choice(["../../x", "a|b", "", "a\nb", "<b>", "/etc/passwd", "x" * 400])
        path.write_text(json.dumps(content))
        note = f"an arm named {content['arms'][0]['name'][:20]!r}"
    else:
        note = f"{path.name}: {damage(path, rng)}"
    return Case(("segmenter", "study-report", "counts", "--out", "out"), note)


def edits(rng: random.Random, materials: Path, folder: Path) -> Case:
    """Files that somebody edited by hand without breaking them: what they say is false."""
    copy(materials, "run", "run1", "extra", "png", "shards", "train.npz", "test.npz", into=folder)
    name = rng.choice(["split.json", "synth.json", "metrics.jsonl", "shards", "manifest.jsonl"])
    judge = (*SYNTHESIZE, "--data", "train.npz", "--judge", "run", "--keep", "0.8")
    train = (*TRAIN, "--data", "train.npz", "--extra")
    commands: dict[str, list[tuple[str, ...]]] = {
        "split.json": [("segmenter", "evaluate", "run", "--data", "train.npz", "--out", "out"), judge],
        "synth.json": [(*train, "png"), ("marsgen", "score", "png", "--judge", "run", "--out", "out")],
        "metrics.jsonl": [("segmenter", "report", "run", "extra", "--set", "resamples=200", "--out", "out")],
        "shards": [(*train, "shards"), ("marsgen", "export", "shards", "--out", "out")],
        "manifest.jsonl": [(*train, "png"), ("marsgen", "score", "png", "--judge", "run", "--out", "out")],
    }
    edit = {
        "split.json": _edit_split,
        "synth.json": _edit_head,
        "metrics.jsonl": _edit_metrics,
        "shards": _edit_shard,
        "manifest.jsonl": _edit_manifest,
    }[name]
    return Case(rng.choice(commands[name]), f"{name}: {edit(rng, folder)}")


def _edit_split(rng: random.Random, folder: Path) -> str:
    path = folder / "run" / "split.json"
    content = json.loads(path.read_text())
    source, target = rng.sample(["train", "val", "test", "extra"], 2)
    kind = rng.choice(["moved", "emptied", "foreign", "half a key", "no pictures", "cut fingerprint"])
    if kind == "moved":
        content[target] += content[source]
        content[source] = []
    elif kind == "emptied":
        content[source] = []
    elif kind == "foreign":
        content[source] = ["0" * 16]
    elif kind == "half a key":
        content[source] = [key[:8] for key in content[source]]
    elif kind == "no pictures":
        del content["pictures"]
    else:
        content["pictures"] = {key: value[:-2] for key, value in content["pictures"].items()}
    path.write_text(json.dumps(content))
    return f"{source} {kind}"


def _edit_head(rng: random.Random, folder: Path) -> str:
    path = folder / "png" / "synth.json"
    content = json.loads(path.read_text())
    key = rng.choice(sorted(content))
    content[key] = rng.choice([content[key], [], {}, 0, "x", None, [content[key]], {"a": content[key]}])
    path.write_text(json.dumps(content))
    return f"{key} is {str(content[key])[:30]}"


def _edit_metrics(rng: random.Random, folder: Path) -> str:
    path = folder / "run" / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    line = rng.choice(lines)
    key = rng.choice(sorted(line))
    line[key] = rng.choice([-1, 0, 10**12, 1e300, "0.5", None, [1], True])
    rng.shuffle(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return f"{key} is {line[key]}"


def _edit_shard(rng: random.Random, folder: Path) -> str:
    path = rng.choice(sorted((folder / "shards" / "shards").glob("*.npy")))
    array = np.load(path)
    kind = rng.choice(["pixels", "fewer", "more", "signed", "columns first", "flat", "other ids"])
    changed = {
        "pixels": lambda: array ^ 1 if path.name.startswith("images") else array,
        "fewer": lambda: array[:-1],
        "more": lambda: np.concatenate([array, array]),
        "signed": lambda: array.astype(np.int8),
        "columns first": lambda: np.asfortranarray(array),
        "flat": lambda: array.reshape(-1),
        "other ids": lambda: array + np.uint8(60),
    }[kind]()
    np.save(path, changed)
    return f"{path.name}: {kind}"


def _edit_manifest(rng: random.Random, folder: Path) -> str:
    path = folder / "png" / "manifest.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    line = rng.choice(lines)
    kind = rng.choice(["index", "name", "no donors", "parent", "donor key", "order", "region"])
    if kind == "index":
        line["index"] = rng.choice([-1, 10**9, "0", 0])
    elif kind == "name":
        line["name"] = rng.choice([lines[0]["name"], lines[-1]["name"], "nowhere", "../x"])
    elif kind == "no donors":
        line["donors"] = []
    elif kind == "parent":
        line["parent"] = {"name": "training_set[9999]", "key": "0" * 16}
    elif kind == "donor key":
        for donor in line["donors"]:
            donor["key"] = "f" * 16
    elif kind == "region":
        for donor in line["donors"]:
            donor["box"] = rng.choice([[0, 0, 10**6, 10**6], [-5, -5, -1, -1], [], "x", None])
            donor["class"] = rng.choice(["big_rock", "nothing", 3])
    else:
        rng.shuffle(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return kind
