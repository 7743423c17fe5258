"""Bad settings: classes files, --set, --config, options of the command line, studies."""

import random
import shutil
from pathlib import Path

import yaml
from case import SYNTHESIZE, TRAIN, Case
from materials import ROOT, TINY_GENERATOR, copy
from mutations import HOSTILE, damage_yaml

SETTINGS = {
    "segmenter train": ("seed", "steps", "batch_size", "crop", "lr", "scales", "data", "data.val_fraction",
    "data.folds", "augment",
          "unet.width", "unet.depth", "extra_fraction", "rare_fraction", "loss.dice", "workers", "best_metric",
          "precision", "class_weights", "patience", "encoder.name", "encoder.weights", "network", "data.split_seed",
          "warmup_steps", "validate_every", "calibrate", "void_weight", "data.rare_scenes", "augment.scale"),
    "marsgen synthesize": ("n", "seed", "batch_size", "context_px", "soft_edge_px", "mode", "zoom", "format", "paste",
                           "paste.scale", "paste.regions_per_scene", "paste.tries", "paste.max_parents", "paste.gap_px",
                           "paste.ground_classes", "paste.feather_px", "paste.horizon", "classes", "draw",
                           "draw.strength", "select", "select.keep", "data", "paste.placement", "paste.warp"),
    "marsgen inspect": ("seed", "autoencoder_steps", "autoencoder_spreads", "pictures",
                        "data.near_duplicate_similarity",
                        "data"),
    "marsgen train-generator": ("kind", "seed", "steps", "batch_size", "crop_px", "generator_width", "generator_lr",
                                "discriminator_width", "augmentation", "ema_decay", "sample_every", "data"),
}  # fmt: skip
VALUES = (
    "-1", "0", "1", "1e9", "10000000000", "9223372036854775808", "99999999999999999999", "1e308", "-1e308", "nan",
    "inf",
    "-inf", "null", "true", "abc", "''", "[]", "{}", "[1,2,3]", "[[1]]", "{a: 1}", "[0, 0]", "[1e9, 1e9]", "[-1, 1]",
    "[1000000, 1000000]", "!!int x", "!!python/object/apply:os.system [touch canary]", "&a [*a]", "${x}",
    "${oc.env:HOME}",
    "../..", "/", "a\nb", "0.0000001", "1" * 5000, "[" * 2000, "0x10", "1_000", "2020-99-99", "é", "=", "a=b", ".",
    "1.5",
)  # fmt: skip


def classes(rng: random.Random, materials: Path, folder: Path) -> Case:
    """A classes.yaml that is damaged."""
    copy(materials, "plain", into=folder)
    path = folder / "plain" / "classes.yaml"
    note = damage_yaml(path, rng)
    if rng.random() < 0.25:
        content = yaml.safe_load((materials / "plain" / "classes.yaml").read_text())
        content["classes"][1]["name"] = rng.choice(HOSTILE)
        path.write_text(yaml.safe_dump(content, allow_unicode=True))
        note = f"a class named {content['classes'][1]['name']!r}"[:60]
    given = ("--classes", "plain/classes.yaml") if rng.random() < 0.3 else ()
    words = rng.choice([("marsgen", "inspect", "--data", "plain", "--out", "out"), (*TRAIN, "--data", "plain")])
    return Case((*words, *given), note)


def settings(rng: random.Random, materials: Path, folder: Path) -> Case:
    """--set with a value that cannot be."""
    command = rng.choice(list(SETTINGS))
    words = {
        "segmenter train": TRAIN,
        "marsgen synthesize": SYNTHESIZE,
        "marsgen inspect": ("marsgen", "inspect", "--set", "autoencoder_steps=2", "--out", "out"),
        "marsgen train-generator": ("marsgen", "train-generator", *TINY_GENERATOR, "--set", "steps=1", "--out", "out"),
    }[command]
    copy(materials, "train.npz", into=folder)
    key, value = rng.choice(SETTINGS[command]), rng.choice(VALUES)
    if rng.random() < 0.1:
        key = rng.choice(["", ".", "a..b", "seed.x", "__class__", "data.__init__", "sed", "x" * 3000, "[0]", "seed[0]"])
    return Case((*words, "--data", "train.npz", "--set", f"{key}={value}"), f"{command} {key[:30]}={value[:30]}")


