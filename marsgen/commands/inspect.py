"""`marsgen inspect`: say what is in a data set and what is wrong with it, in lines, in json and on a page."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from marsgen.cleaning.findings import Autoencoding, Findings, collect_findings
from marsgen.cleaning.near_duplicates import DuplicatePair, cluster_pairs
from marsgen.cleaning.splits import PARTS
from marsgen.commands.config import InspectConfig
from marsgen.core.errors import DataError
from marsgen.core.runs import Run
from marsgen.core.storage.files import write_json, write_text
from marsgen.masks.infer_settings import infer_paste_settings, value_text
from marsgen.masks.profiles.profile import ClassProfile
from marsgen.pages.inspect_page import draw_page
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.limits import name_channels
from marsgen.scenes.scene import SceneSource
from marsgen.scenes.sources import open_scenes


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
    """Inspect a data set; write out/inspect.html and out/inspect.json, in a run folder.

    Args:
        location: see `open_scenes`.
        classes: what the ids mean, where the data set does not say it.
        against: another data set; pictures that both hold are listed.
        replace: see `Run.start`.
    Raises:
        DataError: a data set cannot be used.
        RunError: `out` holds something else.
    """
    scenes = open_scenes(location, classes=classes)
    others = _open_others(against, classes) if against else None
    findings = collect_findings(
        scenes,
        config.data,
        others=others,
        autoencoder_steps=config.autoencoder_steps,
        autoencoder_spreads=config.autoencoder_spreads,
        seed=config.seed,
    )
    profiles = _profile(findings)
    inspection = Inspection(tuple(_lines(findings, profiles)), _numbers(findings, profiles, config))
    page = draw_page(findings, profiles, inspection.lines, config.pictures, config.seed)
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


def _open_others(location: str, classes: ClassSet | None) -> SceneSource:
    """The other data set; only its pictures are compared, so label maps may be missing."""
    try:
        return open_scenes(location, classes=classes)
    except DataError as problem:
        try:
            return open_scenes(location, classes=classes, labelled=False)
        except DataError:
            raise problem from None


def _profile(findings: Findings) -> dict[str, ClassProfile]:
    """Profiles of the rare classes, from the train part; from all scenes that are not left out where there is none."""
    from marsgen.masks.profiles.measure_classes import profile_classes  # here: it imports scipy and scikit-image

    scenes = findings.dataset.scenes
    names = [scenes.classes.names[index] for index in findings.rare]
    return profile_classes(scenes, findings.dataset.split.train or findings.good, names, findings.dataset.groups)


def _profile_lines(profiles: dict[str, ClassProfile]) -> list[str]:
    lines = []
    for name, profile in profiles.items():
        lines.append(f"profile of {profile.describe()}")
        inferred = [f"{key}={value_text(value)}" for key, (value, _) in infer_paste_settings(profile).items()]
        if inferred:
            lines.append(f"paste settings that suit {name}: {', '.join(inferred)}")
    return lines


def _lines(findings: Findings, profiles: dict[str, ClassProfile]) -> list[str]:
    dataset = findings.dataset
    scenes = dataset.scenes
    size = "sizes differ" if scenes.shape is None else f"{scenes.shape[0]} x {scenes.shape[1]} pixels"
    groups = f", {len(set(scenes.groups))} groups" if scenes.groups is not None else ""
    lines = [f"{scenes.location}: {len(scenes)} scenes, {size}, {name_channels(scenes.channels)}{groups}"]
    lines += [*_table(findings), *_profile_lines(profiles)]
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
    unusual = f"{np.count_nonzero(result.unusual)} scenes with an unusually large error"
    if not suspects:
        return f"{unusual}; there is no repeated label map to compare them with"
    precision = "none" if np.isnan(result.precision) else f"{result.precision:.2f}"
    return f"{unusual}; precision {precision}, recall {result.recall:.2f} against the {suspects} suspects"


def _pairs_text(pairs: list[DuplicatePair]) -> str:
    exact = sum(pair.exact for pair in pairs)
    return f"{exact} exact and {len(pairs) - exact} near"


def _numbers(findings: Findings, profiles: dict[str, ClassProfile], config: InspectConfig) -> dict[str, Any]:
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
        "profiles": {name: profile.to_dict() for name, profile in profiles.items()},
        "paste_settings": {
            name: {key: {"value": value, "reason": why} for key, (value, why) in infer_paste_settings(profile).items()}
            for name, profile in profiles.items()
        },
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
