"""Run: the folder in which one command records what it was asked, what it did and where it is, so that it can go on.

    config.yaml          command, resolved config, inputs with their fingerprints: what the run is
    environment.json     versions, thread count, device: what it ran on
    metrics.jsonl        one json line per logged step
    last.safetensors     everything needed to go on after a kill (weights, optimizer, step)
    best.safetensors     weights of the step with the best score, or the final ones
    DONE                 a json summary; its presence means that the run is finished
    tracked/             only with the setting `track`, see marsgen/core/tracking.py

Nothing else in the folder holds a time or a path of the run itself: the same inputs give the same bytes.
"""

import json
import os
import shutil
import sys
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from marsgen.core.config import Config, ConfigT, build_config
from marsgen.core.environment import environment
from marsgen.core.errors import RunError
from marsgen.core.storage.checkpoints import Checkpoint, encode_weights, read_record, read_weights
from marsgen.core.storage.files import (
    is_written,
    plain,
    remove_leftovers,
    sync_file_system,
    sync_folder,
    write_bytes,
    write_json,
    write_text,
)
from marsgen.core.storage.lock import LOCK_FILE, Lock, take_lock
from marsgen.core.storage.places import refuse_missing, refuse_no_run
from marsgen.core.storage.reading import naming, read_json, read_json_lines, read_yaml, shorten, value_at
from marsgen.core.tracking import Tracker, TrackerName

if TYPE_CHECKING:
    import numpy as np
    import torch