def config(rng: random.Random, materials: Path, folder: Path) -> Case:
    """A --config file that is damaged."""
    kind = rng.choice(["segmenter.yaml", "synthesize.yaml", "tiny/inspect.yaml", "train-generator.yaml"])
    shutil.copy(ROOT / "configs" / kind, folder / "c.yaml")
    path = folder / "c.yaml"
    if kind == "segmenter.yaml":
        small = yaml.safe_load(path.read_text()) | {"steps": 2, "batch_size": 2, "validate_every": 2}
        small["unet"] = {"width": 4, "depth": 1}
        path.write_text(yaml.safe_dump(small))
    note = damage_yaml(path, rng)
    copy(materials, "train.npz", into=folder)
    more = ("--data", "train.npz", "--config", "c.yaml")
    words = {
        "segmenter.yaml": ("segmenter", "train", *more, "--set", "steps=2", "--out", "out"),
        "synthesize.yaml": (
            "marsgen",
            "synthesize",
            "--generator",
            "copy-paste",
            *more,
            "--n",
            "4",
            "--check-settings",
        ),
        "tiny/inspect.yaml": ("marsgen", "inspect", *more, "--set", "autoencoder_steps=2", "--out", "out"),
        "train-generator.yaml": ("marsgen", "train-generator", *more, "--set", "steps=1", "--set", "batch_size=2")
        + ("--set", "generator_width=8", "--set", "discriminator_width=8", "--out", "out"),
    }[kind]
    return Case(words, f"{kind}: {note}")


def options(rng: random.Random, materials: Path, folder: Path) -> Case:
    """Words of the command line that cannot be."""
    copy(materials, "train.npz", "run", into=folder)
    strange = rng.choice(["", " ", "-", "--", "x", "train.npz", "run", "/", "/dev/null", "/dev/zero", "/dev/stdin", ".",
                          "a" * 300, "a" * 5000, "\udcff", "a\nb", "sim:", "sim:0", "sim:x", "sim:5,seed=-1",
                          "sim:5,size=1x1", "sim:5,size=100000x100000", "sim:99999999999", "sim:5,rocks=2",
                          "sim:5,seed=99999999999999999999", "sim:5,noise=nan", "sim:5,size=64", "sim:5,,",
                          "sim:5,seed=",
                          "sim:5,channels=2", "sim:5,size=2e3x2", "sim:9,size=64x128x3", "nowhere.npz", "~", "$HOME",
                          "http://x", "*", "-1", "0", "1e9", "nan", "%s", "{}"])  # fmt: skip
    templates: list[tuple[str, ...]] = [
        ("marsgen", "inspect", "--data", strange, "--out", "out"),
        ("marsgen", "inspect", "--data", "train.npz", "--against", strange, "--out", "out"),
        ("marsgen", "inspect", "--data", "train.npz", "--classes", strange, "--out", "out"),
        ("marsgen", "inspect", "--data", "train.npz", "--config", strange, "--out", "out"),
        (*SYNTHESIZE, "--data", strange),
        ("marsgen", "synthesize", "--generator", strange, "--data", "train.npz", "--n", "4", "--out", "out"),
        (*SYNTHESIZE, "--data", "train.npz", "--class", strange),
        (*SYNTHESIZE, "--data", "train.npz", "--judge", strange),
        (*SYNTHESIZE, "--data", "train.npz", "--focus", strange),
        (*SYNTHESIZE, "--data", "train.npz", "--keep", strange),
        (*SYNTHESIZE, "--data", "train.npz", "--n", strange),
        ("marsgen", "score", strange, "--out", "out"),
        ("marsgen", "preview", strange, "--out", "out"),
        ("marsgen", "export", strange, "--out", "out"),
        ("marsgen", "export", "train.npz", "--to", strange, "--out", "out"),
        ("marsgen", strange),
        (*TRAIN, "--data", "train.npz", "--extra", strange),
        ("segmenter", "evaluate", strange, "--data", "train.npz"),
        ("segmenter", "evaluate", "run", "--data", strange),
        ("segmenter", "compare", "run", strange, "--out", "out"),
        ("segmenter", "report", "run", strange, "--out", "out"),
        ("segmenter", "predict", "run", "--data", strange, "--out", "out"),
        ("segmenter", "pseudo-label", strange, "--data", "train.npz", "--out", "out"),
        ("segmenter", "study", strange, "--data", "train.npz", "--out", "out"),
        ("segmenter", "study-report", strange, "--out", "out"),
        ("segmenter", strange),
    ]
    words = rng.choice(templates)
    return Case(words, f"{words[1][:20]} {strange[:30]!r}")


def studies(rng: random.Random, materials: Path, folder: Path) -> Case:
    """A study's yaml that is damaged; it is read and checked, not run."""
    shutil.copy(ROOT / "configs" / "tiny" / "study.yaml", folder / "s.yaml")
    note = damage_yaml(folder / "s.yaml", rng)
    copy(materials, "train.npz", "test.npz", into=folder)
    data = ("--data", "train.npz", "--test", "test.npz", "--out", "out")
    return Case(("segmenter", "study", "s.yaml", *data, "--check-settings"), note)
