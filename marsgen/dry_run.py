"""What the long commands of marsgen will take, from their first steps (--dry-run)."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from marsgen import api
from marsgen.cleaning.dataset import Data
from marsgen.core.rehearsal import Estimate, duration, estimate, peak_memory, rehearse
from marsgen.core.runs import Run
from marsgen.synthesis.config import CHUNK, SynthesizeConfig

_SAMPLE_STEP, _CHECKPOINT_STEP = 4, 6
_SCORED = (32, 96)
"""samples, and real pictures, of the two runs of `marsgen score`"""


def train_generator(data: Data, config: Any, unlabelled: Sequence[str] = (), teacher: str | None = None) -> Estimate:
    """`marsgen train-generator`: its steps, image grids and checkpoints."""
    few = {"sample_every": _SAMPLE_STEP, "checkpoint_every": _CHECKPOINT_STEP, "log_every": 1, "track": None}
    quick = config.model_copy(update=few)
    train = partial(api.train_generator, data, teacher=teacher, unlabelled=unlabelled, config=quick)
    done = rehearse(lambda out: train(out=out), config.kind)
    # the bar counts a step after its grid or checkpoint: what step 4 does lies between the third and the fourth
    grids, checkpoints = -(-config.steps // config.sample_every), config.steps // config.checkpoint_every
    seldom = {_SAMPLE_STEP - 2: grids, _CHECKPOINT_STEP - 2: checkpoints}
    pictures = {name: size for name, size in done.files.items() if Path(name).parent.name == "samples"}
    grid = max(pictures.values(), default=0)
    return estimate(done, "steps", seldom, sum(done.files.values()) - sum(pictures.values()) + grid * grids)


def synthesize(
    data: Data | None,
    generator: Run | str | None,
    config: SynthesizeConfig,
    focus: str | None = None,
    maps: str | None = None,
) -> Estimate:
    """`marsgen synthesize` in one process: its pairs."""
    small = config.model_copy(update={"batch_size": min(config.batch_size, CHUNK)})
    make = partial(api.synthesize, data, generator, focus=focus, maps=maps, config=small)
    return estimate(rehearse(lambda out: make(out=out), "synthesize", steps=4), "pairs")


def score(folder: Path, config: Any, given: dict[str, Any]) -> Estimate:
    """`marsgen score`, done twice with few pictures: one part of its time does not grow with them, the other does."""
    from marsgen.commands.score import score_set
    from marsgen.scenes.sources import open_scenes

    size = min(len(open_scenes(str(folder))), config.max_samples)
    found = []
    for few in sorted({min(few, size) for few in _SCORED}):
        quick = config.model_copy(update={"max_samples": few, "max_real": max(8, min(few, config.max_real))})
        found.append((few, rehearse(partial(score_set, folder, quick, **given), bar="")))
    (small, first), (large, last) = found[0], found[-1]
    each = max(last.elapsed - first.elapsed, 0.1 * last.elapsed) / (large - small) if large > small else 0.0
    seconds, disk = last.elapsed + each * (size - large), sum(last.files.values()) * size // large
    how = f"{large} of {size} samples took {duration(last.elapsed)}"
    return Estimate(first.elapsed + seconds if large == small else seconds, peak_memory(), disk, how)
