"""Bad inputs of every kind, drawn from a seed: each is a folder made ready and a command that reads it."""

import io
import json
import os
import random
import shutil
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from materials import TINY_GENERATOR, TINY_SEGMENTER, copy
from mutations import HOSTILE, damage_bytes, damage_content, damage_json, damage_json_lines, damage_yaml
from PIL import Image

TRAIN = ("segmenter", "train", *TINY_SEGMENTER, "--set", "steps=2", "--out", "out")
PASTE = ("--set", "paste.min_region_px=4", "--set", "paste.min_visible_px=4", "--set", "paste.min_solidity=0.2")
SYNTHESIZE = ("marsgen", "synthesize", "--generator", "copy-paste", "--n", "4", *PASTE, "--out", "out")


@dataclass(frozen=True)
class Case:
    """A bad input.

    Attributes:
        words: the command line.
        note: what was done to the input.
        may_pass: whether the command may find the input good: what was changed may carry no meaning.
        ordinary: run without root's rights.
    """

    words: tuple[str, ...]
    note: str
    may_pass: bool = True
    ordinary: bool = False


LEFT_OUT: list[str] = []
"""cases that take too long for `make test`"""

Maker = Callable[[random.Random, Path, Path], Case]


def npz(rng: random.Random, materials: Path, folder: Path) -> Case:
    """An .npz with arrays or bytes that are wrong."""
    path = folder / "x.npz"
    images = np.full((4, 32, 48), 99, np.uint8)
    labels = np.ones((4, 32, 48), np.uint8)

    def save(**arrays: object) -> None:
        np.savez_compressed(path, **arrays)  # type: ignore[arg-type]

    def raw(header: bytes, body: bytes = b"", name: str = "images.npy") -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(name, b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + body)
            archive.writestr("labels.npy", _npy(labels))

    def bomb() -> None:
        shape = (1200, 1024, 1024)
        header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("images.npy", "w") as member:
            member.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
            for _ in range(1200):
                member.write(bytes(2**20))
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("labels.npy", _npy(labels))

    crafted: dict[str, Callable[[], None]] = {
        "python objects": lambda: save(images=np.array([{}, []], object), labels=labels),
        "float images": lambda: save(images=images.astype(np.float32), labels=labels),
        "int64 images": lambda: save(images=images.astype(np.int64), labels=labels),
        "complex labels": lambda: save(images=images, labels=labels.astype(complex)),
        "labels of another size": lambda: save(images=images, labels=labels[:, :16]),
        "labels of another number": lambda: save(images=images, labels=labels[:2]),
        "label of no class": lambda: save(images=images, labels=labels * rng.choice([7, 200, 254])),
        "no labels": lambda: save(images=images),
        "no key": lambda: save(),
        "other keys": lambda: save(pictures=images, masks=labels),
        "five dimensions": lambda: save(images=images[None, ..., None], labels=labels),
        "two channels": lambda: save(images=np.stack([images] * 2, -1), labels=labels),
        "empty arrays": lambda: save(images=images[:0], labels=labels[:0]),
        "tiny pictures": lambda: save(images=images[:, :4, :4], labels=labels[:, :4, :4]),
        "structured": lambda: save(images=np.zeros(4, [("a", "u1"), ("b", "f4")]), labels=labels),
        "strings": lambda: save(images=np.array(["a", "b"]), labels=labels),
        "header is code": lambda: raw(b"__import__('os').system('touch canary')\n"),
        "header without shape": lambda: raw(b"{'descr': '|u1', 'fortran_order': False}\n"),
        "header of huge shape": lambda: raw(
            b"{'descr': '|u1', 'fortran_order': False, 'shape': (4000000000, 4000000000, 3)}\n"
        ),
        "header of negative shape": lambda: raw(b"{'descr': '|u1', 'fortran_order': False, 'shape': (-4, 32, 48)}\n"),
        "header of object": lambda: raw(b"{'descr': '|O', 'fortran_order': False, 'shape': (4, 32, 48)}\n"),
        "header nested": lambda: raw(b"[" * 3000 + b"\n"),
        "short data": lambda: raw(b"{'descr': '|u1', 'fortran_order': False, 'shape': (4, 32, 48)}\n", bytes(100)),
        "name leads outside": lambda: raw(b"", name="../../images.npy"),
        "zip bomb": bomb,
        "a plain npy": lambda: path.write_bytes(_npy(images)) and None,
        "a folder": lambda: path.mkdir(),
        "empty file": lambda: path.write_bytes(b"") and None,
        "text": lambda: path.write_text("hello") and None,
    }
    if rng.random() < 0.6:
        note = rng.choice([name for name in crafted if name not in LEFT_OUT])
        crafted[note]()
        may_pass = False
    else:
        words, content = damage_bytes((materials / "test.npz").read_bytes(), rng)
        path.write_bytes(content)
        note, may_pass = f"bytes {words}", True
    command = rng.choice(
        [("marsgen", "inspect", "--out", "out"), TRAIN, SYNTHESIZE, ("marsgen", "export", "--out", "out")]
    )
    if command[1] == "export":
        return Case((*command[:2], "x.npz", *command[2:]), note, may_pass)
    return Case((*command, "--data", "x.npz"), note, may_pass)


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def pictures(rng: random.Random, materials: Path, folder: Path) -> Case:
    """A folder of pictures with a file that is wrong, missing or too much."""
    copy(materials, "plain", into=folder)
    root = folder / "plain"
    images, labels = (sorted((root / part).iterdir()) for part in ("images", "labels"))
    image, label = rng.choice(images), rng.choice(labels)
    picture = np.asarray(Image.open(image))
    outside = folder / "outside.png"
    shutil.copy(image, outside)

    def save(path: Path, array: np.ndarray, **how: object) -> None:
        Image.fromarray(array).save(path, **how)  # type: ignore[arg-type]

    def replace_by(make: Callable[[Path], None], path: Path) -> None:
        path.unlink()
        make(path)

    crafted: dict[str, Callable[[], object]] = {
        "image lost": image.unlink,
        "label lost": label.unlink,
        "images/ lost": lambda: shutil.rmtree(root / "images"),
        "labels/ lost": lambda: shutil.rmtree(root / "labels"),
        "classes lost": (root / "classes.yaml").unlink,
        "image of another size": lambda: save(image, picture[:-3]),
        "image of 16 bits": lambda: save(image, picture.astype(np.uint16) * 200),
        "float image": lambda: save(image.with_suffix(".tif"), picture.astype(np.float32)) or image.unlink(),
        "colour image": lambda: save(image, np.stack([picture] * 3, -1)),
        "transparent image": lambda: save(image, np.stack([picture] * 4, -1)),
        "label of no class": lambda: save(label, np.full_like(picture, 77)),
        "label as jpeg": lambda: save(label.with_suffix(".jpg"), picture) or label.unlink(),
        "a note among images": lambda: (root / "images" / "notes.txt").write_text("x"),
        "a folder among images": lambda: (root / "images" / "more").mkdir(),
        "image twice": lambda: save(image.with_suffix(".bmp"), picture),
        "a pipe as image": lambda: replace_by(lambda p: os.mkfifo(p), image),
        "a pipe as label": lambda: replace_by(lambda p: os.mkfifo(p), label),
        "a pipe as classes": lambda: replace_by(lambda p: os.mkfifo(p), root / "classes.yaml"),
        "a device as image": lambda: replace_by(lambda p: p.symlink_to("/dev/zero"), image),
        "a link that leads outside": lambda: replace_by(lambda p: p.symlink_to(outside), image),
        "a label link that leads outside": lambda: replace_by(lambda p: p.symlink_to("/etc/passwd"), label),
        "a broken link": lambda: replace_by(lambda p: p.symlink_to("nowhere.png"), image),
        "a link to itself": lambda: replace_by(lambda p: p.symlink_to(p.name), image),
        "images/ is a link outside": lambda: (
            shutil.move(root / "images", folder / "moved"),
            (root / "images").symlink_to(folder / "moved"),
        ),
        "images/ is a file": lambda: (shutil.rmtree(root / "images"), (root / "images").write_text("x")),
        "no pictures": lambda: [p.unlink() for p in (*images, *labels)],
        "a gif": lambda: save(image.with_suffix(".gif"), picture) or image.unlink(),
        "a huge claim": lambda: image.write_bytes(_claim(60_000, 60_000)),
        "animated": lambda: image.write_bytes(image.read_bytes()[:20]),
    }
    if rng.random() < 0.65:
        note = rng.choice(list(crafted))
        crafted[note]()
        may_pass = note == "label lost"  # the picture then counts as unlabelled, and that is said
    else:
        target = rng.choice([image, label])
        words, content = damage_bytes(target.read_bytes(), rng)
        target.write_bytes(content)
        note, may_pass = f"{target.parent.name}: {words}", True
    command = rng.choice(
        [("marsgen", "inspect", "--out", "out"), TRAIN, ("marsgen", "export", "plain", "--out", "out")]
    )
    words_ = command if command[1] == "export" else (*command, "--data", "plain")
    return Case(words_, note, may_pass)


