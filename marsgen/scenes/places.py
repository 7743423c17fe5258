"""Whether what a user names can be a data set, asked before anything is imported that reads scenes."""

import os
import zipfile
from pathlib import Path, PurePath

from marsgen.core.errors import DataError
from marsgen.core.storage.places import IN_MEMORY, SIMULATED, find_path
from marsgen.scenes.files.finding import IMAGE_SUFFIXES, is_clutter
from marsgen.scenes.simulated_name import parse_simulation

MOST_DEPTH = 6
"""folders inside one another in which files of a data set are looked for"""
_TABLES = (".parquet", ".arrow", ".json")
_TRAININGS = ("marsgen train-generator", "segmenter train")
"""commands whose runs hold pictures of their progress, and no scenes"""
_REMEDY = "give an .npz, a folder (AI4Mars release, images/ and labels/, or another format of docs/formats.md) or sim:N"


def refuse_no_data(location: str) -> None:
    """Refuse what no reader can open, as far as names of files tell.

    Raises:
        DataError: nothing is there, a folder without any picture or table, the run of a training, a file of a kind that
            no data set has, or an .npz that is none.
        RunError: the run of a training, damaged.
    """
    if location.startswith(SIMULATED):
        parse_simulation(location)
        return
    if location == IN_MEMORY:
        return
    path = find_path(location)
    if path.is_file() and path.suffix.lower() not in (".npz", *_TABLES, *IMAGE_SUFFIXES):
        raise no_data_file(location)
    if path.suffix.lower() == ".npz" and path.is_file() and not zipfile.is_zipfile(path):
        raise no_whole_npz(path, "File is not a zip file")
    if not path.is_dir():
        return
    if (path / "config.yaml").is_file() and not (path / "images").is_dir():
        from marsgen.core.storage.reading import read_yaml  # here: imports yaml

        run = read_yaml(path / "config.yaml")
        if isinstance(run, dict) and run.get("command") in _TRAININGS:
            raise DataError(f"{location}: a run of `{run['command']}`, which holds no scenes; {_REMEDY}")
    if not _may_hold_data(path):
        raise DataError(f"{location}: no picture and no table in this folder or in those inside it; {_REMEDY}")


def no_data_file(location: str) -> DataError:
    """That a file is of no kind that holds scenes."""
    return DataError(f"{location}: a file but no .npz or Parquet; --data takes an .npz, a folder of pictures or sim:N")


def no_whole_npz(path: Path, problem: object) -> DataError:
    """That an .npz cannot be opened."""
    return DataError(f"{path}: no whole .npz file ({problem}); it may be cut short, copy or download it again")


def _may_hold_data(folder: Path) -> bool:
    """Whether a file in it ends as those of any data set do; stops at the first."""
    seen = set[str]()
    for place, inner, names in os.walk(folder, followlinks=True):
        here = PurePath(place).relative_to(folder)
        real = os.path.realpath(place)
        if real in seen or len(here.parts) >= MOST_DEPTH:
            inner.clear()
            continue
        seen.add(real)
        inner[:] = [name for name in inner if not is_clutter(name)]
        endings = (os.path.splitext(name)[1].lower() for name in names if not is_clutter(name))
        labels = "labels" in here.parts  # YOLO's are texts
        if any(ending in (*IMAGE_SUFFIXES, *_TABLES) or (labels and ending == ".txt") for ending in endings):
            return True
    return False
