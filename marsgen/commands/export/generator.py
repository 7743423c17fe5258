"""`marsgen export GENERATOR --to onnx`: a trained generator as a file that draws without this toolkit."""

from contextlib import closing
from pathlib import Path

from marsgen.core.runs import Run
from marsgen.core.storage.onnx_files import refuse_no_onnx
from marsgen.generators import load_generator
from marsgen.generators.config import ExportGeneratorConfig
from marsgen.scenes.sources import open_scenes
from marsgen.synthesis.config import SynthesizeConfig
from marsgen.synthesis.inputs import find_sources


def export_trained(where: str, config: ExportGeneratorConfig, out: Path, data: str | None = None) -> Run:
    """Open a generator and real scenes, then `marsgen.generators.export.export_generator`.

    Args:
        where: folder of a `marsgen train-generator` run.
        out: folder to write into.
        data: scenes to compare on; None = those that it was trained on.
    Returns:
        the finished run.
    Raises:
        ConfigError, RunError, DataError: a package is missing, or no such generator.
    """
    refuse_no_onnx("--to onnx")
    Run.load(Path(where), "marsgen train-generator")
    scenes = find_sources(SynthesizeConfig(), where, None if data is None else open_scenes(data)).scenes
    generator = load_generator(where)
    # here: torch takes seconds to import, and a place without a generator was to be refused before
    from marsgen.generators.export import export_generator, exporter_of

    scenes.classes = scenes.classes.ordered_like(generator.classes)
    load_generator(where, scenes.classes, scenes.channels)  # refuses data of other classes or channels
    cpu = exporter_of(generator).on_cpu(generator)
    inputs = {"data": scenes.identity(), "generator": {"name": cpu.name, "fingerprint": cpu.fingerprint}}
    with closing(Run.start(out, "marsgen export", config, inputs)) as run:
        if not run.finished:
            step = max(len(scenes) // config.scenes, 1)
            export_generator(config, run, cpu, (scenes[i] for i in range(0, len(scenes), step)[: config.scenes]))
    return run


def summary_line(run: Run) -> str:
    """What was written, in words."""
    return (
        f"{run.said('wrote', str)}   {run.said('bytes', int) / 1e6:.2f} MB   largest difference from torch "
        f"{run.said('largest_difference_levels', float):.1e} of 255 grey levels on {run.said('scenes', int)} scenes"
    )