def _claim(width: int, height: int) -> bytes:
    """A PNG that says it is huge."""
    import zlib

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


def names(rng: random.Random, materials: Path, folder: Path) -> Case:
    """Names of files and folders that other systems do not know or that mean something elsewhere."""
    copy(materials, "plain", into=folder)
    strange = [
        b"~", b"a%2fb", b"a:b", b"a\\b", b"a b", b"a|b", b"<img src=x>", b"a\nb", b"a\tb", b"-rf", b"--help",
        b"caf\xc3\xa9", b"\xff\xfe", b"a\xe9", "名前".encode(), b"con", b"nul.x", b"a" * 240, b"a.b.c", b"$HOME",
        b"`id`", b"a'b\"c", b"%s%d", b"{x}", b"\xe2\x80\xaeabc", b" lead", b"trail ", b"*", b"a?b", b"a#b", b"a&b",
        b"\x1b[31m", b"..",
    ]  # fmt: skip
    name = rng.choice([n for n in strange if n != b".."])
    root = os.fsencode(folder / "plain")
    kept = sorted(os.listdir(os.path.join(root, b"images")))[0]
    for part in (b"images", b"labels"):
        os.rename(os.path.join(root, part, kept), os.path.join(root, part, name + b".png"))
    commands: list[tuple[str, ...]] = [
        ("marsgen", "inspect", "--data", "plain", "--out", "out"),
        ("marsgen", "export", "plain", "--out", "out"),
        ("marsgen", "export", "plain", "--to", "webdataset", "--out", "out"),
        (*TRAIN, "--data", "plain", "--set", "data.val_fraction=0.4"),
    ]
    words = rng.choice(commands)
    if rng.random() < 0.3:
        out = rng.choice(["a:b", "a|b", "<b>", "名", "a b", "x" * 300, "-x", "a\nb", "nowhere/../y", "caf\udce9"])
        words = (*words[: words.index("--out")], f"--out={out}", *words[words.index("--out") + 2 :])
    return Case(words, f"a picture named {name[:20]!r}")


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
    from materials import ROOT

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
        "synthesize.yaml": ("marsgen", "synthesize", "--generator", "copy-paste", *more, "--n", "4", "--dry-run"),
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


