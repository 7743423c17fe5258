"""`marsgen playground`: a static page on which a trained generator draws as one paints, and sets are looked through.

page/
    index.html, *.css, *.js    as in marsgen/pages/playground/
    ort/                       onnxruntime-web, copied from --ort
    models/                    what `marsgen export GENERATOR --to onnx` writes, and segmenter.onnx where one was given
    data/page.json             classes, scenes, regions to stamp, sets
    data/synth.json            what drew a picture and what that has seen, for sets that are saved from the page
    data/scene-000.bin         pixels (H, W, channels), then class indices (H, W), all uint8
    data/region-000.bin        pixels (h, w, channels), then the region's mask (h, w) in 0 and 1, all uint8
    data/set-0.json            the pairs of a set; data/set-0-pictures-000.jpg and -labels-000.png, their thumbnails
    data/real-pictures-000.jpg, ...   the real scenes that the pairs were made from, likewise
    data/compare.json, ...     see marsgen/commands/comparison.py

It works from any web host; a browser does not open modules from a file, so a server is needed.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from marsgen.cleaning.dataset import Dataset, clean_scenes
from marsgen.cleaning.fingerprints import fingerprint_picture
from marsgen.commands.comparison import Comparison, open_comparison, write_comparison
from marsgen.commands.config import PlaygroundConfig
from marsgen.commands.places import ORT_FILES, find_ort
from marsgen.core.errors import DataError, RunError
from marsgen.core.runs import Run
from marsgen.core.storage.files import file_fingerprint, filling_bytes, plain, write_bytes, write_json, write_text
from marsgen.core.storage.onnx_files import OnnxNetwork, refuse_no_onnx
from marsgen.core.storage.reading import read_json_lines
from marsgen.generators import Generator, load_generator
from marsgen.pages.sheets import write_sheets
from marsgen.provenance import fingerprints_of_part, keys_of_part, write_set_head
from marsgen.scenes.classes import IGNORED_INDEX, ClassSet
from marsgen.scenes.geometry import Box
from marsgen.scenes.limits import MIN_SIDE_PX
from marsgen.scenes.scene import SceneSource
from marsgen.scenes.sources import open_scenes
from marsgen.synthesis.config import SynthesizeConfig, class_names
from marsgen.synthesis.inputs import find_sources

if TYPE_CHECKING:
    from marsgen.masks.regions import Region

STATIC = Path(__file__).parent.parent / "pages" / "playground"
PAIRS = {"pictures": True, "labels": False}
"""kinds of sheets of scenes -> whether they are photographs"""


@dataclass(frozen=True)
class BrowsedSet:
    """A set to look through, and what `marsgen score` said of its pairs."""

    scenes: SceneSource
    scores: dict[str, dict[str, Any]]
    """name of a pair -> its line of scores.jsonl"""


def make_playground(
    where: str,
    config: PlaygroundConfig,
    out: Path,
    *,
    data: str | None = None,
    browse: Sequence[str] = (),
    scores: Sequence[Path] = (),
    segmenter: Path | None = None,
    compare: Sequence[Path] = (),
    test: str | None = None,
    ort: Path | None = None,
    replace: bool = False,
) -> Run:
    """Write the page.

    Args:
        where: folder of a `marsgen train-generator` run.
        out: folder to write into.
        data: real scenes; None = those that the generator was trained on.
        browse: sets of `marsgen synthesize` to look through.
        scores: folders of `marsgen score` of those sets.
        segmenter: ONNX file of `segmenter export`, whose opinion is shown beside what is drawn.
        compare: folders of `segmenter predict`, to compare what several networks predict for the same pictures.
        test: the labelled scenes that they are for; None = those that they name.
        ort: folder of the npm package onnxruntime-web.
        replace: see `Run.start`.
    Returns:
        the finished run.
    Raises:
        ConfigError, DataError, RunError: something named here is missing or does not fit the others.
    """
    refuse_no_onnx("the playground")
    Run.load(Path(where), "marsgen train-generator")
    ort_folder = find_ort(ort)
    sources = find_sources(SynthesizeConfig(data=config.data), where, None if data is None else open_scenes(data))
    sets = _open_sets(browse, scores, sources.scenes.classes)
    judge = None if segmenter is None else _read_segmenter(segmenter, sources.scenes)
    comparison = open_comparison(compare, test, sources.scenes.classes)
    dataset = clean_scenes(sources.scenes, sources.split)
    generator = load_generator(where, dataset.scenes.classes, dataset.scenes.channels)
    # here: torch takes seconds to import, and what is missing was to be refused before
    from marsgen.generators.export import exporter_of

    opened = load_generator(where)
    exporter = exporter_of(opened)
    drawn_by = exporter.on_cpu(opened)
    inputs = {
        "data": dataset.scenes.identity(),
        "generator": {"name": generator.name, "fingerprint": generator.fingerprint},
        "segmenter": None
        if segmenter is None
        else {"location": str(segmenter), "fingerprint": file_fingerprint(segmenter)},
        "sets": [{**one.scenes.identity(), "scored": bool(one.scores)} for one in sets],
        "compared": None if comparison is None else comparison.identity(),
    }
    with closing(Run.start(out, "marsgen playground", config, inputs, replace=replace)) as run:
        if not run.finished:
            exporter.write_files(run.folder / "models", drawn_by)
            write_json(run.folder / "models" / "generator.json", exporter.describe(drawn_by))
            if segmenter is not None:
                shutil.copyfile(segmenter, run.folder / "models" / "segmenter.onnx")
            _write_head(run, dataset, drawn_by, opened.trained_on)
            _write_page(config, run, dataset, drawn_by.classes, sets, judge, comparison, ort_folder)
    return run


def _open_sets(browse: Sequence[str], scores: Sequence[Path], classes: ClassSet) -> list[BrowsedSet]:
    sources = [open_scenes(place) for place in browse]
    by_fingerprint: dict[str, dict[str, Any]] = {source.fingerprint(): {} for source in sources}
    for source in sources:
        if source.classes.order_of(classes) is None:
            raise DataError(
                f"--browse {source.location} has the classes {', '.join(source.classes.names)}; the generator's are "
                f"{', '.join(classes.names)}"
            )
    for folder in scores:
        run = Run.load(folder, "marsgen score")
        scored = run.stored("inputs.set.fingerprint", str)
        if scored not in by_fingerprint:
            place = run.stored("inputs.set.location", str)
            raise RunError(f"--scores {folder} is about {place}, which is none of the sets named with --browse")
        lines = read_json_lines(folder / "scores.jsonl", RunError, "score the set again")
        by_fingerprint[scored] = {str(line["name"]): line for _, line in lines if "name" in line}
    return [BrowsedSet(source, by_fingerprint[source.fingerprint()]) for source in sources]


def _read_segmenter(path: Path, scenes: SceneSource) -> dict[str, Any]:
    """The metadata of an exported segmenter."""
    metadata = OnnxNetwork(path).metadata
    if metadata.get("made_by") != "segmenter export":
        raise RunError(f"--segmenter {path}: not a segmenter; give a file that `segmenter export` wrote")
    known = ClassSet.from_dict(metadata.get("classes"), f"{path}: its classes")
    if known.order_of(scenes.classes) is None or metadata.get("channels") != scenes.channels:
        raise DataError(
            f"--segmenter {path}: knows {', '.join(known.names)} in pictures of {metadata.get('channels')} channels; "
            f"{scenes.location} has {', '.join(scenes.classes.names)} in pictures of {scenes.channels}"
        )
    return metadata


def _write_page(
    config: PlaygroundConfig,
    run: Run,
    dataset: Dataset,
    classes: ClassSet,
    sets: Sequence[BrowsedSet],
    judge: dict[str, Any] | None,
    comparison: Comparison | None,
    ort: Path,
) -> None:
    # here: scipy takes a second to import
    from marsgen.masks.config import PasteConfig
    from marsgen.masks.library import open_library

    data = run.folder / "data"
    scenes = dataset.scenes
    scenes.classes = scenes.classes.ordered_like(classes)  # indices are those of the generator
    page: dict[str, Any] = {
        "classes": classes.to_dict(),
        "channels": scenes.channels,
        "bands": list(classes.bands or ()),
        "segmenter": None,
        "part": config.part,
        "scenes": [],
        "regions": [],
        "sets": [],
        "comparison": None,
    }
    if judge is not None:
        known = ClassSet.from_dict(judge["classes"], "its classes")
        page["segmenter"] = {"order": known.order_of(classes), "smallest_side": MIN_SIDE_PX}
    for number, index in enumerate(_scenes_to_paint(dataset, config)):
        whole, labels = scenes.read(index)
        image, indices, box = _cut(whole, labels, config.side_px, scenes.classes)
        name = f"scene-{number:03d}.bin"
        write_bytes(data / name, image.tobytes() + indices.tobytes())
        entry = {"name": scenes.names[index], "key": dataset.survey.keys[index], "box": box}
        entry["fingerprint"] = fingerprint_picture(whole).hex()
        page["scenes"].append({**entry, "file": name, "height": image.shape[0], "width": image.shape[1]})
    if config.regions and classes.rare:
        library = open_library(dataset, class_names(SynthesizeConfig(), scenes.classes), PasteConfig())
        for number, region in enumerate(_regions_to_stamp(library.regions, config.regions)):
            name = f"region-{number:03d}.bin"
            mask = region.depth > 0
            pixels = np.rint(region.pixels).clip(0, 255).astype(np.uint8)
            write_bytes(data / name, pixels.tobytes() + mask.astype(np.uint8).tobytes())
            size = {"height": mask.shape[0], "width": mask.shape[1]}
            donor = {"donor": region.donor_name, "key": region.donor_key}
            page["regions"].append({"file": name, "class": classes.index(region.class_name), **donor, **size})
    real: dict[str, int] = {}
    for number, one in enumerate(sets):
        page["sets"].append(_write_set(data, f"set-{number}", one, config.thumbnail_px, real))
    known_real = {name: index for index, name in enumerate(scenes.names)}
    there = [known_real[name] for name in real if name in known_real]
    shown = (_show_pair(scenes, *scenes.read(index)) for index in there)
    sheets = write_sheets(data, "real", PAIRS, shown, len(there), scenes.shape, config.thumbnail_px)
    numbers = {scenes.names[index]: number for number, index in enumerate(there)}
    page["real"] = {**sheets, "numbers": numbers}
    if comparison is not None:
        page["comparison"] = write_comparison(data, comparison, classes, config.comparison_px)
    write_text(data / "page.json", json.dumps(plain(page), ensure_ascii=False, allow_nan=False))
    for name in ORT_FILES:
        _copy(ort / name, run.folder / "ort" / name)
    for path in sorted(STATIC.iterdir()):
        _copy(path, run.folder / path.name)
    run.finish(
        {"scenes": len(page["scenes"]), "regions": len(page["regions"]), "pairs": sum(len(s.scenes) for s in sets)}
    )


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as file, filling_bytes(target) as written:
        shutil.copyfileobj(file, written)


def _write_head(run: Run, dataset: Dataset, generator: Generator, trained_on: Sequence[str]) -> None:
    """Write synth.json of what is drawn on the page; its parents and donors are named beside it when it is saved."""
    head = {
        "made_by": "marsgen playground",
        "generator": generator.name,
        "generator_fingerprint": generator.fingerprint,
        "data": run.inputs.get("data"),
    }
    train = dataset.split.train
    pictures = fingerprints_of_part(dataset, train)
    write_set_head(run.folder / "data", head, keys_of_part(dataset, train), trained_on, pictures=pictures)


def _scenes_to_paint(dataset: Dataset, config: PlaygroundConfig) -> list[int]:
    """Scenes of a part, evenly spread: first of those that show a rare class, at most half, then of the others."""
    part, count = getattr(dataset.split, config.part), config.scenes
    rare_columns = [dataset.scenes.classes.index(name) for name in dataset.scenes.classes.rare]
    shows = {i for i in part if dataset.survey.pixels[i][rare_columns].any()}
    with_rare = [i for i in part if i in shows]
    without = [i for i in part if i not in shows]
    first = _spread(with_rare, count // 2)
    chosen = [*first, *_spread(without, count - len(first))]
    if not chosen:
        raise DataError(f"{dataset.scenes.location}: no validation scene to paint on; raise data.val_fraction")
    return chosen


def _regions_to_stamp(regions: "dict[str, tuple[Region, ...]]", count: int) -> "list[Region]":
    """At most `count` regions, of every class as many, evenly spread over its sizes."""
    chosen: list[Region] = []
    for number, found in enumerate(regions.values()):
        wanted = (count - len(chosen)) // (len(regions) - number)
        by_size = sorted(found, key=lambda region: region.area_px)
        chosen += [by_size[i] for i in _spread(range(len(by_size)), wanted)]
    return chosen


def _spread(items: Sequence[int], count: int) -> list[int]:
    step = max(len(items) / max(count, 1), 1)
    return [items[int(number * step)] for number in range(min(count, len(items)))]


def _cut(image: np.ndarray, labels: np.ndarray, side: int, classes: ClassSet) -> tuple[np.ndarray, np.ndarray, Box]:
    """The middle of a scene, its class indices, and its place in the scene, of at most `side` pixels."""
    (top, left), (height, width) = ((max(0, s - side) // 2 for s in labels.shape), labels.shape)
    box = Box(top, left, min(top + side, height), min(left + side, width))
    indices = classes.to_indices(labels[box.slices])
    return np.ascontiguousarray(image[box.slices]), np.ascontiguousarray(indices), box


# sets


def _write_set(data: Path, stem: str, one: BrowsedSet, side: int, real: dict[str, int]) -> dict[str, Any]:
    """Write the thumbnails and the list of a set's pairs; `real` collects the names of scenes that they come from."""
    scenes = one.scenes
    pairs: list[dict[str, Any]] = []

    def read() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for index in range(len(scenes)):
            image, labels = scenes.read(index)
            pairs.append(_describe_pair(one, index, labels))
            for name in (pairs[-1]["parent"], *pairs[-1]["donors"]):
                if name:
                    real.setdefault(name, len(real))
            yield _show_pair(scenes, image, labels)

    sheets = write_sheets(data, stem, PAIRS, read(), len(scenes), scenes.shape, side)
    content = {"location": scenes.location, "fingerprint": scenes.fingerprint(), **sheets, "pairs": pairs}
    write_text(data / f"{stem}.json", json.dumps(plain(content), ensure_ascii=False, allow_nan=False))
    return {"file": f"{stem}.json", "name": scenes.location, "pairs": len(pairs)}


def _show_pair(scenes: SceneSource, image: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return scenes.classes.show(image), scenes.classes.paint(labels)


def _describe_pair(one: BrowsedSet, index: int, labels: np.ndarray) -> dict[str, Any]:
    record, classes = one.scenes.record(index), one.scenes.classes
    indices = classes.to_indices(labels)
    counts = np.bincount(indices[indices != IGNORED_INDEX], minlength=len(classes))
    parent, donors = record.get("parent"), record.get("donors")
    score = one.scores.get(one.scenes.names[index], {})
    agreement = score.get("agreement") or {}
    return {
        "name": one.scenes.names[index],
        "px": {name: int(count) for name, count in zip(classes.names, counts, strict=True) if count},
        "parent": parent.get("name") if isinstance(parent, dict) else None,
        "donors": [d["name"] for d in donors if isinstance(d, dict) and "name" in d]
        if isinstance(donors, list)
        else [],
        "pasted": sorted({d["class"] for d in donors if isinstance(d, dict) and "class" in d})
        if isinstance(donors, list)
        else [],
        "agreement": float(np.mean(list(agreement.values()))) if agreement else None,
        "copy": score.get("copy"),
        "distance": score.get("distance"),
    }
