"""Edited masks through a generator into a folder of image/label pairs.

Sample i depends on (inputs, seed, i) alone. The plan draws its random numbers from (seed, i). The network always sees
CHUNK samples at a time, the same CHUNK neighbours whatever --n, the batch size or the number of processes, because a
convolution may round differently when the shape of its batch changes.
"""

import hashlib
import heapq
import io
import json
import math
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from pydantic import Field, model_validator
from scipy import ndimage
from tqdm import tqdm

from marsgen.cleaning.dataset import Dataset
from marsgen.core.config import Config, DataConfig
from marsgen.core.errors import ConfigError, DataError
from marsgen.core.files import plain, write_bytes
from marsgen.core.process_group import SINGLE_PROCESS, ProcessGroup
from marsgen.core.runs import Run
from marsgen.generators import DrawConfig, DrawRequest, Generator
from marsgen.masks.paste import PasteConfig
from marsgen.masks.placement import Placement
from marsgen.masks.plan import PlannedSample, edit_sample, repeat_sample
from marsgen.masks.regions import RegionLibrary
from marsgen.provenance import fingerprints_of_part, keys_of_part, write_set_head
from marsgen.quality.select import PILOT_SIZE, SelectConfig, Selector, Tally
from marsgen.scenes.folder import write_classes, write_pair
from marsgen.scenes.pictures import read_image, read_label_map
from marsgen.scenes.scene import SceneSource
from marsgen.scenes.shards import SHARDS_FOLDER, allocate_shards, read_slot, refuse_mixed_sizes, write_slot

CHUNK = 16
"""samples that go through the network together; part of what a sample is, so not a setting"""

SMALL_PICTURE_PX = 256 * 256
"""below it two threads write more slowly than one, measured in memory too"""

BATCH_SIZE = "batch_size"
"""the one setting that changes no byte of the result, hence no part of what the run is"""


class SynthesizeConfig(Config):
    """How synthetic scenes are made; configs/synthesize.yaml has the same shape."""

    n: int = Field(1000, ge=1, le=10_000_000)
    """pairs to make"""
    classes: tuple[str, ...] = ()
    """classes whose regions are pasted; empty = the rare classes of the data"""
    mode: Literal["region", "scene", "variation"] = "region"
    """region: real pixels stay, the generator draws the pasted region only; scene: it draws the whole picture;
    variation: nothing is pasted, real scenes that show the classes are drawn again under their own label maps"""
    zoom: tuple[float, float] = (1.0, 1.0)
    """mode variation: smallest and largest factor by which a window with the class in it is enlarged to the scene's
    size before it is drawn again; 1 = the whole scene"""
    format: Literal["png", "shards"] = "png"
    """png: two files a pair; shards: large .npy files, which millions of pairs are read from several times faster"""
    seed: int = Field(0, ge=0)
    """seed of plans and noise"""
    batch_size: int = Field(64, ge=1)
    """samples held in memory at once, rounded up to a multiple of 16; the result is the same whatever it is"""
    context_px: int = Field(16, ge=4)
    """region mode: real ground that the generator sees on each side of a pasted region"""
    soft_edge_px: float = Field(3.0, ge=0)
    """region mode: width of the border in which drawn pixels fade into real ones"""
    draw: DrawConfig = DrawConfig()
    paste: PasteConfig = PasteConfig()
    select: SelectConfig = SelectConfig()
    data: DataConfig | None = None
    """cleaning and split of the data; null = as the generator was trained"""

    @model_validator(mode="after")
    def _zooms_in(self) -> "SynthesizeConfig":
        if not 1 <= self.zoom[0] <= self.zoom[1]:
            raise ValueError(f"zoom {list(self.zoom)}: expected 1 <= smallest <= largest")
        if self.zoom != (1, 1) and self.mode != "variation":
            raise ValueError(f"zoom is set, but mode is {self.mode}; only variation enlarges anything")
        return self