@dataclass
class Run:
    """A run folder opened by the command that fills it (`Run.start`) or by one that reads it (`Run.load`)."""

    folder: Path
    command: str
    config: dict[str, Any]
    inputs: dict[str, Any]
    writes: bool = True
    """False on all but the first of several processes: those compute and record nothing"""
    _lock: Lock | None = field(default=None, repr=False)
    _tracker: Tracker | None = field(default=None, repr=False)

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
        stored = config.model_dump(mode="json", exclude=set(without_effect))
        run = cls(folder, command, stored, plain(inputs or {}), writes)
        if not writes:
            return run
        run._refuse_other(replace)  # before a lock file is put into a folder that is not this run's
        _make_folder(folder)
        try:
            lock = take_lock(folder / LOCK_FILE)
        except OSError as problem:
            if run.finished:  # on a read-only file system it can still be read
                return run
            raise RunError(f"{folder}: cannot be written ({problem.strerror}); choose another --out") from None
        if lock is None:
            raise RunError(f"{folder}: another process is writing into this run; wait for it or choose another --out")
        run._lock = lock
        weakref.finalize(run, lock.release)  # also when an error ends the command
        if run._refuse_other(replace):  # again: until now another process may have written
            run._clear()
        remove_leftovers(folder)
        if run.finished:
            run._tidy()  # a kill may have come between DONE and this
            return run
        if not is_written(folder / "config.yaml"):
            (folder / "DONE").unlink(missing_ok=True)  # of a run that was being cleared
            write_text(folder / "config.yaml", as_yaml(run._identity))
            sync_folder(folder)
        run._record_environment()
        return run

    @property
    def _identity(self) -> dict[str, Any]:
        """What makes it this run and no other; the content of config.yaml."""
        return {"command": self.command, "inputs": self.inputs, "config": self.config}

    def _refuse_other(self, replace: bool) -> bool:
        """Whether the folder holds a finished run that is to make room; RunError for anything else that is not this."""
        there = refuse_taken(self.folder, self.command)
        difference = first_difference(there, self._identity) if there else ""
        if difference and not (replace and self.finished):
            raise _other_run(self.folder, difference)
        return bool(difference)

    def _clear(self) -> None:
        """Delete all but the lock; what says that the run may be replaced goes last."""
        last = ("config.yaml", "DONE")
        for path in [*(p for p in _listed(self.folder) if p.name not in last), *(self.folder / name for name in last)]:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name != LOCK_FILE:
                path.unlink(missing_ok=True)

    def _record_environment(self) -> None:
        """Write environment.json; where an interrupted run goes on in another environment, say so."""
        path, now = self.folder / "environment.json", environment()
        if not is_written(path):
            write_json(path, now)
            return
        there: dict[str, Any] = read_json(path, fault=RunError, remedy=f"delete it and repeat `{self.command}`")
        if difference := first_difference(there, now):
            print(
                f"note: {self.folder} goes on in another environment ({difference}); "
                "its files may differ from those of an undisturbed run",
                file=sys.stderr,
            )

    @classmethod
    def load(cls, folder: Path, *commands: str, finished: bool = True) -> Self:
        """Open a run folder for reading.

        Args:
            commands: the commands whose runs are acceptable here; none = any.
            finished: insist on a run that reached its end.
        Raises:
            RunError: no run there, one of another command, or one not finished.
        """
        refuse_no_run(folder, *commands)
        there = _read_identity(folder)
        if commands and there["command"] not in commands:
            raise RunError(f"{folder} was made by `{there['command']}`; expected a run of `{'` or `'.join(commands)}`")
        run = cls(folder, there["command"], there["config"], there["inputs"], writes=False)
        if finished and not run.finished:
            raise RunError(f"{folder}: this run has not finished; repeat its `{run.command}` command and it goes on")
        return run

    @property
    def finished(self) -> bool:
        return is_written(self.folder / "DONE")

    @property
    def summary(self) -> dict[str, Any]:
        """What the run said when it finished."""
        remedy = f"damaged; delete it and repeat `{self.command}`"
        return read_json(self.folder / "DONE", fault=RunError, remedy=remedy)

    def finish(self, summary: dict[str, Any]) -> None:
        """Mark the run finished and drop what only an unfinished run needs."""
        if self.writes:
            self.refuse_moved()
            sync_file_system(self.folder)  # all of it is on the disk before anything says so
            write_json(self.folder / "DONE", summary)
            sync_folder(self.folder)
            self._tidy()

    def _tidy(self) -> None:
        (self.folder / "last.safetensors").unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Release the folder (also happens when the process ends)."""
        if self._tracker is not None:
            self._tracker.finish()
            self._tracker = None
        if self._lock is not None:
            self._lock.release()
            self._lock = None

    def refuse_moved(self) -> None:
        """Raise RunError where somebody removed or replaced the folder: what is written now would be half a run."""
        if self._lock is not None and not self._lock.in_place:
            raise RunError(f"{self.folder}: removed or replaced while this command was writing into it; repeat it")

    def stored(self, key: str, kind: Any) -> Any:
        """The value under a dotted key of config.yaml, such as "inputs.data.fingerprint"; see `value_at`.

        Raises:
            RunError: missing or of another type.
        """
        remedy = f"not written by this toolkit, or damaged; repeat `{self.command}` into another --out"
        return value_at(self._identity, key, kind, self.folder / "config.yaml", RunError, remedy)

    def refuse_lost_data(self) -> Self:
        """This run, where the data that it was trained on are still there.

        Raises:
            DataError: they are not.
        """
        refuse_missing([self.stored("inputs.data.location", str)])
        return self

    def refuse_no_weights(self) -> Self:
        """This run, where its best weights are there and whole as far as their header tells.

        Raises:
            RunError: they are not.
        """
        read_record(self.folder / "best.safetensors")
        return self

    def stored_config(self, key: str, model: type[ConfigT]) -> ConfigT:
        """A block of the settings in config.yaml, checked.

        Raises:
            RunError: missing.
            ConfigError: a setting that cannot be.
        """
        return build_config(model, self.stored(f"config.{key}", dict), f"{self.folder / 'config.yaml'}: {key}")

    def said(self, key: str, kind: Any) -> Any:
        """The value under a dotted key of the summary; see `value_at`.

        Raises:
            RunError: missing or of another type.
        """
        remedy = f"damaged; delete it and repeat `{self.command}`"
        return value_at(self.summary, key, kind, self.folder / "DONE", RunError, remedy)

    def describe(self, in_words: Callable[[dict[str, Any]], Sequence[str]]) -> tuple[str, ...]:
        """The summary in lines.

        Raises:
            RunError: the summary is not one that `in_words` can read.
        """
        summary, remedy = self.summary, f"damaged; delete it and repeat `{self.command}`"
        with naming(self.folder / "DONE", RunError, remedy, "not as it was written"):
            return tuple(in_words(summary))

    # metrics

    def log(self, step: int, **values: float) -> None:
        """Append one line to metrics.jsonl."""
        if self.writes:
            self.refuse_moved()
            with (self.folder / "metrics.jsonl").open("a", encoding="utf-8", newline="\n") as file:
                file.write(json.dumps(plain({"step": step, **values})) + "\n")
        if self._tracker is not None:
            self._tracker.log(step, values)

    def track(self, tracker: TrackerName | None) -> None:
        """Show a tracker all that is logged from `load_checkpoint` on."""
        if tracker is not None and self.writes and not self.finished:
            self._tracker = Tracker(tracker, self.folder, self.command, self._identity)

    @property
    def tracked(self) -> bool:
        """Whether somebody looks at what `show` is given."""
        return self._tracker is not None

    def show(self, step: int, name: str, picture: "np.ndarray") -> None:
        """Show the tracker a picture, (H, W, 3) uint8; nothing is written here."""
        if self._tracker is not None:
            self._tracker.show(step, name, picture)

    def metrics(self) -> Iterator[dict[str, Any]]:
        """The logged lines, in order; a line cut short by a kill is left out.

        Raises:
            RunError: a line that no run wrote.
        """
        path = self.folder / "metrics.jsonl"
        remedy = f"delete {self.folder} and repeat `{self.command}`"
        if path.exists():
            for number, (_, line) in enumerate(read_json_lines(path, RunError, remedy), start=1):
                if type(line.get("step")) is not int:
                    raise RunError(f"{path}: line {number}: no whole number under 'step'; {remedy}")
                for key, value in line.items():
                    if value is not None and type(value) not in (int, float):
                        found = f"{shorten(key, 60)} is {_short(value)}; a number was expected"
                        raise RunError(f"{path}: line {number}: {found}, {remedy}")
                yield line

    def rewind_metrics(self, step: int) -> None:
        """Drop metrics of steps after `step`: they will be computed again."""
        if self.writes:
            kept = [json.dumps(m) + "\n" for m in self.metrics() if m["step"] <= step]
            write_text(self.folder / "metrics.jsonl", "".join(kept))
            if self._tracker is not None:
                self._tracker.start(step, self.metrics())

    # tensors

    def save_checkpoint(self, step: int, tensors: "dict[str, torch.Tensor]", **record: Any) -> None:
        """Replace last.safetensors: what `load_checkpoint` needs to go on from `step`."""
        if self.writes and (self.folder / "metrics.jsonl").exists():
            with (self.folder / "metrics.jsonl").open("rb+") as file:  # its lines up to `step` are not logged again
                os.fsync(file.fileno())
        self.save_weights("last.safetensors", tensors, step=step, **record)

    @property
    def checkpoint_path(self) -> Path:
        """Where `save_checkpoint` writes."""
        return self.folder / "last.safetensors"

    def load_checkpoint(self) -> Checkpoint | None:
        """The state to go on from, or None for a run that has none yet; metrics are rewound to its step."""
        if not is_written(self.checkpoint_path):
            self.rewind_metrics(0)
            return None
        checkpoint = read_weights(self.checkpoint_path)
        self.rewind_metrics(checkpoint.step)
        return checkpoint

    def save_weights(self, name: str, tensors: "dict[str, torch.Tensor]", **record: Any) -> None:
        """Write tensors and a json record as one safetensors file, atomically."""
        if self.writes:
            self.refuse_moved()
            write_bytes(self.folder / name, encode_weights(tensors, record))


def refuse_taken(folder: Path, command: str) -> dict[str, Any] | None:
    """Refuse a folder that a run of `command` cannot be written into, as far as that is known without its inputs.

    Returns:
        what makes the run that is there, of the same command; None = there is none.
    Raises:
        RunError: a file, a folder with other files, or the run of another command.
    """
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file; --out names a folder")
    if is_written(folder / "config.yaml"):
        there = _read_identity(folder)
        if difference := first_difference({"command": there["command"]}, {"command": command}):
            raise _other_run(folder, difference)
        return there
    if folder.exists() and not all(_is_beginning(path) for path in _listed(folder)):
        raise RunError(f"{folder} is not empty and is no run folder; choose another --out")
    return None


def _other_run(folder: Path, difference: str) -> RunError:
    return RunError(f"{folder} belongs to another run ({difference}); choose another --out or delete that folder")


def latest_run(root: Path, command: str) -> Path:
    """The run of `command` under `root` that finished last.

    Raises:
        RunError: there is none.
    """
    done = [p.parent for p in sorted(root.glob("*/DONE")) if is_written(p) and is_written(p.parent / "config.yaml")]
    found = [folder for folder in done if _read_identity(folder)["command"] == command]
    if not found:
        raise RunError(f"no finished run of `{command}` under {root}/; run that first, or name its folder")
    return max(found, key=lambda folder: (folder / "DONE").stat().st_mtime_ns)


def _read_identity(folder: Path) -> dict[str, Any]:
    path = folder / "config.yaml"
    content = read_yaml(path, RunError, "not written by this toolkit, or damaged")
    kinds = {"command": str, "inputs": dict, "config": dict}
    if not isinstance(content, dict) or not all(isinstance(content.get(key), kind) for key, kind in kinds.items()):
        raise RunError(f"{path}: not written by this toolkit, or damaged; expected the keys {', '.join(kinds)}")
    return {key: content[key] for key in kinds}


def as_yaml(content: dict[str, Any]) -> str:
    """The content of a config.yaml."""
    import yaml

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:  # a list that stands twice is written twice
            return True

    return yaml.dump(content, Dumper=Dumper, sort_keys=False, allow_unicode=True)


def first_difference(there: Any, here: Any, where: str = "") -> str:
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
            if difference := first_difference(there.get(key), here.get(key), f"{where}.{key}" if where else str(key)):
                return difference
        return ""
    if isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        pairs = enumerate(zip(there, here, strict=True))
        return next((found for i, pair in pairs if (found := first_difference(*pair, f"{where}[{i}]"))), "")
    return "" if there == here else f"{where} is {_short(there)} there and {_short(here)} here"


def _short(value: Any) -> str:
    return shorten(repr(value), 80)


def _listed(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as problem:
        raise RunError(f"{folder}: cannot be listed ({problem.strerror}); choose another --out") from None


def _is_beginning(path: Path) -> bool:
    """Whether a file can be what a run leaves that is killed before its config.yaml is there."""
    unwritten = path.name in ("config.yaml", "environment.json") and not is_written(path)
    return path.name in (LOCK_FILE, "DONE") or path.name.endswith(".partial") or unwritten


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise RunError(f"{folder}: this folder cannot be made ({problem.strerror}); choose another --out") from None
