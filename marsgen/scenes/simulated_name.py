"""sim:N,seed=3,...: the name of simulated scenes, taken apart."""

from collections.abc import Callable
from typing import Any

from marsgen.core.errors import DataError, nearest
from marsgen.core.storage.places import SIMULATED

_SIMULATED_EXAMPLE = "sim:400,seed=3,size=64x128,channels=3,rocks=0.1,outliers=0,noise=1"
MOST_SIMULATED = 1_000_000
MOST_SIMULATED_PX = 4096
"""height or width"""

_OPTIONS: dict[str, tuple[str, Callable[[str], Any], str]] = {
    "seed": ("seed", int, "an integer"),
    "size": ("size", lambda text: tuple(int(side) for side in text.split("x")), "HEIGHTxWIDTH in pixels"),
    "channels": ("channels", int, "1 or 3"),
    "rocks": ("rock_scene_fraction", float, "the share of scenes with a big rock, 0..1"),
    "outliers": ("outlier_fraction", float, "the share of outliers, 0..1"),
    "noise": ("label_noise", float, "the carelessness of labels, 0..1"),
}
"""option -> field of SimulationConfig, how to read it, what it is"""


def parse_simulation(location: str) -> tuple[int, dict[str, Any]]:
    """sim:N,seed=3,... -> N and the arguments of SimulationConfig.

    Raises:
        DataError: N or an option cannot be read.
    """
    number, *options = location.removeprefix(SIMULATED).split(",")
    if not number.isdecimal() or len(number) > 9 or not 1 <= int(number) <= MOST_SIMULATED:
        raise DataError(f"{location}: expected a number of scenes in 1..{MOST_SIMULATED}, as in {_SIMULATED_EXAMPLE}")
    values: dict[str, Any] = {}
    for option in options:
        name, _, text = option.partition("=")
        if name not in _OPTIONS:
            raise DataError(f"{location}: no option '{name}'{nearest(name, _OPTIONS)}; there are {', '.join(_OPTIONS)}")
        field, read, meaning = _OPTIONS[name]
        if field in values:
            raise DataError(f"{location}: option '{name}' is given twice; keep one")
        try:
            values[field] = read(text)
        except ValueError:
            raise DataError(f"{location}: {name}={text} cannot be read; expected {meaning}") from None
    size = values.pop("size", (64, 128))
    if len(size) != 2:
        raise DataError(f"{location}: size has {len(size)} sides; expected HEIGHTxWIDTH in pixels")
    if max(size) > MOST_SIMULATED_PX:
        raise DataError(f"{location}: size {size[0]}x{size[1]}; each side has at most {MOST_SIMULATED_PX} pixels")
    if values.get("seed", 0) >= 2**63:
        raise DataError(f"{location}: seed has to be below 2**63")
    return int(number), {"height": size[0], "width": size[1], **values}
