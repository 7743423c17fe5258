"""The systems of the report: each of its recipes trains, at toy size."""

import pytest

from marsgen.core.config import configs_folder, load_config
from marsgen.core.runs import Run
from segmenter.config import TrainConfig
from segmenter.inference.predict import load_segmenter
from segmenter.training.train import train

RECIPES = sorted((configs_folder() / "seed_report").glob("*.yaml"))
TINY = {
    "baseline": [],
    "unet": ["unet.width=4"],
    "marsseg": ["marsseg.width=8"],
    "encoder": ["encoder.name=tu-test_efficientnet", "encoder.weights=none", "encoder.decoder_channels=[8,8,8,8,4]"],
}


# what `make test` trains; that every recipe can be read is tested in test_configs.py
QUICK = "bce_dice_focal_groupnorm"


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, id=p.stem, marks=() if p.stem == QUICK else pytest.mark.slow) for p in RECIPES],
)
def test_each_recipe_trains_and_can_be_asked(path, simulated, make_dataset, tmp_path):
    network = load_config(TrainConfig, path).network
    quick = ["steps=2", "batch_size=2", "validate_every=2", "log_every=1", "precision=fp32"]
    config = load_config(TrainConfig, path, [*quick, *TINY[network]])
    run = Run.start(tmp_path / "run", "segmenter train", config, {})
    train(config, run, make_dataset(simulated(4), range(3), (3,)))
    run.close()
    losses = [line["train_loss"] for line in run.metrics() if "train_loss" in line]
    assert len(losses) == 2
    assert losses[0] != losses[1]
    assert load_segmenter(run.folder)[2]["network"]["network"] == network


def test_the_report_has_its_four_systems_and_its_future_work():
    assert {path.stem for path in RECIPES} >= {
        "single_convolution",
        "weighted_ce_dropout",
        "bce_dice_focal_groupnorm",
        "final_unet",
        "encoder_resnet",
        "encoder_efficientnet",
        "marsseg",
        "multi_scale",
    }
    for path in RECIPES:
        head = path.read_text().split("\nnetwork:")[0]
        assert f"--config configs/seed_report/{path.name}" in head
        assert "ublished" in head
