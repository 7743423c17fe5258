"""Pasted regions beside the real ones they are to be like: sizes by pixels, thickness, share cut off, seam widths.

Everything is read from manifest lines, one after the other, so a set of millions is compared in little memory.
"""

import json
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from marsgen.core.storage.files import write_bytes
from marsgen.masks.profiles.summaries import share_by_size
from marsgen.masks.regions import RegionLibrary

COMPARISON = "pasted.json"
MOST_REGIONS = 20_000
"""pasted regions of each class that are compared: the first ones, since samples do not depend on each other"""
SIZE_EDGES_PX = (64, 256, 1024, 4096, 16384)


@dataclass
class PastedRegions:
    """What manifest lines say about the regions of one class."""

    areas: list[int] = field(default_factory=list)
    thickness: list[float] = field(default_factory=list)
    cut: list[bool] = field(default_factory=list)
    seams: list[int] = field(default_factory=list)
    beside: list[tuple[str, ...]] = field(default_factory=list)

    def add(self, donor: Mapping[str, Any]) -> None:
        if len(self.areas) < MOST_REGIONS:
            self.areas.append(donor["area_px"])
            self.thickness.append(donor["thickness"])
            self.cut.append(bool(donor["cut"]))
            self.seams.append(donor["seam_px"])
            self.beside.append(tuple(donor["beside"]))


def write_comparison(folder: Path, manifest: str, library: RegionLibrary) -> None:
    """Write pasted.json: class -> what `compare_regions` gives."""
    with (folder / manifest).open(encoding="utf-8") as lines:
        pasted = collect_pasted(donor for line in lines for donor in json.loads(line)["donors"])
    found = {name: compare_regions(library, name, regions) for name, regions in sorted(pasted.items())}
    write_bytes(folder / COMPARISON, json.dumps(found, indent=1).encode())


def read_comparison(folder: Path) -> dict[str, Any]:
    """What `write_comparison` wrote; empty where nothing was pasted."""
    path = folder / COMPARISON
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def collect_pasted(donors: Iterable[Mapping[str, Any]]) -> dict[str, PastedRegions]:
    """Class -> its pasted regions, of the `donors` entries of manifest lines."""
    pasted: dict[str, PastedRegions] = defaultdict(PastedRegions)
    for donor in donors:
        pasted[donor["class"]].add(donor)
    return dict(pasted)


def compare_regions(library: RegionLibrary, name: str, pasted: PastedRegions) -> dict[str, Any]:
    """Real and pasted figures of a class, and the distance between them.

    Returns:
        `size`: shares of the pixels in regions below 64, 256, 1024, 4096, 16384 px and above; distance = total
        variation, 0 = equal, 1 = no overlap. `thickness`: medians; distance = Kolmogorov-Smirnov. `cut`: shares of the
        regions; distance = difference. `seam_px`, where seams are drawn: medians; distance = mean difference of the
        quantiles of pasted regions and of all real ones, in px. `beside`: share of the regions next to each class that
        real ones meet; distance = mean difference. `never`: share of the regions next to a class that real
        ones never touch (`PlaceProfile.untouched`); distance = the pasted share.
    """
    real = library.real[name]
    sizes = [share_by_size(areas, SIZE_EDGES_PX)[1] for areas in (real.areas, pasted.areas)]
    shares = [[round(float(v), 3) for v in part] for part in sizes]
    cut = [float(np.mean([bool(sides) for sides in real.cut])), float(np.mean(pasted.cut))]
    found = {
        "size": _row(shares[0], shares[1], abs(sizes[0] - sizes[1]).sum() / 2),
        "thickness": _row(
            float(np.median(real.thickness)),
            float(np.median(pasted.thickness)),
            stats.ks_2samp(real.thickness, pasted.thickness).statistic,
        ),
        "cut": _row(cut[0], cut[1], abs(cut[0] - cut[1])),
    }
    profile = library.profiles.get(name)
    if profile:
        met = profile.place.touched
        never = set(profile.place.untouched)
        beside_of = {other: float(np.mean([other in beside for beside in pasted.beside])) for other in met}
        gap = float(np.mean([abs(met[other] - beside_of[other]) for other in met])) if met else 0.0
        of_real, of_pasted = ({k: round(v, 3) for k, v in part.items()} for part in (met, beside_of))
        found["beside"] = _row(of_real, of_pasted, gap)
        wrong = float(np.mean([bool(never & set(beside)) for beside in pasted.beside]))
        found["never"] = _row(0.0, wrong, wrong)
    if library.settings[name].seam and profile and not math.isnan(profile.seam.width_px.median):
        of = profile.seam.width_px
        width = [of.q10, of.q25, of.median, of.q75, of.q90]
        drawn = np.quantile(pasted.seams, (0.1, 0.25, 0.5, 0.75, 0.9))
        found["seam_px"] = _row(of.median, float(drawn[2]), float(np.mean(np.abs(width - drawn))))
    return found


def describe_comparison(name: str, found: Mapping[str, Mapping[str, Any]]) -> str:
    """One line: real / pasted (distance) of each figure."""
    size = found["size"]
    shares = [" ".join(f"{100 * share:.0f}" for share in size[key]) for key in ("real", "pasted")]
    edges = ", ".join(map(str, SIZE_EDGES_PX))
    parts = [f"pixels by size up to {edges} px and above: {shares[0]} / {shares[1]} % ({size['distance']:.2f})"]
    for key in ("thickness", "cut", "seam_px"):
        if key in found:
            row = found[key]
            parts.append(f"{key} {row['real']:.2f} / {row['pasted']:.2f} ({row['distance']:.2f})")
    if "beside" in found:
        parts.append(f"classes beside: mean difference {100 * found['beside']['distance']:.0f} %")
        parts.append(f"beside a class that real ones never touch: {100 * found['never']['pasted']:.0f} %")
    return f"real / pasted {name} (distance): {'; '.join(parts)}"


def _row(real: Any, pasted: Any, distance: float) -> dict[str, Any]:
    def rounded(value: Any) -> Any:
        return value if isinstance(value, list | dict) else round(float(value), 3)

    return {"real": rounded(real), "pasted": rounded(pasted), "distance": round(float(distance), 3)}
