"""Checkpoints: tensors by name and a small json record in one safetensors file, checked when they are read."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from marsgen.core.errors import RunError
from marsgen.core.storage.files import plain
from marsgen.core.storage.reading import naming, parse_json, shorten

if TYPE_CHECKING:
    import torch

MAX_HEADER_BYTES = 64 * 2**20
MAX_RECORD_BYTES = 16 * 2**20
DAMAGE = (OSError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError, RuntimeError)
"""what building a network from a damaged record may raise"""
_REMEDY = "delete it and repeat the command that wrote it"


@dataclass
class Checkpoint:
    """What `encode_weights` packed: tensors by name and a json record."""

    step: int
    tensors: "dict[str, torch.Tensor]"
    record: dict[str, Any]


def encode_weights(tensors: "Mapping[str, torch.Tensor]", record: Mapping[str, Any]) -> bytes:
    """The bytes of a safetensors file of tensors and record; the record gets a checksum of the tensors."""
    from safetensors.torch import save

    on_cpu = {key: value.detach().to("cpu").contiguous() for key, value in tensors.items()}
    described = plain(record) | {"checksum": checksum(on_cpu)}
    return save(on_cpu, {"record": json.dumps(described, sort_keys=True)})


def read_weights(path: Path) -> Checkpoint:
    """Read a safetensors file that a run wrote.

    Raises:
        RunError: missing, not a whole safetensors file, or not as it was written: its checksum differs or a weight is
            no finite number.
    """
    step, record = read_record(path)
    with naming(path, RunError, _REMEDY, "not a readable checkpoint"):
        tensors = _read_tensors(path)
        refuse_not_finite(tensors)
        if record.get("checksum") != checksum(tensors):
            raise ValueError("its weights do not have the checksum that was recorded with them")
        return Checkpoint(step, tensors, record)


def read_record(path: Path) -> tuple[int, dict[str, Any]]:
    """Step and record of a safetensors file that a run wrote; its tensors are not read, and torch is not imported.

    Raises:
        RunError: missing, cut short, or its header is damaged.
    """
    if not path.is_file():
        raise RunError(f"{path}: no such checkpoint; repeat the command that writes it into another --out")
    with naming(path, RunError, _REMEDY, "not a readable checkpoint"):
        metadata = _read_metadata(path)
        record = parse_json(metadata.get("record", ""), f"{path}: its record", dict, RunError, _REMEDY)
        step = record.get("step", 0)
        if type(step) is not int or step < 0:
            raise ValueError(f"its step is {shorten(repr(step))}")
        return step, record


def read_tensors(path: Path) -> "dict[str, torch.Tensor]":
    """The tensors of any safetensors file, all finite.

    Raises:
        ValueError, OSError, RuntimeError: see the words; the caller says what file was expected.
    """
    _read_metadata(path)
    tensors = _read_tensors(path)
    refuse_not_finite(tensors)
    return tensors


def _read_tensors(path: Path) -> "dict[str, torch.Tensor]":
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:  # type: ignore[no-untyped-call]
            return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, AttributeError, KeyError) as problem:
        raise ValueError(str(problem)) from None


def _read_metadata(path: Path) -> dict[str, str]:
    """The texts in the header of a safetensors file, which is 8 bytes of length, then json."""
    descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    with os.fdopen(descriptor, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if not 0 < length <= min(MAX_HEADER_BYTES, size - 8):
            raise ValueError(f"{size:,} bytes with a header of {length:,}")
        header = parse_json(file.read(length), f"{path}: its header", dict, RunError, _REMEDY)
    metadata = header.pop("__metadata__", {})
    try:
        end = 8 + length + max((int(tensor["data_offsets"][1]) for tensor in header.values()), default=0)
    except (LookupError, TypeError):
        raise ValueError("its header does not say where its tensors lie") from None
    if size < end:
        raise ValueError(f"{size:,} bytes of {end:,}: it is cut short")
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise ValueError("its header holds something other than texts")
    if sum(map(len, metadata.values())) > MAX_RECORD_BYTES:
        raise ValueError(f"its record is longer than {MAX_RECORD_BYTES:,} bytes")
    return metadata


def checksum(tensors: "Mapping[str, torch.Tensor]") -> str:
    """16 hex digits over names, types, shapes and values."""
    import torch

    digest = hashlib.blake2b(digest_size=8, person=b"marsgen")
    for name in sorted(tensors):
        value = tensors[name]
        digest.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def refuse_not_finite(tensors: "Mapping[str, torch.Tensor]") -> None:
    """Raise ValueError naming the first tensor with a NaN or an infinite value."""
    for name, value in tensors.items():
        if value.is_floating_point() and not value.isfinite().all():
            raise ValueError(f"{name} holds values that are no finite numbers")


def refuse_other_shapes(build: "Callable[[], torch.nn.Module]", tensors: "Mapping[str, torch.Tensor]") -> None:
    """Raise ValueError where a network would have other weights than these; no memory is taken for it.

    Args:
        build: makes the network.
    """
    import torch

    with torch.device("meta"):
        expected = build().state_dict()
    if names := expected.keys() ^ tensors.keys():
        raise ValueError(f"weight {min(names)} is {'missing' if min(names) in expected else 'not of this network'}")
    for name, value in tensors.items():
        if value.shape != expected[name].shape:
            raise ValueError(f"weight {name} is {tuple(value.shape)}; its network has {tuple(expected[name].shape)}")


def optimizer_tensors(optimizer: "torch.optim.Optimizer", prefix: str) -> "dict[str, torch.Tensor]":
    """The tensors of an optimizer's state under flat names, for a safetensors file."""
    import torch

    state = optimizer.state_dict()["state"]
    return {
        f"{prefix}.{index}.{key}": value if isinstance(value, torch.Tensor) else torch.tensor(value)
        for index, entry in state.items()
        for key, value in entry.items()
    }


def load_optimizer_tensors(optimizer: "torch.optim.Optimizer", tensors: "dict[str, torch.Tensor]", prefix: str) -> None:
    """Put back what `optimizer_tensors` took out."""
    import torch

    content = optimizer.state_dict()
    for name, value in tensors.items():
        if name.startswith(prefix + "."):
            index, key = name[len(prefix) + 1 :].split(".", 1)
            content["state"].setdefault(int(index), {})[key] = value
    optimizer.load_state_dict(content)
    for parameter, state in optimizer.state.items():
        for key, value in state.items():
            # a file does not say in which order values lay; fused optimizers take them in the order of their weight
            if value.shape == parameter.shape and value.stride() != parameter.stride():
                state[key] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def prefixed(prefix: str, tensors: "dict[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """{name: tensor} -> {prefix.name: tensor}."""
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def without_prefix(prefix: str, tensors: "dict[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """The entries whose name starts with `prefix.`, without it."""
    return {name[len(prefix) + 1 :]: value for name, value in tensors.items() if name.startswith(prefix + ".")}
