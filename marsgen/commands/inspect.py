"""`marsgen inspect`: what is in a data set and what is wrong with it, as lines, as json and as a page with pictures."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field

from marsgen.cleaning.counts import ClassCount, count_classes, count_regions
from marsgen.cleaning.dataset import Dataset, divide, name_suspects
from marsgen.cleaning.near_duplicates import DuplicatePair, cluster_pairs, find_duplicates, find_duplicates_between
from marsgen.cleaning.outliers import RepeatedMap, find_repeated_maps
from marsgen.cleaning.splits import PARTS, Split
from marsgen.cleaning.survey import Survey, survey_scenes
from marsgen.core.config import Config, DataConfig
from marsgen.core.errors import DataError
from marsgen.core.files import write_json, write_text
from marsgen.core.runs import Run
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.scene import SceneSource
from marsgen.scenes.sources import open_scenes


class InspectConfig(Config):
    """What `marsgen inspect` looks at; configs/inspect.yaml."""

    data: DataConfig = DataConfig()
    """as a training command would use the data"""
    seed: int = Field(0, ge=0)
    """of the autoencoder and of the pictures that are shown"""
    autoencoder_steps: int = Field(200, ge=0)
    """batches of 64 that the autoencoder is trained on; 0 leaves it out"""
    autoencoder_spreads: float = Field(1.5, gt=0)
    """a scene is unusual when the log of its error lies this many robust standard deviations above the median"""
    pictures: int = Field(12, ge=1, le=200)
    """most pictures in each part of the page"""


@dataclass(frozen=True, eq=False)
class Autoencoding:
    """How well an autoencoder drew each scene, beside what repeated label maps say."""

    errors: np.ndarray
    """(N,) float32 mean squared error"""
    unusual: np.ndarray
    """(N,) bool"""
    precision: float
    """share of the unusual scenes that carry a repeated label map; NaN where none is unusual"""
    recall: float
    """share of the scenes with a repeated label map that are unusual; NaN where there is none"""


@dataclass(frozen=True, eq=False)
class Findings:
    """Everything that an inspection found; what lines, json and page are made of."""

    dataset: Dataset
    no_split: str
    """why the data cannot be divided; "" where they can"""
    repeated: list[RepeatedMap]
    pairs: list[DuplicatePair]
    classes: list[ClassCount]
    """over the scenes that are not left out; "no label" last"""
    regions: list[np.ndarray]
    """sizes in pixels of the connected regions of each class, over the same scenes"""
    autoencoding: Autoencoding | None
    others: SceneSource | None
    overlap: list[DuplicatePair]

    @property
    def good(self) -> list[int]:
        """Indices of the scenes that are not left out as suspects."""
        return [scene for scene in range(len(self.dataset.scenes)) if scene not in set(self.dataset.left_out)]

    def part_of(self, scene: int) -> str:
        """The part of the split that a scene is in."""
        return next((part for part in PARTS if scene in getattr(self.dataset.split, part)), "left out")

    @property
    def crossing(self) -> list[DuplicatePair]:
        """Pairs that are in different parts of the split."""
        parts = {scene: part for part in PARTS for scene in getattr(self.dataset.split, part)}
        both = [pair for pair in self.pairs if pair.first in parts and pair.second in parts]
        return [pair for pair in both if parts[pair.first] != parts[pair.second]]


@dataclass(frozen=True)
class Inspection:
    """What `marsgen inspect` prints and writes."""

    lines: tuple[str, ...]
    numbers: dict[str, Any]
    """content of inspect.json"""


def inspect_dataset(
    location: str,
    config: InspectConfig,
    classes: ClassSet | None,
    out: Path,
    *,
    against: str | None = None,
    replace: bool = False,
) -> Inspection:
    """Look through a data set and write out/inspect.html and out/inspect.json, in a run folder.

    Args:
        location: see `open_scenes`.
        classes: what the ids mean, where the data set does not say it.
        against: another data set; pictures that both hold are named.
        replace: see `Run.start`.
    Raises:
        DataError: a data set cannot be used.
        RunError: `out` holds something else.
    """
    from marsgen.pages.inspect_page import draw_page

    others = _open_others(against, classes) if against else None
    findings = find(location, config, classes, others)
    inspection = Inspection(tuple(_lines(findings)), _numbers(findings, config))
    page = draw_page(findings, inspection.lines, config.pictures, config.seed)
    inputs = {
        "data": {"location": location, "fingerprint": findings.dataset.scenes.fingerprint()},
        "against": {"location": against, "fingerprint": others.fingerprint()} if others else None,
    }
    run = Run.start(out, "marsgen inspect", config, inputs, replace=replace)
    if not run.finished:
        write_json(out / "inspect.json", inspection.numbers)
        write_text(out / "inspect.html", page)
        run.finish({"scenes": len(findings.dataset.scenes), "suspects": len(findings.dataset.suspects)})
    return inspection


def find(location: str, config: InspectConfig, classes: ClassSet | None, others: SceneSource | None) -> Findings:
    """Look through a data set without writing anything."""
    scenes = open_scenes(location, classes=classes)
    survey = survey_scenes(scenes)
    pairs = find_duplicates(scenes, survey, config.data.near_duplicate_similarity)
    copies = [pair for pair in pairs if pair.exact or scenes.groups is None]
    repeated = find_repeated_maps(scenes, survey, cluster_pairs(len(scenes), copies))
    suspects = name_suspects(repeated)
    split, no_split = Split((), (), ()), ""
    try:
        split = divide(scenes, survey, config.data, copies, repeated)
    except DataError as problem:  # a training command would stop here; an inspection has more to say
        no_split = str(problem)
    dataset = Dataset(scenes, survey, suspects, split)
    left_out = set(dataset.left_out)
    good = [scene for scene in range(len(scenes)) if scene not in left_out]
    return Findings(
        dataset=dataset,
        no_split=no_split,
        repeated=repeated,
        pairs=pairs,
        classes=count_classes(survey, scenes.classes.names, good),
        regions=count_regions(scenes, survey, good),
        autoencoding=_autoencode(scenes, suspects, config) if config.autoencoder_steps else None,
        others=others,
        overlap=_find_duplicates_between(scenes, survey, others, config) if others else [],
    )


def _open_others(location: str, classes: ClassSet | None) -> SceneSource:
    """The other data set; only its pictures matter, so label maps may be missing."""
    try:
        return open_scenes(location, classes=classes)
    except DataError as problem:
        try:
            return open_scenes(location, classes=classes, labelled=False)
        except DataError:
            raise problem from None


def _find_duplicates_between(
    scenes: SceneSource, survey: Survey, others: SceneSource, config: InspectConfig
) -> list[DuplicatePair]:
    return find_duplicates_between(scenes, survey, others, survey_scenes(others), config.data.near_duplicate_similarity)


def _autoencode(scenes: SceneSource, suspects: dict[int, str], config: InspectConfig) -> Autoencoding:
    # here: torch takes seconds to import, and autoencoder_steps=0 needs none of it
    from marsgen.cleaning.autoencoder import flag_errors, precision_and_recall, reconstruction_errors, shrink_scenes

    errors = reconstruction_errors(shrink_scenes(scenes), config.autoencoder_steps, config.seed)
    unusual = flag_errors(errors, config.autoencoder_spreads)
    repeated = np.zeros(len(scenes), bool)
    repeated[list(suspects)] = True
    return Autoencoding(errors, unusual, *precision_and_recall(unusual, repeated))


def _lines(findings: Findings) -> list[str]:
    dataset = findings.dataset
    scenes = dataset.scenes
    size = "sizes differ" if scenes.shape is None else f"{scenes.shape[0]} x {scenes.shape[1]} pixels"
    groups = f", {len(set(scenes.groups))} groups" if scenes.groups is not None else ""
    lines = [f"{scenes.location}: {len(scenes)} scenes, {size}, {'grey' if scenes.channels == 1 else 'RGB'}{groups}"]
    lines += _table(findings)
    lines += [f"suspects: {_suspects_text(findings)}"]
    if findings.autoencoding is not None:
        lines.append(f"autoencoder: {_autoencoder_text(findings.autoencoding, len(dataset.suspects))}")
    clusters = len(cluster_pairs(len(scenes), findings.pairs))
    across = "" if findings.no_split else f"; {_pairs_text(findings.crossing)} across parts"
    lines.append(f"duplicates: {_pairs_text(findings.pairs)}, in {clusters} clusters{across}")
    if findings.others is not None:
        lines.append(f"against {findings.others.location}: {_pairs_text(findings.overlap)} in both")
    lines.append(f"split: {findings.no_split or dataset.describe()}")
    return lines + [f"note: {warning}" for warning in dataset.split.warnings]


def _table(findings: Findings) -> list[str]:
    names = [count.name for count in findings.classes]
    width = max(len(name) for name in [*names, "class"])
    rows = [f"{'class':{width}}  {'pixels':>9}  {'scenes':>7}  {'regions':>7}  median region"]
    for count, sizes in zip(findings.classes, [*findings.regions, None], strict=True):
        row = f"{count.name:{width}}  {count.pixel_fraction:>9.3%}  {count.scenes:>7}"
        if sizes is not None:
            row += f"  {len(sizes):>7}  {median_text(sizes):>13}"
        rows.append(row)
    return rows


def median_text(sizes: np.ndarray) -> str:
    """Median of region sizes in pixels, or a dash for no region."""
    return f"{np.median(sizes):.0f} px" if len(sizes) else "-"


def _suspects_text(findings: Findings) -> str:
    if not findings.repeated:
        return "none (no label map occurs more often than chance explains)"
    maps = [
        f"a label map of {repeated.corners} corners on {len(repeated.scenes)} scenes" for repeated in findings.repeated
    ]
    shown = ", ".join(maps[:3]) + (f" and {len(maps) - 3} more maps" if len(maps) > 3 else "")
    return f"{len(findings.dataset.suspects)} scenes: {shown}"


def _autoencoder_text(result: Autoencoding, suspects: int) -> str:
    unusual = f"{np.count_nonzero(result.unusual)} scenes drawn unusually badly"
    if not suspects:
        return f"{unusual}; there is no repeated label map to hold them against"
    precision = "none" if np.isnan(result.precision) else f"{result.precision:.2f}"
    return f"{unusual}; precision {precision}, recall {result.recall:.2f} beside the {suspects} suspects"


def _pairs_text(pairs: list[DuplicatePair]) -> str:
    exact = sum(pair.exact for pair in pairs)
    return f"{exact} exact and {len(pairs) - exact} near"


def _numbers(findings: Findings, config: InspectConfig) -> dict[str, Any]:
    dataset = findings.dataset
    names = dataset.scenes.names
    result = findings.autoencoding
    return {
        "data": {
            "location": dataset.scenes.location,
            "fingerprint": dataset.scenes.fingerprint(),
            "scenes": len(names),
            "shape": dataset.scenes.shape,
            "channels": dataset.scenes.channels,
        },
        "config": config.model_dump(mode="json"),
        "classes": [
            asdict(count) | _region_numbers(sizes)
            for count, sizes in zip(findings.classes, [*findings.regions, None], strict=True)
        ],
        "suspects": {names[scene]: reason for scene, reason in dataset.suspects.items()},
        "autoencoder": result
        and {
            "unusual": [names[int(scene)] for scene in np.flatnonzero(result.unusual)],
            "precision": result.precision,
            "recall": result.recall,
        },
        "duplicates": _pair_numbers(findings.pairs, names, names),
        "duplicates_across_parts": _pair_numbers(findings.crossing, names, names),
        "against": findings.others
        and {
            "location": findings.others.location,
            "fingerprint": findings.others.fingerprint(),
            "duplicates": _pair_numbers(findings.overlap, names, findings.others.names),
        },
        "split": {part: len(getattr(dataset.split, part)) for part in PARTS},
        "notes": [*filter(None, [findings.no_split]), *dataset.split.warnings],
    }


def _region_numbers(sizes: np.ndarray | None) -> dict[str, Any]:
    if sizes is None:
        return {}
    quartiles = np.percentile(sizes, [25, 50, 75]) if len(sizes) else np.full(3, np.nan)
    return {"regions": len(sizes), "region_px_quartiles": quartiles}


def _pair_numbers(pairs: list[DuplicatePair], names: Any, other_names: Any) -> list[dict[str, Any]]:
    return [
        {"first": names[p.first], "second": other_names[p.second], "similarity": p.similarity, "exact": p.exact}
        for p in pairs
    ]
