"""What a synthetic set says about itself: classes.yaml, synth.json and README.md."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

from marsgen.core.runs import Run
from marsgen.provenance import fingerprints_of_part, keys_of_part, read_set_head, write_set_head
from marsgen.provenance.data_card import card_of, write_data_card
from marsgen.scenes.readers.folder import write_classes
from marsgen.scenes.readers.shards import allocate_shards, refuse_mixed_sizes
from marsgen.synthesis.config import BATCH_SIZE
from marsgen.synthesis.journal import read_manifest
from marsgen.synthesis.scene_maker import SceneMaker


def write_record(run: Run, maker: SceneMaker) -> None:
    """Write classes.yaml and synth.json; for format shards, allocate their files."""
    config, dataset, generator = maker.config, maker.dataset, maker.generator
    scenes = dataset.scenes
    write_classes(run.folder, scenes.classes)
    if config.format == "shards":
        refuse_mixed_sizes(scenes if maker.maps is None else maker.maps.source)
        assert maker.shape is not None
        allocate_shards(run.folder, config.n, maker.shape, scenes.channels)
    trained_on = [keys_of_part(dataset, dataset.split.train), generator.trained_on]
    trained_on += [maker.selector.judge.trained_on] if maker.selector is not None else []
    trained_on += [maker.placement.trained_on] if maker.placement is not None else []
    record = {
        "generator": generator.name,
        "generator_fingerprint": generator.fingerprint,
        "drawing": generator.drawing,
        "mode": config.mode,
        "classes": list(maker.names),
        "paste": _paste_settings(maker),
        "n": config.n,
        "seed": config.seed,
        "shape": maker.shape,
        "channels": scenes.channels,
        "data": run.inputs.get("data"),
        **({} if maker.maps is None else {"maps": run.inputs.get("maps")}),
        "selection": None if maker.selector is None else maker.selector.record(),
        "recipe": _fingerprint_recipe(maker),
    }
    pictures = fingerprints_of_part(dataset, dataset.split.train)
    if maker.maps is not None:
        trained_on.append(maker.maps.trained_on)
        pictures |= maker.maps.pictures
    write_set_head(run.folder, record, *trained_on, pictures=pictures)


def write_card(folder: Path, maker: SceneMaker) -> None:
    """Write README.md from the finished manifest."""
    scenes, shown, maps = maker.dataset.scenes, Counter[str](), maker.maps is not None
    for record in read_manifest(folder):
        shown.update({part["class"] for part in record.get("drawn", record["donors"])})
    card = card_of(
        scenes,
        "Drawn label maps" if maps else f"Synthetic scenes with more {' and '.join(maker.names)}",
        pairs=maker.config.n,
        shape=maker.shape,
        head=read_set_head(folder),
        shown=shown,
        shown_words=f"pairs into which it was {'drawn' if maps else 'pasted'}",
    )
    write_data_card(folder, card)


def _paste_settings(maker: SceneMaker) -> dict[str, Any]:
    """Class -> how its regions were pasted: values of yaml, and inferred ones in the others' place."""
    library = maker.library
    return {} if library is None else {name: s.model_dump(mode="json") for name, s in library.settings.items()}


def _fingerprint_recipe(maker: SceneMaker) -> str:
    """16 hex digits that two sets share when they differ by nothing but their seed and size."""
    config, generator, placement = maker.config, maker.generator, maker.placement
    settings = config.model_dump(mode="json", exclude={"seed", "n", BATCH_SIZE, "data", "format", "select"})
    selection = [] if maker.selector is None else [maker.selector.recipe()]
    drawn_by = [generator.name, generator.fingerprint, generator.drawing]
    placed_by = [{"focus": placement.fingerprint}] if placement is not None and placement.fingerprint else []
    settings["paste"] = _paste_settings(maker)
    placed_by += [] if maker.maps is None else [{"maps": maker.maps.identity()["fingerprint"]}]
    text = json.dumps([settings, list(maker.names), *drawn_by, *selection, *placed_by], sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=8, person=b"marsgen").hexdigest()
