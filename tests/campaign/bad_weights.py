"""Bad weights: safetensors files with other bytes, header, record or numbers."""

import json
import random
from collections.abc import Callable
from pathlib import Path

from case import PASTE, SYNTHESIZE, Case
from materials import copy
from mutations import damage_bytes, damage_content


def weights(rng: random.Random, materials: Path, folder: Path) -> Case:
    """A safetensors file with other bytes, header, record or numbers."""
    import torch
    from safetensors.torch import load_file, save

    name = rng.choice(["run", "run", "run", "generator", "diffusion", "diffusion"])
    copy(materials, name, "train.npz", "test.npz", into=folder)
    path = rng.choice(sorted((folder / name).rglob("*.safetensors")))
    has_record = path.parent.name != "denoiser"  # diffusers wrote that file
    content = path.read_bytes()
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + length])
    metadata = header["__metadata__"]
    record = json.loads(metadata["record"]) if has_record else {"step": 1}
    tensors = load_file(path)

    def pack(new_header: object, body: bytes = content[8 + length :]) -> None:
        text = json.dumps(new_header).encode()
        path.write_bytes(len(text).to_bytes(8, "little") + text + body)

    def with_record(new: object) -> None:
        pack(header | {"__metadata__": metadata | {"record": new if isinstance(new, str) else json.dumps(new)}})

    def poison(value: float) -> None:
        key = rng.choice([k for k, v in tensors.items() if v.is_floating_point() and v.numel()])
        tensors[key].view(-1)[rng.randrange(tensors[key].numel())] = value
        path.write_bytes(save(tensors, metadata))

    def reshape() -> None:
        key = rng.choice([k for k, v in tensors.items() if v.dim() > 1])
        tensors[key] = torch.zeros(*tensors[key].shape, 2)
        path.write_bytes(save(tensors, metadata))

    def lose() -> None:
        del tensors[rng.choice(list(tensors))]
        path.write_bytes(save(tensors, metadata))

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
        may_pass = not has_record and note.startswith(("record", "step"))
    elif roll < 0.75:
        words, new = damage_content(record, rng)
        with_record(new)
        note, may_pass = f"record: {words}", True
    else:
        words, new_bytes = damage_bytes(content, rng)
        path.write_bytes(new_bytes)
        note = words
        may_pass = new_bytes == content
    if name != "run":
        synth = ("marsgen", "synthesize", "--generator", name, "--data", "train.npz", "--n", "4", *PASTE)
        commands = [(*synth, "--out", "out")]
    else:
        commands = [
            ("segmenter", "evaluate", "run", "--data", "test.npz", "--out", "out"),
            ("segmenter", "predict", "run", "--data", "test.npz", "--out", "out"),
            ("segmenter", "pseudo-label", "run", "--data", "test.npz", "--out", "out"),
            (*SYNTHESIZE, "--data", "train.npz", "--judge", "run", "--keep", "0.8"),
        ]
    return Case(rng.choice(commands), note, may_pass)
