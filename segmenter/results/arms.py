"""Arms: training runs grouped by recipe, each with its evaluation on the same test images, and what they counted."""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from marsgen.core.errors import DataError, RunError
from marsgen.core.runs import Run
from marsgen.core.storage.reading import check_content
from segmenter.evaluation.config import EvaluateConfig
from segmenter.evaluation.reader import Evaluation, read_evaluation
from segmenter.inference.config import InferenceConfig
from segmenter.results.counts import StudyCounts, count_evaluations
from segmenter.results.metadata import ArmMetadata, StatisticsSettings


class ExtraRecord(BaseModel):
    """What is read of a run's record of its extra scenes."""

    location: str
    fingerprint: str
    generator: str | None = None
    mode: str | None = None
    drawing: dict[str, float | None] | None = None


@dataclass(frozen=True, eq=False)
class Arm:
    """Runs of one recipe and their evaluations on the same test images, in order of their seeds."""

    label: str
    runs: tuple[Run, ...]
    evaluations: tuple[Evaluation, ...]

    @property
    def seeds(self) -> tuple[int, ...]:
        return tuple(run.stored("config.seed", int) for run in self.runs)


# which runs, which evaluations


def find_evaluations(runs: Sequence[Run], data: str = "", settings: EvaluateConfig | None = None) -> list[Evaluation]:
    """The one evaluation that all runs share: same data, same part, same settings; classes in the first run's order.

    Args:
        data: see CompareConfig.data, or the data's fingerprint; "" = there is only one.
        settings: how they were scored; None = any way.
    Raises:
        RunError: a run has none (the message names the command that makes it), or the runs share several.
        DataError: other test scenes, other classes.
    """
    found = [_evaluations_of(run, data, settings) for run in runs]
    if lacking := next((run for run, there in zip(runs, found, strict=True) if not there), None):
        known = next((e.record["data"]["location"] for there in found for e in there.values()), data or "WHERE")
        wanted = f" on {data}" if data else ""
        raise RunError(
            f"{lacking.folder} has no finished evaluation{wanted}; "
            f"run `segmenter evaluate {lacking.folder} --data {known}`"
        )
    shared = [key for key in found[0] if all(key in there for there in found)]
    if not shared:
        other = next(i for i, there in enumerate(found) if not set(there) & set(found[0]))
        raise DataError(
            f"{runs[0].folder} was evaluated on {_names(found[0])}, {runs[other].folder} on {_names(found[other])}: "
            "not the same test scenes or settings; evaluate both on the same data with `segmenter evaluate`"
        )
    if len(shared) > 1:
        choices = ", ".join(found[0][key].folder.name for key in shared)
        raise RunError(f"the runs share {len(shared)} evaluations ({choices}); choose one with --set data=NAME")
    evaluations = [there[shared[0]] for there in found]
    for run, evaluation in zip(runs, evaluations, strict=True):
        _refuse_other_scenes(runs[0], evaluations[0], run, evaluation)
    return [evaluation.ordered_like(evaluations[0].classes) for evaluation in evaluations]


def _evaluations_of(run: Run, data: str, wanted: EvaluateConfig | None) -> dict[tuple, Evaluation]:
    """Finished evaluations of a run by what makes two of them comparable."""
    found = {}
    for done in sorted(run.folder.glob("evaluations/*/DONE")):
        evaluation = read_evaluation(done.parent)
        record, how = evaluation.record, _how(evaluation.record["settings"])
        if wanted is not None and how != _how(wanted.model_dump()):
            continue
        if data in ("", done.parent.name, record["data"]["location"], record["data"]["fingerprint"]):
            found[(record["data"]["fingerprint"], record["part"], *how)] = evaluation
    return found


def _how(settings: dict[str, Any]) -> tuple:
    return InferenceConfig.of(settings), settings["found_fraction"], settings["min_region_px"]


def _names(evaluations: dict[tuple, Evaluation]) -> str:
    return " and ".join(evaluation.folder.name for evaluation in evaluations.values())


def _refuse_other_scenes(first_run: Run, first: Evaluation, run: Run, evaluation: Evaluation) -> None:
    if evaluation.classes.order_of(first.classes) is None:
        raise DataError(
            f"{run.folder} tells apart {', '.join(evaluation.classes.names)}; {first_run.folder} tells apart "
            f"{', '.join(first.classes.names)}; only runs of the same classes can be compared"
        )
    if evaluation.keys != first.keys or evaluation.groups != first.groups:
        raise DataError(
            f"{run.folder} and {first_run.folder} were scored on different scenes: their "
            f"{first.record['part']} parts of {first.record['data']['location']} differ; "
            "train them with the same data settings"
        )


# arms


