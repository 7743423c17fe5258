"""A power cut at every point of a run: only what was synced is left; the same command then ends at the same files.

Two disks are played. On one, names reach the disk at once and contents when they are synced (as ext4 and XFS do): a
file may be there and empty. On the other, names too are lost that no sync of their folder has written.
"""

import gc
import os
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import marsgen.core.storage.files
from marsgen.core.config import Config
from marsgen.core.runs import Run
from marsgen.core.storage.files import write_json


class PowerCutError(BaseException):
    """The power is gone."""


class Disk:
    """Counts syncs under a folder, cuts the power at one of them, and knows what is left then."""

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, cut_at: int | None, *, keeps_names: bool) -> None:
        self.folder, self.cut_at, self.keeps_names, self.events = folder, cut_at, keeps_names, 0
        self.contents: dict[int, bytes] = {}
        self.names: dict[Path, int] = {}
        self.held: list[int] = []
        real_fsync = os.fsync

        def fsync(descriptor: int) -> None:
            self.count()
            real_fsync(descriptor)
            found = os.fstat(descriptor)
            if stat.S_ISDIR(found.st_mode):
                self._keep_names(Path(os.readlink(f"/proc/self/fd/{descriptor}")))
            else:
                self._keep_content(descriptor)

        class Library:
            @staticmethod
            def syncfs(_: int) -> int:
                self.count()
                for path in self.folder.rglob("*"):
                    if path.is_file():
                        descriptor = os.open(path, os.O_RDONLY)
                        self._keep_content(descriptor)
                        os.close(descriptor)
                for path in (self.folder, *self.folder.rglob("*")):
                    if path.is_dir():
                        self._keep_names(path)
                return 0

        patch.setattr(os, "fsync", fsync)
        patch.setattr(marsgen.core.storage.files, "_c_library", Library)

    def count(self) -> None:
        self.events += 1
        if self.events == self.cut_at:
            raise PowerCutError

    def _keep_content(self, descriptor: int) -> None:
        found = os.fstat(descriptor)
        self.held.append(os.dup(descriptor))  # so that no other file gets its number
        reader = os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY)
        self.contents[found.st_ino] = os.pread(reader, found.st_size, 0)
        os.close(reader)

    def _keep_names(self, folder: Path) -> None:
        for path in [path for path in self.names if path.parent == folder]:
            del self.names[path]
        self.names |= {path: path.stat().st_ino for path in folder.iterdir() if path.is_file()}

    def cut(self) -> None:
        """Leave of the folder what a computer finds that is switched on again."""
        for path in [path for path in self.folder.rglob("*") if path.is_file()]:
            number = path.stat().st_ino
            path.unlink()
            if self.keeps_names:
                path.write_bytes(self.contents.get(number, b""))
        if not self.keeps_names:
            for path, number in self.names.items():
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(self.contents.get(number, b""))
        for descriptor in self.held:
            os.close(descriptor)


def train(folder: Path) -> None:
    """A run of six steps with checkpoints, as the training loops make them."""
    run = Run.start(folder, "train", Config(), {"data": {"fingerprint": "a"}})
    if run.finished:
        return
    checkpoint = run.load_checkpoint()
    weight, done = (checkpoint.tensors["weight"], checkpoint.step) if checkpoint else (torch.zeros(3), 0)
    for step in range(done + 1, 7):
        weight = weight * 0.5 + step
        run.log(step, loss=1 / step)
        if step % 2 == 0:
            run.save_weights("best.safetensors", {"weight": weight}, step=step)
            run.save_checkpoint(step, {"weight": weight})
    write_json(folder / "generator.json", {"weight": weight.tolist()})
    run.finish({"steps": 6})


def content(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def cut_everywhere(command: Callable[[Path], None], place: Path, *, keeps_names: bool, stride: int = 1) -> int:
    """Cut the power at each event of `command`, repeat it, compare; return how many events there were."""
    gc.freeze()  # collecting what was there before takes most of a second each time
    with pytest.MonkeyPatch.context() as patch:
        disk = Disk(place / "whole", patch, None, keeps_names=keeps_names)
        command(place / "whole")
        gc.collect()
        disk.cut()
    assert "DONE" in content(place / "whole")
    command(place / "whole")  # removes what a finished run does not need
    whole = content(place / "whole")
    assert all(whole.values()), "a finished run is on the disk whole"
    for cut_at in range(1, disk.events + 1, stride):
        folder = place / f"cut{cut_at}"
        with pytest.MonkeyPatch.context() as patch:
            broken = Disk(folder, patch, cut_at, keeps_names=keeps_names)
            try:
                command(folder)
            except PowerCutError:
                pass
            else:
                pytest.fail(f"no event {cut_at}")
            gc.collect()  # the run gives its lock back
            broken.cut()
        command(folder)
        assert content(folder) == whole, f"cut at event {cut_at}"
    return disk.events


@pytest.mark.parametrize("keeps_names", [True, False], ids=["names at once", "names when synced"])
def test_a_training_run_survives_a_power_cut_at_any_point(tmp_path, keeps_names):
    assert cut_everywhere(train, tmp_path, keeps_names=keeps_names) > 8


@pytest.mark.slow
@pytest.mark.parametrize("keeps_names", [True, False], ids=["names at once", "names when synced"])
def test_a_synthetic_set_survives_a_power_cut_at_any_point(tmp_path, monkeypatch, keeps_names):
    from test_flow import call

    import marsgen.synthesis.journal
    from marsgen.scenes.simulate import SimulationConfig, simulate_scene

    config = SimulationConfig(height=32, width=48, rock_scene_fraction=0.6, outlier_fraction=0)
    pairs = [simulate_scene(i, config) for i in range(24)]
    images, labels = (np.stack([pair[part] for pair in pairs]) for part in (0, 1))
    np.savez(tmp_path / "data.npz", images=images[..., 0], labels=labels)
    monkeypatch.setattr(marsgen.synthesis.journal, "SYNC_SECONDS", 0)
    monkeypatch.chdir(tmp_path)
    loose = ("min_region_px=4", "min_visible_px=4", "min_solidity=0.2", "min_thickness=0.1")
    settings = [word for each in loose for word in ("--set", f"paste.{each}")]

    def synthesize(folder: Path) -> None:
        words = ["marsgen", "synthesize", "--generator", "copy-paste", "--data", "data.npz", "--n", "33", *settings]
        assert call(*words, "--out", str(folder)) == 0

    cut_everywhere(synthesize, tmp_path, keeps_names=keeps_names, stride=3)
