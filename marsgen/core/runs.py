"""Run: the folder in which one command records what it was asked, what it did and where it is, so that it can go on.

    config.yaml          command, resolved config, inputs with their fingerprints: what the run is
    environment.json     versions, thread count, device: what it ran on
    metrics.jsonl        one json line per logged step
    last.safetensors     everything needed to go on after a kill (weights, optimizer, step)
    best.safetensors     weights of the step with the best score, or the final ones
    DONE                 a json summary; its presence means that the run is finished

Nothing in the folder holds a time or a path of the run itself: the same inputs give the same bytes.
"""

import json
import os
import platform
import shutil
import sys
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from pydantic import ValidationError

from marsgen.core.config import Config
from marsgen.core.errors import RunError
from marsgen.core.files import plain, remove_leftovers, write_bytes, write_json, write_text

if TYPE_CHECKING:
    import torch

_VERSIONED = (
    *("marsgen", "torch", "torchvision", "accelerate", "diffusers", "numpy", "scikit-image"),
    *("segmentation-models-pytorch", "timm"),
)


@dataclass
class Checkpoint:
    """What `Run.save_checkpoint` stored: tensors by name and a small json record."""

    step: int
    tensors: "dict[str, torch.Tensor]"
    record: dict[str, Any]


@dataclass
class Run:
    """A run folder opened by the command that fills it (`Run.start`) or by one that reads it (`Run.load`)."""

    folder: Path
    command: str
    config: dict[str, Any]
    inputs: dict[str, Any]
    writes: bool = True
    """False on all but the first of several processes: those compute and record nothing"""
    _lock: Any = field(default=None, repr=False)

    @classmethod
    def start(
        cls,
        folder: Path,
        command: str,
        config: Config,
        inputs: dict[str, Any] | None = None,
        *,
        without_effect: Sequence[str] = (),
        replace: bool = False,
        writes: bool = True,
    ) -> "Run":
        """Open `folder` for this very run: new, interrupted or finished.

        Args:
            command: the command line's words, such as "marsgen synthesize".
            inputs: what the run reads, with fingerprints.
            without_effect: config keys that change no byte of the result, or no more of it than a GPU's rounding does;
                a run may go on with other values of them.
            replace: a finished run of the same command may make room for this one; for results that are cheap to make
                again, in a folder that the user did not name.
            writes: False on all but the first of several processes.
        Raises:
            RunError: the folder holds something else, belongs to another run, or another process is writing into it.
        """
        run = cls(
            folder, command, config.model_dump(mode="json", exclude=set(without_effect)), plain(inputs or {}), writes
        )
        if not writes:
            return run
        identity = {"command": command, "inputs": run.inputs, "config": run.config}
        if folder.exists() and not folder.is_dir():
            raise RunError(f"{folder} is a file; --out names a folder")
        if (folder / "config.yaml").exists():
            there = _read_identity(folder)
            known = config.model_dump(mode="json", include=set(without_effect))
            there["config"] = fill_in_defaults(type(config), there["config"], without_effect, known)
            if replace and _first_difference(there, identity) and there["command"] == command and run.finished:
                shutil.rmtree(folder)
            elif difference := _first_difference(there, identity):
                raise RunError(
                    f"{folder} belongs to another run ({difference}); choose another --out or delete that folder"
                )
        elif folder.exists() and not all(_is_beginning(path) for path in folder.iterdir()):
            raise RunError(f"{folder} is not empty and is no run folder; choose another --out")
        _make_folder(folder)
        run._lock = _lock(folder)
        weakref.finalize(run, _unlock, run._lock)  # also when an error ends the command
        remove_leftovers(folder)
        if run.finished:
            run._tidy()  # a kill may have come between DONE and this
            return run
        if not (folder / "config.yaml").exists():
            write_text(folder / "config.yaml", yaml.safe_dump(identity, sort_keys=False, allow_unicode=True))
        run._record_environment()
        return run

    def _record_environment(self) -> None:
        """Write environment.json; where an interrupted run goes on in another environment, say so."""
        path, now = self.folder / "environment.json", _environment()
        if not path.exists():
            write_json(path, now)
            return
        there = json.loads(path.read_text(encoding="utf-8"))
        # a run of an earlier version recorded fewer packages
        now["versions"] = {name: now["versions"].get(name) for name in there.get("versions", {})}
        if difference := _first_difference(there, now):
            print(
                f"note: {self.folder} goes on in another environment ({difference}); "
                "its files may differ from those of an undisturbed run",
                file=sys.stderr,
            )

    @classmethod
    def load(cls, folder: Path, *commands: str, finished: bool = True) -> "Run":
        """Open a run folder for reading.

        Args:
            commands: the commands whose runs are acceptable here; none = any.
            finished: insist on a run that reached its end.
        Raises:
            RunError: no run there, one of another command, or one not finished.
        """
        if not (folder / "config.yaml").is_file():
            made_by = f" made by `{'` or `'.join(commands)}`" if commands else ""
            raise RunError(f"{folder}: no run folder here (config.yaml is missing); expected one{made_by}")
        there = _read_identity(folder)
        if commands and there["command"] not in commands:
            raise RunError(f"{folder} was made by `{there['command']}`; expected a run of `{'` or `'.join(commands)}`")
        run = cls(folder, there["command"], there["config"], there["inputs"], writes=False)
        if finished and not run.finished:
            raise RunError(f"{folder}: this run has not finished; repeat its `{run.command}` command and it goes on")
        return run

    @property
    def finished(self) -> bool:
        return (self.folder / "DONE").exists()

    @property
    def summary(self) -> dict[str, Any]:
        """What the run said when it finished."""
        try:
            return json.loads((self.folder / "DONE").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise RunError(f"{self.folder}/DONE: damaged; delete it and repeat `{self.command}`") from None

    def finish(self, summary: dict[str, Any]) -> None:
        """Mark the run finished and drop what only an unfinished run needs."""
        if self.writes:
            write_json(self.folder / "DONE", summary)
            self._tidy()

    def _tidy(self) -> None:
        (self.folder / "last.safetensors").unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Release the folder (also happens when the process ends)."""
        if self._lock is not None:
            _unlock(self._lock)
            self._lock = None

    # metrics

    def log(self, step: int, **values: float) -> None:
        """Append one line to metrics.jsonl."""
        if self.writes:
            with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(plain({"step": step, **values})) + "\n")

    def metrics(self) -> Iterator[dict[str, Any]]:
        """The logged lines, in order; a line cut short by a kill is left out."""
        path = self.folder / "metrics.jsonl"
        for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            try:
                yield json.loads(line)
            except json.JSONDecodeError:
                return

    def rewind_metrics(self, step: int) -> None:
        """Drop metrics of steps after `step`: they will be computed again."""
        if self.writes:
            kept = [json.dumps(m) + "\n" for m in self.metrics() if m["step"] <= step]
            write_text(self.folder / "metrics.jsonl", "".join(kept))

    # tensors

    def save_checkpoint(self, step: int, tensors: "dict[str, torch.Tensor]", **record: Any) -> None:
        """Replace last.safetensors: what `load_checkpoint` needs to go on from `step`."""
        self.save_weights("last.safetensors", tensors, step=step, **record)

    def load_checkpoint(self) -> Checkpoint | None:
        """The state to go on from, or None for a run that has none yet; metrics are rewound to its step."""
        path = self.folder / "last.safetensors"
        if not path.exists():
            self.rewind_metrics(0)
            return None
        checkpoint = read_weights(path)
        self.rewind_metrics(checkpoint.step)
        return checkpoint

    def save_weights(self, name: str, tensors: "dict[str, torch.Tensor]", **record: Any) -> None:
        """Write tensors and a json record as one safetensors file, atomically."""
        if self.writes:
            from safetensors.torch import save

            on_cpu = {key: value.detach().to("cpu").contiguous() for key, value in tensors.items()}
            write_bytes(self.folder / name, save(on_cpu, {"record": json.dumps(plain(record), sort_keys=True)}))


def read_weights(path: Path) -> Checkpoint:
    """Read a safetensors file that a run wrote.

    Raises:
        RunError: missing or not a whole safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise RunError(f"{path}: no such checkpoint")
    try:
        with safe_open(path, "pt") as file:  # type: ignore[no-untyped-call]
            record = json.loads((file.metadata() or {}).get("record", "{}"))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
    except (SafetensorError, OSError, ValueError) as problem:
        raise RunError(f"{path}: not a readable checkpoint ({problem}); delete it and repeat the command") from None
    return Checkpoint(int(record.get("step", 0)), tensors, record)


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
    content = optimizer.state_dict()
    for name, value in tensors.items():
        if name.startswith(prefix + "."):
            index, key = name[len(prefix) + 1 :].split(".", 1)
            content["state"].setdefault(int(index), {})[key] = value
    optimizer.load_state_dict(content)


def prefixed(prefix: str, tensors: "dict[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """{name: tensor} -> {prefix.name: tensor}."""
    return {f"{prefix}.{name}": value for name, value in tensors.items()}


def without_prefix(prefix: str, tensors: "dict[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """The entries whose name starts with `prefix.`, without it."""
    return {name[len(prefix) + 1 :]: value for name, value in tensors.items() if name.startswith(prefix + ".")}


def latest_run(root: Path, command: str) -> Path:
    """The run of `command` under `root` that finished last.

    Raises:
        RunError: there is none.
    """
    done = [p.parent for p in root.glob("*/DONE") if (p.parent / "config.yaml").is_file()]
    found = [folder for folder in done if _read_identity(folder)["command"] == command]
    if not found:
        raise RunError(f"no finished run of `{command}` under {root}/; run that first, or name its folder")
    return max(found, key=lambda folder: (folder / "DONE").stat().st_mtime_ns)


def _read_identity(folder: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
        return {key: content[key] for key in ("command", "inputs", "config")}
    except (OSError, KeyError, TypeError, UnicodeDecodeError, yaml.YAMLError):
        raise RunError(f"{folder}/config.yaml: not written by this toolkit, or damaged") from None


def fill_in_defaults(
    model: type[Config],
    stored: dict[str, Any],
    without_effect: Sequence[str] = (),
    known: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A run's config with the defaults of settings that its version did not have yet: it ran as they say.

    A config that `model` does not understand comes back as it is.

    Args:
        without_effect: keys that are not stored.
        known: values of those of them that have no default.
    """
    try:
        return model.model_validate({**(known or {}), **model.of_stored(stored)}).model_dump(
            mode="json", exclude=set(without_effect)
        )
    except ValidationError:
        return stored


def _first_difference(there: Any, here: Any, where: str = "") -> str:
    """The first thing that differs, in words, or "". Data of one fingerprint are the same wherever they lie."""
    if isinstance(there, dict) and isinstance(here, dict):
        fingerprints = [side.get("fingerprint") for side in (there, here)]
        moved = fingerprints[0] is not None and fingerprints[0] == fingerprints[1]
        if None not in fingerprints and not moved:
            names = [f"{side.get('location', 'data')} of fingerprint {side['fingerprint']}" for side in (there, here)]
            return f"{where} is {names[0]} there and {names[1]} here"
        for key in [*here, *(k for k in there if k not in here)]:
            if key == "location" and moved:
                continue
            if difference := _first_difference(there.get(key), here.get(key), f"{where}.{key}" if where else str(key)):
                return difference
        return ""
    if isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        pairs = enumerate(zip(there, here, strict=True))
        return next((found for i, pair in pairs if (found := _first_difference(*pair, f"{where}[{i}]"))), "")
    return "" if there == here else f"{where} is {_short(there)} there and {_short(here)} here"


def _short(value: Any) -> str:
    return repr(value) if len(repr(value)) < 80 else f"{repr(value)[:60]}... ({len(value)} long)"


def _is_beginning(path: Path) -> bool:
    """Whether a file can be what a run leaves that is killed before its config.yaml is there."""
    return path.name == ".lock" or path.name.endswith(".partial")


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise RunError(f"{folder}: this folder cannot be made ({problem.strerror}); choose another --out") from None


def _lock(folder: Path) -> Any:
    import fcntl

    file = (folder / ".lock").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise RunError(
            f"{folder}: another process is writing into this run; wait for it or choose another --out"
        ) from None
    return file


def _unlock(file: Any) -> None:
    if not file.closed:
        Path(file.name).unlink(missing_ok=True)
        file.close()


def _environment() -> dict[str, Any]:
    import torch

    versions: dict[str, str | None] = {}
    for package in _VERSIONED:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions,
        "threads": torch.get_num_threads(),
        "cpus": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }
