"""Generators and what the page of `marsgen playground` needs, looked for before anything slow is imported."""

from collections.abc import Sequence
from pathlib import Path

from marsgen.core.errors import ConfigError, RunError

ORT_FILES = ("ort.wasm.min.mjs", "ort-wasm-simd-threaded.mjs", "ort-wasm-simd-threaded.wasm")
ORT_DEFAULT = Path("node_modules/onnxruntime-web")


def find_ort(place: Path | None) -> Path:
    """The folder that holds onnxruntime-web's files.

    Args:
        place: where the package was unpacked; None = node_modules/ here.
    Raises:
        ConfigError: its files are not there; the message says how to get them.
    """
    given = place or ORT_DEFAULT
    for folder in (given, given / "dist", given / "package" / "dist"):
        if all((folder / name).is_file() for name in ORT_FILES):
            return folder
    what = f"--ort {place}" if place else f"{ORT_DEFAULT}/"
    raise ConfigError(
        f"{what}: no {ORT_FILES[0]} and its wasm file there, with which the page runs networks; get them with "
        "`npm pack onnxruntime-web && tar xzf onnxruntime-web-*.tgz` and give --ort package"
    )


def refuse_no_generator(folder: Path) -> str:
    """The kind of a trained generator.

    Raises:
        RunError: no finished run of `marsgen train-generator`, or its generator.json or weights are missing or damaged.
    """
    from marsgen.core.runs import Run  # here: --help needs no pydantic
    from marsgen.generators import kind_of

    Run.load(folder, "marsgen train-generator").refuse_no_weights()
    return kind_of(folder)


def refuse_no_teacher(folder: Path) -> None:
    """Refuse a generator that is not there, see `refuse_no_generator`, or cannot be distilled."""
    from marsgen.generators import refuse_other_teacher

    refuse_other_teacher(str(folder), refuse_no_generator(folder))


def refuse_lone_comparison(folders: Sequence[Path], test: str | None) -> None:
    """Raise ConfigError for one folder of predictions alone, or test scenes without any."""
    if not folders and test is not None:
        raise ConfigError("--test names labelled scenes for --compare, which is not given; give both or none")
    if len(folders) == 1:
        raise ConfigError(
            f"--compare {folders[0]} alone; give --compare for each of two or more folders of predictions"
        )


def refuse_run(folder: Path) -> None:
    """Raise RunError where the folders of many runs are to be written into that of one, or into a file."""
    if (folder / "config.yaml").exists() or folder.is_file():
        what = "is a file" if folder.is_file() else "is the folder of a run"
        raise RunError(f"{folder} {what}; the demo writes many runs: choose another --out")


def latest_generator(outputs: Path) -> str:
    """The folder of the generator that was trained last."""
    from marsgen.core.runs import latest_run

    return str(latest_run(outputs, "marsgen train-generator"))


def find_generator(given: str | None, outputs: Path, data: str | None = None) -> str:
    """The folder of the generator that is given, else of the last one; where no data are, its own are still there.

    Raises:
        RunError: no finished run of `marsgen train-generator`, or it or its data are damaged or gone.
    """
    from marsgen.core.runs import Run

    where = given or latest_generator(outputs)
    refuse_no_generator(Path(where))
    if data is None:
        Run.load(Path(where), "marsgen train-generator").refuse_lost_data()
    return where