@dataclass(frozen=True)
class Window:
    """A rectangle of a scene: rows top..bottom, columns left..right (exclusive)."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def slices(self) -> tuple[slice, slice]:
        return slice(self.top, self.bottom), slice(self.left, self.right)

    @property
    def shape(self) -> tuple[int, int]:
        return self.bottom - self.top, self.right - self.left


@dataclass(eq=False)
class _Draft:
    """A planned sample on its way: `image` becomes the synthetic picture."""

    plan: PlannedSample
    pasted: tuple[str, ...]
    """names of the classes that more pictures are wanted of, as far as they are in it"""
    image: np.ndarray
    indices: np.ndarray
    inpainting_mask: np.ndarray
    windows: list[Window]
    """what the generator is given to draw in"""
    attempt: int = 0
    selection: dict[str, Any] | None = None

    @property
    def drawn(self) -> np.ndarray:
        """(H, W) bool: inside a window."""
        drawn = np.zeros(self.indices.shape, bool)
        for window in self.windows:
            drawn[window.slices] = True
        return drawn


def synthesize(
    config: SynthesizeConfig,
    run: Run,
    dataset: Dataset,
    library: RegionLibrary | None,
    generator: Generator,
    process_group: ProcessGroup = SINGLE_PROCESS,
    selector: Selector | None = None,
    placement: Placement | None = None,
) -> None:
    """Fill `run.folder` with config.n image/label pairs, going on where a killed run stopped, and finish the run.

    Args:
        library: what is pasted, from `cut_regions` on the train part; None where nothing is (mode variation).
        process_group: the processes that call this together; each makes its share of the chunks, the main one writes the rest.
        selector: from `build_selector` of a `pilot`; None = every sample is kept as it is drawn first.
        placement: odds of scenes and places, from `find_placement`; None = all alike.
    """
    maker = SceneMaker(config, dataset, library, generator, selector, placement)
    manifest = run.folder / "manifest.jsonl"
    if process_group.is_main_process:
        _write_head(run, config, dataset, generator, maker.names, selector, placement)
        _cut_journals(run.folder, config.n)
    process_group.wait_for_everyone()
    if not manifest.exists():
        done = _finished_chunks(run.folder, config.n)
        process_group.wait_for_everyone()  # all have read the journals before the first writes one
        make_chunks(
            np.flatnonzero(~done)[process_group.process_index :: process_group.num_processes],
            config,
            run.folder,
            maker,
            process_group,
        )
    process_group.wait_for_everyone()
    if process_group.is_main_process:
        if not manifest.exists():
            _merge_journals(run.folder)
        for journal in _journals(run.folder):
            journal.unlink()
        write_preview(run.folder, dataset.scenes, config.n)
        run.finish(_summarise(run.folder, selector))


def pilot(maker: "SceneMaker", process_group: ProcessGroup = SINGLE_PROCESS) -> Iterator[Sequence[_Draft]]:
    """The first candidates of the first samples, drawn, kept in memory a chunk at a time; the same in every process."""
    chunks = tqdm(range(PILOT_SIZE // CHUNK), desc="pilot", disable=None if process_group.is_main_process else True)
    return (maker.draw(maker.plan(chunk)) for chunk in chunks)


def make_chunks(
    chunks: np.ndarray,
    config: SynthesizeConfig,
    folder: Path,
    maker: "SceneMaker",
    process_group: ProcessGroup = SINGLE_PROCESS,
) -> None:
    """Make the samples of the given chunks and write a journal of them."""
    per_batch = -(-config.batch_size // CHUNK)
    total = min(config.n, len(chunks) * CHUNK)
    bar = tqdm(total=total, unit="pair", desc="synthesize", disable=None if process_group.is_main_process else True)
    path = _new_journal(folder, process_group)
    with ExitStack() as stack:
        stack.enter_context(bar)
        journal = stack.enter_context(path.open("w", encoding="utf-8"))
        # chunks are planned beside the network, and large pictures written by two: both release the interpreter's lock
        helpers = _helpers(maker.dataset.scenes.shape)
        each = stack.enter_context(ThreadPoolExecutor(helpers)).map if helpers else map
        for start in range(0, len(chunks), per_batch):
            batch = [int(chunk) for chunk in chunks[start : start + per_batch]]
            for chunk, planned in zip(batch, each(maker.plan, batch), strict=True):
                drafts = maker.make(planned)[: config.n - chunk * CHUNK]
                records = list(each(lambda draft: maker.write(folder, draft), drafts))
                # after its pictures: a chunk whose lines are all there is made, any other is made again
                journal.write("".join(json.dumps(plain(record)) + "\n" for record in records))
                journal.flush()
                bar.update(len(drafts))


def _helpers(shape: tuple[int, int] | None) -> int:
    """Threads that plan and write for the one that draws; shape: height and width of pictures, None = of several sizes.

    0 where the process is held to one thread (OMP_NUM_THREADS=1, as torchrun sets it) and draws on the CPU: a second
    one would take a core from its neighbour. Two that write small pictures get in each other's way.
    """
    if torch.get_num_threads() == 1 and not torch.cuda.is_available():
        return 0
    return 1 if shape is not None and math.prod(shape) < SMALL_PICTURE_PX else 2


def class_names(config: SynthesizeConfig, scenes: SceneSource) -> tuple[str, ...]:
    """The classes to paste: those asked for (checked), else the rare ones of the data.

    Raises:
        DataError: a name is no class, or none was asked for and the data name no rare class.
    """
    names = config.classes or scenes.classes.rare
    if not names:
        raise DataError(f"no class to paste: give --class; the classes are {', '.join(scenes.classes.names)}")
    for name in names:
        scenes.classes.index(name)
    return tuple(names)


def refuse_no_variation(config: SynthesizeConfig, dataset: Dataset, names: Sequence[str], generator: Generator) -> None:
    """Raise before anything is written where mode variation would give the real scenes back, or has none to vary.

    Raises:
        ConfigError: a generator or strength that changes nothing, or settings of pasting.
        DataError: no training scene shows one of the classes.
    """
    if config.zoom == (1, 1) and (generator.name == "copy-paste" or generator.drawing.get("strength") == 0):
        raise ConfigError(
            f"mode is variation, and {generator.name} at strength 0 gives the real scenes back; use a trained one "
            "with --strength above 0, or oversample them (segmenter train --set rare_fraction=0.25)"
        )
    if config.paste != PasteConfig():
        raise ConfigError("mode is variation, which pastes nothing; leave out --focus and the settings under paste")
    if not scenes_showing(dataset, names):
        raise DataError(f"{dataset.scenes.location}: no training scene shows {' or '.join(names)}; nothing to vary")


def scenes_showing(dataset: Dataset, names: Sequence[str]) -> list[int]:
    """Training scenes with a pixel of one of the named classes."""
    pixels = dataset.survey.pixels[:, [dataset.scenes.classes.index(name) for name in names]]
    return [index for index in dataset.split.train if pixels[index].any()]


class SceneMaker:
    """The three steps from a sample's number to its files; holds what they share."""

    def __init__(
        self,
        config: SynthesizeConfig,
        dataset: Dataset,
        library: RegionLibrary | None,
        generator: Generator,
        selector: Selector | None = None,
        placement: Placement | None = None,
    ) -> None:
        self.config, self.dataset, self.regions, self.generator = config, dataset, library, generator
        self.selector, self.placement = selector, placement
        self.classes = dataset.scenes.classes
        self.names = class_names(config, dataset.scenes) if library is None else library.class_names
        self.showing = scenes_showing(dataset, self.names)

    def plan(self, chunk: int) -> list[_Draft]:
        """Plan and paste the CHUNK samples of a chunk."""
        return [self.draft(index) for index in range(chunk * CHUNK, (chunk + 1) * CHUNK)]

    def draft(self, index: int, attempt: int = 0) -> _Draft:
        """Plan and paste one sample: everything but the drawing."""
        dataset, config = self.dataset, self.config
        if config.mode == "variation":
            return self._repeat(index, attempt)
        assert self.regions is not None
        plan = edit_sample(
            index,
            config.seed,
            dataset.scenes,
            self.regions,
            config.paste,
            dataset.split.train,
            placement=self.placement,
            attempt=attempt,
        )
        edit = plan.edited
        if config.mode == "scene":
            inpainting_mask = np.ones(edit.labels.shape, np.float32)
        else:
            inpainting_mask = soft_inpainting_mask(edit.changed, config.soft_edge_px)
        pasted = tuple(dict.fromkeys(place.class_name for place in plan.places))
        indices = self.classes.to_indices(edit.labels)
        return _Draft(
            plan, pasted, edit.image.copy(), indices, inpainting_mask, self._windows(inpainting_mask), attempt
        )

    def _repeat(self, index: int, attempt: int) -> _Draft:
        wanted = [self.classes.index(name) for name in self.names]
        config = self.config
        plan = repeat_sample(index, config.seed, self.dataset.scenes, self.showing, wanted, config.zoom, attempt)
        indices = self.classes.to_indices(plan.edited.labels)
        there = tuple(name for name in self.names if (indices == self.classes.index(name)).any())
        inpainting_mask = np.ones(indices.shape, np.float32)
        return _Draft(
            plan, there, plan.edited.image.copy(), indices, inpainting_mask, self._windows(inpainting_mask), attempt
        )

    def make(self, drafts: Sequence[_Draft]) -> Sequence[_Draft]:
        """Draw a chunk; with a selector, plan and draw again those of its samples that the judge does not agree with.

        The samples of the whole chunk take part, those beyond config.n too, so that none depends on n.
        """
        if self.selector is None:
            return self.draw(drafts)

        def candidates(slots: list[int], attempt: int) -> Sequence[_Draft]:
            if attempt == 0:
                return self.draw(drafts)
            return self.draw([self.draft(drafts[slot].plan.index, attempt) for slot in slots])

        choices = self.selector.choose(len(drafts), candidates)
        for choice in choices:
            choice.candidate.selection = choice.record()
            choice.candidate.indices = choice.indices
        return [choice.candidate for choice in choices]

    def draw(self, drafts: Sequence[_Draft]) -> Sequence[_Draft]:
        """Let the generator draw every window of the chunk into the drafts' images, windows of one size together."""
        by_shape: dict[tuple[int, int], list[tuple[int, int, Window]]] = defaultdict(list)
        for position, draft in enumerate(drafts):
            for number, window in enumerate(draft.windows):
                by_shape[window.shape].append((position, number, window))
        for shape in sorted(by_shape):
            for start in range(0, len(by_shape[shape]), CHUNK):
                self._draw_windows(drafts, by_shape[shape][start : start + CHUNK])
        return drafts

    def _windows(self, inpainting_mask: np.ndarray) -> list[Window]:
        if self.config.mode != "region":
            return [Window(0, 0, *inpainting_mask.shape)]
        return windows_around(inpainting_mask > 0, self.config.context_px)

    def _draw_windows(self, drafts: Sequence[_Draft], jobs: list[tuple[int, int, Window]]) -> None:
        request = DrawRequest(
            composites=np.stack([drafts[p].image[w.slices] for p, _, w in jobs]),
            indices=np.stack([drafts[p].indices[w.slices] for p, _, w in jobs]),
            inpainting_mask=np.stack([drafts[p].inpainting_mask[w.slices] for p, _, w in jobs]),
            seeds=np.array([_noise_seed(drafts[p], n) for p, n, _ in jobs], np.uint64),
        )
        for (position, _, window), drawn in zip(jobs, self.generator.draw(request), strict=True):
            inside = drafts[position].inpainting_mask[window.slices][..., None] > 0
            target = drafts[position].image[window.slices]
            np.copyto(target, drawn, where=inside)

    def write(self, folder: Path, draft: _Draft) -> dict[str, Any]:
        """Write one pair; return its manifest line."""
        name, labels = f"{draft.plan.index:07d}", self.classes.to_ids(draft.indices)
        if self.config.format == "shards":
            write_slot(folder, draft.plan.index, draft.image, labels, self.classes)
        else:
            write_pair(folder, name, draft.image, labels, self.classes)
        selection = {} if draft.selection is None else {"selection": draft.selection}
        return {"name": name, "index": draft.plan.index, **draft.plan.record(), **selection}