def weights(rng: random.Random, materials: Path, folder: Path) -> Case:
    """A safetensors file with other bytes, header, record or numbers."""
    import torch
    from safetensors.torch import load_file, save

    of_generator = rng.random() < 0.35
    name = "generator" if of_generator else "run"
    copy(materials, name, "train.npz", "test.npz", into=folder)
    path = next(p for p in sorted((folder / name).glob("*.safetensors")))
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    record = json.loads(header["__metadata__"]["record"])
    tensors = load_file(path)

    def pack(new_header: object, body: bytes = content[8 + length :]) -> None:
        text = json.dumps(new_header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + body)

    def with_record(new: object) -> None:
        pack(header | {"__metadata__": {"record": new if isinstance(new, str) else json.dumps(new)}})

    def poison(value: float) -> None:
        key = rng.choice([k for k, v in tensors.items() if v.is_floating_point() and v.numel()])
        tensors[key].view(-1)[rng.randrange(tensors[key].numel())] = value
        path.write_bytes(save(tensors, {"record": json.dumps(record)}))

    def reshape() -> None:
        key = rng.choice([k for k, v in tensors.items() if v.dim() > 1])
        tensors[key] = torch.zeros(*tensors[key].shape, 2)
        path.write_bytes(save(tensors, {"record": json.dumps(record)}))

    def lose() -> None:
        del tensors[rng.choice(list(tensors))]
        path.write_bytes(save(tensors, {"record": json.dumps(record)}))

    crafted: dict[str, Callable[[], object]] = {
        "not a number": lambda: poison(float("nan")),
        "infinite": lambda: poison(float("-inf")),
        "a weight changed": lambda: poison(0.123),
        "a weight of another shape": reshape,
        "a weight lost": lose,
        "record is no json": lambda: with_record("{"),
        "record is a list": lambda: with_record([]),
        "record is null": lambda: with_record(None),
        "record nested": lambda: with_record("[" * 5000),
        "record lost": lambda: pack({k: v for k, v in header.items() if k != "__metadata__"}),
        "step is text": lambda: with_record(record | {"step": "x"}),
        "step is negative": lambda: with_record(record | {"step": -4}),
        "header of 2**60": lambda: path.write_bytes((2**60).to_bytes(8, "little") + content[8:]),
        "header is a list": lambda: pack([]),
        "header nested": lambda: path.write_bytes((5000).to_bytes(8, "little") + b"[" * 5000),
        "metadata of numbers": lambda: pack(header | {"__metadata__": {"record": 5}}),
        "metadata is a list": lambda: pack(header | {"__metadata__": []}),
        "huge shape": lambda: pack(header | {"x": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}),
        "unknown dtype": lambda: pack({k: (v | {"dtype": "Q7"} if "dtype" in v else v) for k, v in header.items()}),
        "pickle": lambda: path.write_bytes(b"\x80\x04cos\nsystem\n(S'touch canary'\ntR."),
    }
    may_pass = False
    roll = rng.random()
    if roll < 0.45:
        note = rng.choice(list(crafted))
        crafted[note]()
    elif roll < 0.75:
        words, new = damage_content(record, rng)
        with_record(new)
        note, may_pass = f"record: {words}", True
    else:
        words, new_bytes = damage_bytes(content, rng)
        path.write_bytes(new_bytes)
        note = words
        may_pass = new_bytes == content
    if of_generator:
        synth = ("marsgen", "synthesize", "--generator", "generator", "--data", "train.npz", "--n", "4", *PASTE)
        commands = [(*synth, "--out", "out")]
    else:
        commands = [
            ("segmenter", "evaluate", "run", "--data", "test.npz", "--out", "out"),
            ("segmenter", "predict", "run", "--data", "test.npz", "--out", "out"),
            ("segmenter", "pseudo-label", "run", "--data", "test.npz", "--out", "out"),
            (*SYNTHESIZE, "--data", "train.npz", "--judge", "run"),
        ]
    return Case(rng.choice(commands), note, may_pass)


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
    note = f"{path.name}: {_damage(path, rng)}"
    commands: dict[str, list[tuple[str, ...]]] = {
        "config.yaml": [("segmenter", "predict", "run", "--data", "test.npz", "--out", "out")],
        "DONE": [("segmenter", "predict", "run", "--data", "test.npz", "--out", "out")],
        "split.json": [
            ("segmenter", "evaluate", "run", "--data", "test.npz", "--out", "out"),
            ("segmenter", "pseudo-label", "run", "--data", "test.npz", "--out", "out"),
            (*SYNTHESIZE, "--data", "train.npz", "--judge", "run"),
        ],
    }
    compare: list[tuple[str, ...]] = [
        ("segmenter", "compare", "run", "run1", "--set", "resamples=100", "--out", "out"),
        ("segmenter", "report", "run", "run1", "--set", "resamples=100", "--out", "out"),
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
    return Case(words, f"{path.name}: {_damage(path, rng)}")


def sets(rng: random.Random, materials: Path, folder: Path) -> Case:
    """manifest.jsonl, synth.json, classes.yaml or a shard of a synthetic set that was edited or damaged."""
    name = rng.choice(["png", "shards"])
    copy(materials, name, "run", "train.npz", into=folder)
    root = folder / name
    files = [root / "manifest.jsonl", root / "manifest.jsonl", root / "synth.json", root / "classes.yaml"]
    files += sorted((root / "shards").glob("*.npy")) if name == "shards" else []
    path = rng.choice(files)
    note = f"{name}: {path.name}: {_damage(path, rng)}"
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
    copy(materials, "generator", "train.npz", into=folder)
    path = folder / "generator" / rng.choice(["generator.json", "generator.json", "config.yaml", "DONE"])
    note = f"{path.name}: {_damage(path, rng)}"
    synth = ("marsgen", "synthesize", "--generator", "generator", "--n", "4", *PASTE, "--out", "out")
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
        note = f"{path.name}: {_damage(path, rng)}"
    return Case(("segmenter", "study-report", "counts", "--out", "out"), note)


def studies(rng: random.Random, materials: Path, folder: Path) -> Case:
    """A study's yaml that is damaged; it is read and checked, not run."""
    from materials import ROOT

    shutil.copy(ROOT / "configs" / "tiny" / "study.yaml", folder / "s.yaml")
    note = damage_yaml(folder / "s.yaml", rng)
    copy(materials, "train.npz", "test.npz", into=folder)
    data = ("--data", "train.npz", "--test", "test.npz", "--out", "out")
    return Case(("segmenter", "study", "s.yaml", *data, "--dry-run"), note)


def permissions(rng: random.Random, materials: Path, folder: Path) -> Case:
    """Files and folders that an ordinary user may not read or write, or that are links."""
    copy(materials, "train.npz", "test.npz", "run", "run1", "png", "plain", into=folder)
    victim = folder.parent / f"{folder.name}-victim"
    victim.write_text("precious")
    locked: dict[str, Callable[[], object]] = {
        "data unreadable": lambda: os.chmod(folder / "train.npz", 0),
        "run unreadable": lambda: os.chmod(folder / "run", 0),
        "config of the run unreadable": lambda: os.chmod(folder / "run" / "config.yaml", 0),
        "weights unreadable": lambda: os.chmod(folder / "run" / "best.safetensors", 0),
        "split unreadable": lambda: os.chmod(folder / "run" / "split.json", 0),
        "picture unreadable": lambda: os.chmod(next((folder / "plain" / "images").iterdir()), 0),
        "manifest unreadable": lambda: os.chmod(folder / "png" / "manifest.jsonl", 0),
        "run read-only": lambda: os.chmod(folder / "run", 0o555),
        "here read-only": lambda: ([(folder / n).write_text("") for n in (".out", ".err")], os.chmod(folder, 0o555)),
        "out is a file": lambda: (folder / "out").write_text("x"),
        "out is a link to a file": lambda: (folder / "out").symlink_to(victim),
        "out is a broken link": lambda: (folder / "out").symlink_to("nowhere"),
        "out has a lock that is a link": lambda: ((folder / "out").mkdir(), (folder / "out/.lock").symlink_to(victim)),
        "out has a lock that is a folder": lambda: (folder / "out" / ".lock").mkdir(parents=True),
        "out has a lock that is a pipe": lambda: ((folder / "out").mkdir(), os.mkfifo(folder / "out" / ".lock")),
        "out read-only": lambda: (folder / "out").mkdir(0o555),
    }
    note = rng.choice(list(locked))
    locked[note]()
    commands: list[tuple[str, ...]] = [
        (*TRAIN, "--data", "train.npz"),
        (*TRAIN, "--data", "train.npz", "--extra", "png"),
        (*SYNTHESIZE, "--data", "train.npz", "--judge", "run"),
        ("marsgen", "export", "plain", "--out", "out"),
        ("segmenter", "evaluate", "run", "--data", "test.npz"),
        ("segmenter", "predict", "run", "--data", "test.npz", "--out", "out"),
        ("segmenter", "compare", "run", "run1", "--set", "resamples=100", "--out", "out"),
    ]
    return Case(rng.choice(commands), note, ordinary=True)


def _damage(path: Path, rng: random.Random) -> str:
    if rng.random() < 0.04:
        path.unlink()
        return "lost"
    kinds = {".yaml": damage_yaml, ".json": damage_json, ".jsonl": damage_json_lines, "": damage_json}
    if path.suffix in kinds:
        return kinds[path.suffix](path, rng)
    words, content = damage_bytes(path.read_bytes(), rng)
    path.write_bytes(content)
    return words


KINDS: dict[str, tuple[Maker, int]] = {
    "npz files": (npz, 12),
    "folders of pictures": (pictures, 12),
    "names": (names, 7),
    "classes files": (classes, 8),
    "settings (--set)": (settings, 14),
    "config files": (config, 9),
    "options": (options, 10),
    "weights": (weights, 12),
    "files of finished runs": (run_files, 12),
    "files of stopped runs": (unfinished_runs, 8),
    "synthetic sets": (sets, 10),
    "files of generators": (generator_files, 5),
    "studies (yaml)": (studies, 5),
    "counts of studies": (study_counts, 7),
    "permissions, links, locks": (permissions, 6),
}
"""kind -> how a case of it is made, and how many of 137 cases are of it"""
