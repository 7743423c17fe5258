"""Folders of cases, and which kinds were asked for."""

import os
import shutil
from pathlib import Path


def remove(folder: Path) -> None:
    """Delete a folder, whatever permissions were taken from what is in it."""
    for where, folders, _ in os.walk(folder):
        for name in folders:
            if not Path(where, name).is_symlink():
                Path(where, name).chmod(0o755)
    if folder.exists():
        folder.chmod(0o755)
        shutil.rmtree(folder)


def is_chosen(kind: str, only: str) -> bool:
    """Whether the option --only names this kind: one of its words, separated by commas, is in it."""
    return any(part in kind for part in only.split(","))