def soft_inpainting_mask(changed: np.ndarray, soft_edge_px: float) -> np.ndarray:
    """(H, W) bool pixels whose label was set -> (H, W) float32: 1 there, falling to 0 over `soft_edge_px` outside."""
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    inpainting_mask = np.zeros(changed.shape, np.float32)
    if rows.size:
        margin = int(np.ceil(soft_edge_px)) + 1  # distances are only needed near the region, not in the whole image
        box = (
            slice(max(rows[0] - margin, 0), rows[-1] + margin + 1),
            slice(max(columns[0] - margin, 0), columns[-1] + margin + 1),
        )
        distance = ndimage.distance_transform_edt(~changed[box])
        inpainting_mask[box] = np.clip(1 - distance / (soft_edge_px + 1), 0, 1)
    return inpainting_mask


def windows_around(inside: np.ndarray, context_px: int, multiple: int = 32) -> list[Window]:
    """Windows that hold each connected patch of `inside` with `context_px` of surroundings.

    Sides are rounded up to a multiple, so that windows of many samples share a size and are drawn together; a window
    never leaves the image, and patches whose windows would overlap share one.
    """
    labelled, _ = ndimage.label(inside, structure=np.ones((3, 3)))
    height, width = inside.shape
    boxes = [
        (s[0].start - context_px, s[1].start - context_px, s[0].stop + context_px, s[1].stop + context_px)
        for s in ndimage.find_objects(labelled)
    ]
    windows = [_fit(box, height, width, multiple) for box in boxes]
    while (pair := _overlapping(windows)) is not None:
        a, b = windows[pair[0]], windows[pair[1]]
        union = (min(a.top, b.top), min(a.left, b.left), max(a.bottom, b.bottom), max(a.right, b.right))
        windows = [w for i, w in enumerate(windows) if i not in pair] + [_fit(union, height, width, multiple)]
    return sorted(windows, key=lambda w: (w.top, w.left))


