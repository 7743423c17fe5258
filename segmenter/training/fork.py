"""Runs that begin with the same steps share them: one keeps its state after some step, others go on from there.

    <run>/fork/last.safetensors    the checkpoint of that step
    <run>/fork/best.safetensors    the best weights until then, if there was a validation
    <run>/fork/metrics.jsonl       what was logged until then

A run that starts from such a state ends with the bytes that it would have had on its own: until the fork both draw the
same real scenes, since extra scenes come later (`extra_steps`) and take no other scene's place (`TrainingBatches`).
"""

from pathlib import Path
from typing import Any

from marsgen.core.config import build_config
from marsgen.core.errors import RunError
from marsgen.core.runs import Run, first_difference
from marsgen.core.storage.checkpoints import read_weights
from marsgen.core.storage.files import is_written, plain, write_bytes
from segmenter.training.config import TrainConfig
from segmenter.training.places import FORK, LAST, refuse_no_state

FREE_KEYS = ("extra_fraction", "extra_steps", "fork_at", "calibrate", "workers", "cuda_graph", "track")
"""settings that change nothing before the first extra scene; runs that differ in no others share those steps"""


def keep_state(run: Run) -> None:
    """Copy the newest checkpoint of a run, and what belongs to it, into its folder `fork`."""
    if run.writes:
        _copy_state(run.folder, run.folder / FORK)


def start_from(run: Run, trunk: Path) -> None:
    """Let a run without a checkpoint of its own go on from the state that the run `trunk` has kept."""
    if run.writes and not run.finished and not is_written(run.folder / LAST):
        _copy_state(trunk / FORK, run.folder)


def refuse_other_trunk(trunk: Path, config: TrainConfig, inputs: dict[str, Any]) -> None:
    """Raise RunError where a run of `config` and `inputs` would not have come to the state that `trunk` has kept.

    Args:
        trunk: folder of a finished run of `segmenter train`.
        inputs: data, extra and pretrained, as the run records them.
    """
    run, where = Run.load(trunk, "segmenter train"), f"--fork {trunk}"
    refuse_no_state(trunk)
    if run.inputs.get("extra"):
        raise RunError(f"{where}: it was trained on extra scenes; name a run on real scenes alone")
    settings = config.model_dump(mode="json")
    trained = build_config(TrainConfig, run.config, f"{trunk}: config")
    for there, here in (
        (_but(run.config, FREE_KEYS), _but(settings, FREE_KEYS)),
        # where it is null it depends on extra_fraction, which is free
        ({"rare_fraction": trained.most_rare}, {"rare_fraction": config.most_rare}),
        (_but(run.inputs, ("extra",)), _but(plain(inputs), ("extra",))),
    ):
        if difference := first_difference(there, here):
            raise RunError(
                f"{where}: {difference}; a run starts from one with the same data and settings but for "
                f"{', '.join(FREE_KEYS)}; change that, or leave --fork out"
            )
    step, first = read_weights(trunk / FORK / LAST).step, config.steps_with_extra[0]
    if inputs["extra"] and first < step:
        raise RunError(
            f"{where}: it keeps its state of step {step}, but extra scenes join after step {first}; "
            f"set extra_steps=[{step / config.steps:g}, {config.extra_span[1]:g}], or leave --fork out"
        )


def _copy_state(source: Path, target: Path) -> None:
    for name in ("metrics.jsonl", "best.safetensors", LAST):  # last the one whose presence says that all are there
        if (source / name).is_file():
            target.mkdir(exist_ok=True)
            write_bytes(target / name, (source / name).read_bytes())


def _but(settings: dict[str, Any], left_out: tuple[str, ...]) -> dict[str, Any]:
    return {key: value for key, value in settings.items() if key not in left_out}
