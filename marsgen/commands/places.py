"""What the page of `marsgen playground` needs beside a generator, looked for before anything slow is imported."""

from pathlib import Path

from marsgen.core.errors import ConfigError

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
