"""Bad data sets: .npz files, folders of pictures, and names."""

import io
import os
import random
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from case import LEFT_OUT, SYNTHESIZE, TRAIN, Case
from materials import copy
from mutations import damage_bytes
from PIL import Image


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
