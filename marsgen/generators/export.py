"""Trained generators as files that draw without this toolkit: written, and compared with torch before they are kept.

What the files of each kind hold stands in its own folder: pix2pix/export.py, diffusion/export.py. Noise is an input, so
the same noise gives the same picture here and there. generator.json says what a program needs to know beside them:
names, ids and colours of the classes, sizes and defaults; each ONNX file holds it too, under "marsgen".
"""

import importlib
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from marsgen.core.errors import ConfigError, RunError
from marsgen.core.runs import Run
from marsgen.core.storage.files import write_bytes, write_json
from marsgen.generators import DrawRequest, Generator
from marsgen.generators.config import ExportGeneratorConfig
from marsgen.scenes.scene import Scene

EXPORTERS = {"pix2pix": "marsgen.generators.pix2pix.export", "diffusion": "marsgen.generators.diffusion.export"}
"""name of a generator -> the module with its FILES, on_cpu, describe, write_files and drawings"""


def exporter_of(generator: Generator) -> Any:
    """The module that exports generators of this kind.

    Raises:
        ConfigError: there is none.
    """
    if generator.name not in EXPORTERS:
        raise ConfigError(f"a {generator.name} generator has no file to export; there are {', '.join(EXPORTERS)}")
    return importlib.import_module(EXPORTERS[generator.name])


def export_generator(config: ExportGeneratorConfig, run: Run, generator: Generator, scenes: Iterable[Scene]) -> None:
    """Write the files of a generator and generator.json, compared with torch on real scenes, and finish the run.

    Args:
        run: the open run of this command.
        generator: from the exporter's `on_cpu`.
        scenes: real scenes; each is drawn whole, and in the middle of its picture only.
    Raises:
        RunError: the pictures differ more than `config.tolerance`; no file is written.
    """
    exporter = exporter_of(generator)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        exporter.write_files(folder, generator)
        difference, count = 0.0, 0
        for number, scene in enumerate(scenes):
            for whole in (True, False):
                for wanted, found in exporter.drawings(generator, folder, _request(scene, whole, number)):
                    apart = np.abs(found - wanted)
                    difference = max(difference, float(apart.max()) if np.isfinite(apart).all() else float("inf"))
            count += 1
        levels = difference * 127.5
        if not levels <= config.tolerance:
            raise RunError(
                f"as ONNX the generator's pictures differ by up to {levels:.2g} of 255 grey levels from those of torch "
                f"on {count} scenes, more than the tolerance {config.tolerance:g}; the file was not kept"
            )
        for name in exporter.FILES:
            write_bytes(run.folder / name, (folder / name).read_bytes())
    write_json(run.folder / "generator.json", exporter.describe(generator))
    size = sum((run.folder / name).stat().st_size for name in exporter.FILES)
    wrote = " and ".join(exporter.FILES)
    run.finish({"wrote": wrote, "bytes": size, "scenes": count, "largest_difference_levels": levels})


def _request(scene: Scene, whole: bool, seed: int) -> DrawRequest:
    mask = np.ones((1, *scene.labels.shape), np.float32)
    if not whole:
        height, width = scene.labels.shape
        mask[:] = 0
        mask[:, height // 4 : -(height // 4), width // 4 : -(width // 4)] = 1
    return DrawRequest(scene.image[None], scene.indices[None], mask, np.array([seed], np.uint64))