def group_arms(runs: Sequence[Run], evaluations: Sequence[Evaluation]) -> list[Arm]:
    """Runs that differ by their seed alone become one arm, in the order in which the arms were first named.

    Raises:
        RunError: two runs of one arm have the same seed.
    """
    members: dict[str, list[int]] = {}
    recipes: dict[str, dict[str, Any]] = {}
    for number, run in enumerate(runs):
        recipe = _recipe(run)
        recipes[repr(recipe)] = recipe
        members.setdefault(repr(recipe), []).append(number)
    labels = _tell_apart([_label(runs[members[key][0]]) for key in members], [recipes[key] for key in members])
    arms = []
    for label, numbers in zip(labels, members.values(), strict=True):
        numbers = sorted(numbers, key=lambda n: runs[n].stored("config.seed", int))
        for a, b in itertools.pairwise(numbers):
            if runs[a].stored("config.seed", int) == runs[b].stored("config.seed", int):
                raise RunError(
                    f"{runs[a].folder} and {runs[b].folder} are one recipe with seed {runs[a].config['seed']} twice; "
                    "name one of them, or train one with another --set seed=N"
                )
        arms.append(Arm(label, tuple(runs[n] for n in numbers), tuple(evaluations[n] for n in numbers)))
    return arms


def _recipe(run: Run) -> dict[str, Any]:
    """What the runs of an arm have in common, flat: dotted key -> value."""
    extras = [
        {key: e.get(key) for key in ("generator", "mode", "n", "recipe")} if e.get("generator") else e
        for e in extras_of(run)
    ]
    config = {key: value for key, value in run.config.items() if key != "seed"}
    return flatten_settings({**config, "data.fingerprint": run.stored("inputs.data.fingerprint", str), "extra": extras})


def flatten_settings(content: Any, where: str = "") -> dict[str, Any]:
    """Nested settings as {"data.rare_scenes": 10, "scales.0": 0.5, ...}."""
    if isinstance(content, list):
        content = dict(enumerate(content))
    if not isinstance(content, dict):
        return {where: content}
    parts = [flatten_settings(value, f"{where}.{key}" if where else str(key)) for key, value in content.items()]
    return {key: value for part in parts for key, value in part.items()}


def _label(run: Run) -> str:
    """An arm in words: "real only", "+ copy-paste", "+ diffusion (region, strength 0.6)", or an extra folder's name."""
    words = []
    for extra in extras_of(run):
        name = extra.get("generator") or Path(extra["location"]).name
        strength = (extra.get("drawing") or {}).get("strength", 1)
        how = [extra["mode"]] if extra.get("mode") and name != "copy-paste" else []
        how += [f"strength {strength:g}"] if strength != 1 else []
        words.append(f"+ {name} ({', '.join(how)})" if how else f"+ {name}")
    return " ".join(words) or "real only"


def _tell_apart(labels: Sequence[str], recipes: Sequence[dict[str, Any]]) -> list[str]:
    """Add to labels that occur twice the settings in which those arms differ."""
    longer = []
    for label, recipe in zip(labels, recipes, strict=True):
        alike = [r for other, r in zip(labels, recipes, strict=True) if other == label]
        keys = sorted({key for r in alike for key in r if len({repr(s.get(key)) for s in alike}) > 1})
        longer.append(", ".join([label, *(f"{key}={recipe.get(key)}" for key in keys)]))
    return longer


# counts


def count_arms(arms: Sequence[Arm], statistics: StatisticsSettings) -> StudyCounts:
    """A study of these arms, in memory. The first arm is the baseline of all others.

    Raises:
        DataError: see `count_evaluations`.
    """
    names = file_names([arm.label for arm in arms])
    counted = [
        (
            ArmMetadata(
                name=name,
                title=arm.label,
                baseline=names[0] if name != names[0] else None,
                seeds=arm.seeds,
                synthetic=any(extra.get("generator") for extra in extras_of(arm.runs[0])),
                pseudo_labels=any(extra.get("teachers") for extra in extras_of(arm.runs[0])),
            ),
            [[evaluation] for evaluation in arm.evaluations],
        )
        for name, arm in zip(names, arms, strict=True)
    ]
    settings = StatisticsSettings(**{k: getattr(statistics, k) for k in StatisticsSettings.model_fields})
    return count_evaluations(counted, title=f"Gains over {arms[0].label}", baseline=names[0], statistics=settings)


def extras_of(run: Run) -> list[dict[str, Any]]:
    """The extra scenes of a training run, as `describe_extra` recorded them."""
    extras = run.stored("inputs.extra", (list, type(None))) or []
    check_content(extras, list[ExtraRecord], f"{run.folder / 'config.yaml'}: extra", RunError, "train it again")
    return extras


def file_names(labels: Sequence[str]) -> list[str]:
    """Labels as short names that are fit for a file and all different."""
    names: list[str] = []
    for label in labels:
        name = re.sub(r"[^A-Za-z0-9._+-]+", "-", label).strip("-+._") or "arm"
        number = next(n for n in itertools.count(1) if (name if n == 1 else f"{name}-{n}") not in names)
        names.append(name if number == 1 else f"{name}-{number}")
    return names
