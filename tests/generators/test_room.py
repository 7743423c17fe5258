"""What a training of a generator takes on the disk is known before it begins: weights, checkpoints, image grids."""

import json
import shutil
from types import SimpleNamespace

import pytest
import torch

import marsgen as mg
from marsgen.core.errors import RunError
from marsgen.core.rehearsal import rehearse
from marsgen.core.storage.places import folder_bytes, on_disk
from marsgen.generators import find_networks, make_training_config
from marsgen.generators.room import room_of
from marsgen.scenes.sources import open_scenes

KINDS = {
    "pix2pix": {"generator_width": 16, "discriminator_width": 8, "batch_size": 2},
    "patch": {"kind": "pix2pix", "discriminator": "patch", "generator_width": 8, "batch_size": 2, "crop_px": 32},
    "diffusion": {"kind": "diffusion", "widths": [16, 32], "blocks": 1, "batch_size": 2, "crop_px": 32},
}


@pytest.mark.parametrize(
    "name", [*(pytest.param(n, marks=pytest.mark.slow) for n in ("pix2pix", "patch")), "diffusion"]
)
def test_weights_checkpoints_and_grids_are_counted(name, tiny_npz, tmp_path):
    settings = {"steps": 6, "checkpoint_every": 1, "sample_every": 3, **KINDS[name]}
    config = make_training_config(None, settings)
    room = room_of(config, open_scenes(str(tiny_npz)))
    begun = rehearse(lambda out: mg.train_generator(str(tiny_npz), out=out, config=config), config.kind, steps=2)
    checkpoint = begun.files["run/last.safetensors"]
    assert room.working == pytest.approx(2 * on_disk(checkpoint), rel=0.03)
    mg.train_generator(str(tiny_npz), out=tmp_path / "run", config=config)
    assert room.kept == pytest.approx(folder_bytes(tmp_path / "run"), rel=0.25)


def test_a_training_without_room_is_refused_before_its_folder_is_made(tiny_npz, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1_000_000))
    with pytest.raises(RunError, match=r"run: weights, checkpoints and image grids need about \d+\.\d MB and 1\.0 MB"):
        mg.train_generator(str(tiny_npz), out=tmp_path / "run", steps=2)
    assert not (tmp_path / "run").exists()


def test_the_command_says_it_in_a_line_of_json(tiny_npz, monkeypatch, capsys):
    from marsgen.cli import main

    words = ["train-generator", "--data", str(tiny_npz), "--set", "generator_width=4", "--disk-need", "--json"]
    monkeypatch.setattr("sys.argv", ["marsgen", *words])
    with pytest.raises(SystemExit, match="0"):
        main()
    (said,) = json.loads(capsys.readouterr().out.splitlines()[-1])["summaries"]
    room = room_of(make_training_config(None, {"generator_width": 4}), open_scenes(str(tiny_npz)))
    assert said == {"kept": room.kept, "working": room.working}


@pytest.mark.parametrize("discriminator", ["segmentation", "patch"])
def test_networks_of_which_only_the_sizes_are_asked_have_those_of_real_ones(discriminator):
    config = make_training_config(None, {"discriminator": discriminator})
    real = find_networks("pix2pix")(config, 4, 1)
    with torch.device("meta"):
        sizes = find_networks("pix2pix")(config, 4, 1)
    for network, size in zip(real, sizes, strict=True):
        assert sum(v.nbytes for v in network.state_dict().values()) == sum(v.nbytes for v in size.state_dict().values())
        assert sum(p.numel() for p in network.parameters()) == sum(p.numel() for p in size.parameters())
