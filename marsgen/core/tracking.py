"""Trackers: what a run logs, shown by TensorBoard, Weights & Biases, MLflow or Trackio too (setting `track`).

The run folder stays the truth: a tracker is told what metrics.jsonl says and changes no other file of the run. Its own
folder, <run>/tracked/, is the only one that may hold times:

    tracked/runs.json      tracker -> the id of the run there, so that a resumed run goes on in it
    tracked/tensorboard/   event files, for `tensorboard --logdir`
    tracked/wandb/         what wandb writes, also offline (WANDB_MODE=offline)

MLflow and Trackio keep their runs where they are told to (MLFLOW_TRACKING_URI, TRACKIO_DIR) or where they always do.
"""

import json
import logging
import math
import os
import secrets
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from marsgen.core.errors import ConfigError, RunError, how_to_install
from marsgen.core.storage.files import write_json
from marsgen.core.storage.reading import first_line, read_json

if TYPE_CHECKING:
    import numpy as np

TrackerName = Literal["tensorboard", "wandb", "mlflow", "trackio"]
FOLDER = "tracked"

_log = logging.getLogger(__name__)


def refuse_no_tracker(name: TrackerName | None) -> None:
    """Raise ConfigError where the package of a tracker is not installed; imports nothing."""
    if name is not None and find_spec(name) is None:
        how = how_to_install("track") if name == "tensorboard" else f"pip install {name}"
        raise ConfigError(f"track is {name}, which is not installed: {how}; or leave `track` out")


class Tracker:
    """One run as a tracker shows it. After `start`, a failure of the tracker is a warning and ends the tracking."""

    def __init__(self, name: TrackerName, folder: Path, program: str, settings: Mapping[str, Any]) -> None:
        """Nothing is opened or written yet.

        Args:
            name: of the tracker.
            folder: of the run; its last part is the run's name there.
            program: the project, or experiment, that the run belongs to.
            settings: of the run, shown beside its curves.
        """
        self.name, self._program, self._settings = name, program.replace(" ", "-"), settings
        self._run_name, self._folder = folder.resolve().name, folder / FOLDER
        self._tracker: Any = None

    def start(self, step: int, logged: Iterable[Mapping[str, Any]]) -> None:
        """Open the tracker's run, a new one or that of an interrupted run.

        Args:
            step: of the checkpoint that the run goes on from; 0 = it begins.
            logged: the lines of metrics.jsonl until then; a new run of the tracker is told them first.
        Raises:
            RunError: the tracker cannot be opened, such as without its login or network.
        """
        path = self._folder / "runs.json"
        remedy = "delete it, and the tracker begins a new run"
        known = read_json(path, dict[str, str], RunError, remedy) if path.exists() else {}
        try:
            self._tracker = self._build(known.get(self.name), step)
            self._tracker.start()
            if self.name not in known:
                there = self._tracker.tracker.info.run_id if self.name == "mlflow" else self._id
                write_json(path, known | {self.name: there})
                self._tell_settings()
        except Exception as problem:
            reason = first_line(problem)
            raise RunError(
                f"track: {self.name} cannot be started ({reason}); mend that, or leave `track` out"
            ) from None
        if self.name not in known:
            for line in logged:
                self.log(line["step"], {key: value for key, value in line.items() if key != "step"})

    def _build(self, known: str | None, step: int) -> Any:
        from accelerate import tracking  # here: imports torch

        self._id = known or secrets.token_hex(8)
        project = os.environ.get("WANDB_PROJECT", self._program)
        if self.name == "tensorboard":  # steps after the checkpoint are logged again: readers drop the first ones
            return tracking.TensorBoardTracker("tensorboard", self._folder, purge_step=step + 1 if known else None)
        if self.name == "wandb":
            self._folder.mkdir(parents=True, exist_ok=True)
            said = {"silent": True, "console": "off"}  # what the command prints is not the tracker's
            more = {"name": self._run_name, "resume": "allow", "dir": str(self._folder), "settings": said}
            return tracking.WandBTracker(project, id=self._id, **more)
        if self.name == "mlflow":
            return tracking.MLflowTracker(self._program, run_id=known, run_name=self._run_name)
        return tracking.TrackioTracker(self._program, name=f"{self._run_name}-{self._id}", resume="allow")

    def _tell_settings(self) -> None:
        if self.name == "tensorboard":  # accelerate would write a folder of its own for them, named after the time
            text = json.dumps(self._settings, indent=2)
            self._tracker.log({"settings": "\n".join(f"    {line}" for line in text.splitlines())})
        else:
            self._tracker.store_init_configuration(dict(_flat(self._settings)))

    def log(self, step: int, values: Mapping[str, float | None]) -> None:
        """Tell the numbers of a step; those that are not finite are left out."""
        numbers = {key: float(value) for key, value in values.items() if value is not None and math.isfinite(value)}
        self._tell(lambda: self._tracker.log(numbers, step=step))

    def show(self, step: int, name: str, picture: "np.ndarray") -> None:
        """Tell a picture, (H, W, 3) uint8."""
        self._tell(lambda: self._show(step, name, picture))

    def _show(self, step: int, name: str, picture: "np.ndarray") -> None:
        if self.name == "tensorboard":
            self._tracker.log_images({name: picture[None]}, step=step, dataformats="NHWC")
        elif self.name == "wandb":
            self._tracker.log_images({name: [picture]}, step=step)
        elif self.name == "mlflow":
            import mlflow

            mlflow.log_image(picture, artifact_file=f"{name}/step_{step:06d}.png")
        else:
            import trackio

            self._tracker.log({name: trackio.Image(picture)}, step=step)

    def finish(self) -> None:
        """Close the tracker's run; a later `start` goes on in it."""
        self._tell(lambda: self._tracker.finish())
        self._tracker = None

    def _tell(self, tell: Any) -> None:
        if self._tracker is None:
            return
        try:
            tell()
        except Exception as problem:  # a lost network must not end a training that does not need it
            self._tracker = None
            _log.warning("track: %s failed (%s); the run goes on without it", self.name, first_line(problem))


def _flat(settings: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Dotted keys and values that every tracker takes."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, (bool, int, float, str)) else json.dumps(value)