def _fit(box: tuple[int, int, int, int], height: int, width: int, multiple: int) -> Window:
    top, bottom = _fit_side(box[0], box[2], height, multiple)
    left, right = _fit_side(box[1], box[3], width, multiple)
    return Window(top, left, bottom, right)


def _fit_side(start: int, stop: int, length: int, multiple: int) -> tuple[int, int]:
    size = min(length, -(-(stop - start) // multiple) * multiple)
    start = min(max((start + stop - size) // 2, 0), length - size)
    return start, start + size


def _overlapping(windows: Sequence[Window]) -> tuple[int, int] | None:
    for i, a in enumerate(windows):
        for j, b in enumerate(windows[:i]):
            if a.top < b.bottom and b.top < a.bottom and a.left < b.right and b.left < a.right:
                return j, i
    return None


def _noise_seed(draft: _Draft, number: int) -> int:
    """Seed of the noise in window `number`."""
    entropy = [draft.plan.seed, draft.plan.index, number, *([draft.attempt] if draft.attempt else [])]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])


# the folder: head (classes.yaml, synth.json), journals of finished chunks, manifest


def _write_head(
    run: Run,
    config: SynthesizeConfig,
    dataset: Dataset,
    generator: Generator,
    names: Sequence[str],
    selector: Selector | None,
    placement: Placement | None,
) -> None:
    scenes = dataset.scenes
    write_classes(run.folder, scenes.classes)
    if config.format == "shards":
        refuse_mixed_sizes(scenes)
        assert scenes.shape is not None
        allocate_shards(run.folder, config.n, scenes.shape, scenes.channels)
    trained_on = [keys_of_part(dataset, dataset.split.train), generator.trained_on]
    trained_on += [selector.judge.trained_on] if selector is not None else []
    trained_on += [placement.trained_on] if placement is not None else []
    head = {
        "generator": generator.name,
        "generator_fingerprint": generator.fingerprint,
        "drawing": generator.drawing,
        "mode": config.mode,
        "classes": list(names),
        "n": config.n,
        "seed": config.seed,
        "shape": scenes.shape,
        "channels": scenes.channels,
        "data": run.inputs.get("data"),
        "selection": None if selector is None else selector.record(),
        "recipe": _fingerprint_recipe(config, generator, names, selector, placement),
    }
    pictures = fingerprints_of_part(dataset, dataset.split.train)
    write_set_head(run.folder, head, *trained_on, pictures=pictures)


def _fingerprint_recipe(
    config: SynthesizeConfig,
    generator: Generator,
    names: Sequence[str],
    selector: Selector | None,
    placement: Placement | None,
) -> str:
    """16 hex digits that two sets share when they differ by nothing but their seed: material of one kind."""
    what = config.model_dump(mode="json", exclude={"seed", "n", BATCH_SIZE, "data", "format", "select"})
    selection = [] if selector is None else [selector.recipe()]
    drawn_by = [generator.name, generator.fingerprint, generator.drawing]
    placed_by = [{"focus": placement.fingerprint}] if placement is not None and placement.fingerprint else []
    text = json.dumps([what, list(names), *drawn_by, *selection, *placed_by], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8, person=b"marsgen").hexdigest()


def _journals(folder: Path) -> list[Path]:
    return sorted(folder.glob("journal-*.jsonl"))


def _new_journal(folder: Path, process_group: ProcessGroup) -> Path:
    taken = [path.stem for path in _journals(folder)]
    return next(
        folder / f"{name}.jsonl"
        for k in count()
        if (name := f"journal-{process_group.process_index:03d}-{k:03d}") not in taken
    )


def _last_of_chunks(path: Path, n: int) -> Iterator[tuple[int, int]]:
    """For every chunk that is in a journal whole: its number, and the byte at which its lines end."""
    offset = 0
    with path.open("rb") as file:
        for line in file:
            if not line.endswith(b"\n"):
                return
            offset += len(line)
            index = json.loads(line)["index"]
            if index % CHUNK == CHUNK - 1 or index == n - 1:
                yield index // CHUNK, offset


def _cut_journals(folder: Path, n: int) -> None:
    """Cut off the lines of a chunk that a kill interrupted: it is made again."""
    for path in _journals(folder):
        os.truncate(path, max((end for _, end in _last_of_chunks(path, n)), default=0))


def _finished_chunks(folder: Path, n: int) -> np.ndarray:
    """(chunks,) bool: which are in a journal whole."""
    done = np.zeros(-(-n // CHUNK), bool)
    for path in _journals(folder):
        for chunk, _ in _last_of_chunks(path, n):
            done[chunk] = True
    return done


def _merge_journals(folder: Path) -> None:
    """Journals, each in order, -> manifest.jsonl in the order of samples; memory does not grow with their number."""
    temporary = folder / ".manifest.jsonl.partial"
    with ExitStack() as stack, temporary.open("w", encoding="utf-8") as manifest:
        files: list[Iterable[str]] = [stack.enter_context(path.open(encoding="utf-8")) for path in _journals(folder)]
        manifest.writelines(heapq.merge(*files, key=lambda line: json.loads(line)["index"]))
    os.replace(temporary, folder / "manifest.jsonl")


def _summarise(folder: Path, selector: Selector | None = None) -> dict[str, Any]:
    regions: Counter[str] = Counter()
    pairs, tally = 0, Tally()
    with (folder / "manifest.jsonl").open(encoding="utf-8") as manifest:
        for line in manifest:
            pairs += 1
            record = json.loads(line)
            regions.update(donor["class"] for donor in record["donors"])
            if selection := record.get("selection"):
                tally.add(selection)
    summary: dict[str, Any] = {"pairs": pairs, "regions": dict(sorted(regions.items()))}
    if selector is not None:
        summary["selection"] = tally.describe(selector)
    return summary


def write_preview(folder: Path, scenes: SceneSource, n: int, rows: int = 12, zoom: int = 2) -> None:
    """preview.png: for samples spread over the set, the real parent | label map | synthetic image."""
    chosen = set(np.linspace(0, n - 1, min(rows, n)).astype(int).tolist())
    position = {name: index for index, name in enumerate(scenes.names)}
    strips = []
    with (folder / "manifest.jsonl").open(encoding="utf-8") as manifest:
        for index, line in enumerate(manifest):
            if index in chosen:
                record = json.loads(line)
                parent = scenes[position[record["parent"]["name"]]].image
                if (folder / SHARDS_FOLDER).is_dir():
                    made, labels = read_slot(folder, index)
                else:
                    labels = read_label_map(folder / "labels" / f"{record['name']}.png", scenes.classes)
                    made = read_image(folder / "images" / f"{record['name']}.png")
                panels = [_rgb(parent), scenes.classes.paint(labels), _rgb(made)]
                framed = [np.pad(p, ((2, 2), (2, 2), (0, 0)), constant_values=255) for p in panels]
                strips.append(np.concatenate(framed, axis=1))
    width = max(s.shape[1] for s in strips)
    sheet = np.concatenate([np.pad(s, ((0, 0), (0, width - s.shape[1]), (0, 0)), constant_values=255) for s in strips])
    buffer = io.BytesIO()
    picture = Image.fromarray(sheet)
    if picture.width < 1000:
        picture = picture.resize((picture.width * zoom, picture.height * zoom), Image.Resampling.NEAREST)
    picture.save(buffer, "PNG")
    write_bytes(folder / "preview.png", buffer.getvalue())


def _rgb(image: np.ndarray) -> np.ndarray:
    return np.repeat(image, 3, axis=2) if image.shape[2] == 1 else image
