"""From the number of a sample to its files: plan and paste, draw, write."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from marsgen.cleaning.dataset import Dataset
from marsgen.core.process_group import SINGLE_PROCESS, ProcessGroup
from marsgen.core.progress import ProgressBar
from marsgen.generators import DrawRequest, Generator
from marsgen.masks.placement import PlacementPrior
from marsgen.masks.plan import PlannedSample, edit_sample, repeat_sample
from marsgen.masks.regions import RegionLibrary
from marsgen.quality.select import PILOT_SIZE, Selector
from marsgen.scenes.classes import IGNORED_INDEX
from marsgen.scenes.geometry import Box
from marsgen.scenes.readers.folder import write_pair
from marsgen.scenes.readers.shards import write_slot
from marsgen.synthesis.config import CHUNK, SynthesizeConfig, class_names
from marsgen.synthesis.maps import LabelMaps, MapSample
from marsgen.synthesis.windows import soft_inpainting_mask, windows_around


@dataclass(eq=False)
class Draft:
    """A planned sample; drawing turns `image` into the synthetic picture."""

    plan: PlannedSample | MapSample
    pasted: tuple[str, ...]
    """names of the classes that were pasted, or that a map sets anew; in mode variation, of the wanted classes that it
    shows"""
    image: np.ndarray
    """(H, W, channels) uint8"""
    indices: np.ndarray
    """(H, W) uint8 class indices, 255 = ignored"""
    inpainting_mask: np.ndarray
    """(H, W) float32 in [0, 1]: where the generator draws, and how far its pixels replace those of `image`"""
    windows: list[Box]
    """what the generator is given to draw in"""
    attempt: int = 0
    selection: dict[str, Any] | None = None
    """key `selection` of the manifest line"""

    @property
    def drawn(self) -> np.ndarray:
        """(H, W) bool: inside a window."""
        drawn = np.zeros(self.indices.shape, bool)
        for window in self.windows:
            drawn[window.slices] = True
        return drawn


@dataclass(eq=False)
class SceneMaker:
    """Makes the samples of a set; every sample depends on (inputs, seed, index) alone.

    The network always sees CHUNK samples at a time, the same neighbours whatever the size of the set, the batch size or
    the number of processes, because a convolution may round differently when the shape of its batch changes.
    """

    config: SynthesizeConfig
    dataset: Dataset
    library: RegionLibrary | None
    """what is pasted, from `masks.library.open_library`; None in mode variation, or with `maps`"""
    generator: Generator
    selector: Selector | None = None
    """from `build_selector` of a `pilot`; None = every sample is kept as it is drawn first"""
    placement: PlacementPrior | None = None
    """weights of scenes and places, from `find_placement`; None = all alike"""
    maps: LabelMaps | None = None
    """what is drawn as it is, instead of pasting"""
    names: tuple[str, ...] = field(init=False)
    """classes that more pictures are wanted of"""
    shape: tuple[int, int] | None = field(init=False)
    """(height, width) of the pictures; None where they differ"""

    def __post_init__(self) -> None:
        self.classes = self.dataset.scenes.classes
        self.shape = (self.dataset.scenes if self.maps is None else self.maps.source).shape
        if self.maps is not None:
            self.names = self.maps.class_names
            return
        self.names = (
            class_names(self.config, self.dataset.scenes.classes) if self.library is None else self.library.class_names
        )
        self._showing = self.dataset.train_scenes_with(self.names)

    def plan(self, chunk: int) -> list[Draft]:
        """Plan and paste the CHUNK samples of a chunk."""
        return [self.draft(index) for index in range(chunk * CHUNK, (chunk + 1) * CHUNK)]

    def draft(self, index: int, attempt: int = 0) -> Draft:
        """Plan and paste one sample: everything but the drawing."""
        plan = self._plan_one(index, attempt)
        indices = self.classes.to_indices(plan.edited.labels)
        if isinstance(plan, MapSample):
            there = np.unique(indices[indices != IGNORED_INDEX])
            shown = plan.class_names or tuple(self.classes.names[i] for i in there)
        elif self.config.mode == "variation":
            shown = tuple(name for name in self.names if (indices == self.classes.index(name)).any())
        else:
            shown = tuple(dict.fromkeys(place.class_name for place in plan.places))
        if self.config.mode == "region":
            inpainting_mask = soft_inpainting_mask(plan.edited.changed, self.config.soft_edge_px)
            windows = windows_around(inpainting_mask > 0, self.config.context_px)
        else:
            inpainting_mask = np.ones(indices.shape, np.float32)
            windows = [Box(0, 0, *indices.shape)]
        return Draft(plan, shown, plan.edited.image.copy(), indices, inpainting_mask, windows, attempt)

    def _plan_one(self, index: int, attempt: int) -> PlannedSample | MapSample:
        config, scenes, train = self.config, self.dataset.scenes, self.dataset.split.train
        if self.maps is not None:
            return self.maps.sample(index, config.seed)
        if config.mode == "variation":
            wanted = [self.classes.index(name) for name in self.names]
            return repeat_sample(index, config.seed, scenes, self._showing, wanted, config.zoom, attempt)
        assert self.library is not None
        return edit_sample(index, config.seed, scenes, self.library, train, placement=self.placement, attempt=attempt)

    def make(self, drafts: Sequence[Draft]) -> Sequence[Draft]:
        """Draw a chunk; with a selector, plan and draw again those of its samples that the selector rejects.

        The samples of the whole chunk take part, those beyond config.n too, so that none depends on n.
        """
        if self.selector is None:
            return self.draw(drafts)

        def candidates(slots: list[int], attempt: int) -> Sequence[Draft]:
            if attempt == 0:
                return self.draw(drafts)
            return self.draw([self.draft(drafts[slot].plan.index, attempt) for slot in slots])

        choices = self.selector.choose(len(drafts), candidates)
        for choice in choices:
            choice.candidate.selection = choice.record()
        return [choice.candidate for choice in choices]

    def draw(self, drafts: Sequence[Draft]) -> Sequence[Draft]:
        """Let the generator draw every window of the chunk into the drafts' images, windows of one size together."""
        by_shape: dict[tuple[int, int], list[tuple[int, int, Box]]] = defaultdict(list)
        for position, draft in enumerate(drafts):
            for number, window in enumerate(draft.windows):
                by_shape[window.shape].append((position, number, window))
        for shape in sorted(by_shape):
            for start in range(0, len(by_shape[shape]), CHUNK):
                self._draw_windows(drafts, by_shape[shape][start : start + CHUNK])
        return drafts

    def _draw_windows(self, drafts: Sequence[Draft], jobs: list[tuple[int, int, Box]]) -> None:
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

    def write(self, folder: Path, draft: Draft) -> dict[str, Any]:
        """Write one pair; return its manifest line."""
        name, labels = f"{draft.plan.index:07d}", self.classes.to_ids(draft.indices)
        if self.config.format == "shards":
            write_slot(folder, draft.plan.index, draft.image, labels, self.classes)
        else:
            write_pair(folder, name, draft.image, labels, self.classes)
        selection = {} if draft.selection is None else {"selection": draft.selection}
        return {"name": name, "index": draft.plan.index, **draft.plan.record(), **selection}


def pilot(maker: SceneMaker, process_group: ProcessGroup = SINGLE_PROCESS) -> Iterator[Sequence[Draft]]:
    """The first candidates of the first PILOT_SIZE samples, drawn, a chunk at a time; the same in every process."""
    chunks = ProgressBar(
        range(PILOT_SIZE // CHUNK), desc="pilot", disable=None if process_group.is_main_process else True
    )
    return (maker.draw(maker.plan(chunk)) for chunk in chunks)


def _noise_seed(draft: Draft, number: int) -> int:
    """Seed of the noise in window `number`."""
    entropy = [draft.plan.seed, draft.plan.index, number, *([draft.attempt] if draft.attempt else [])]
    return int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0])
