"""Settings of the commands of marsgen that train nothing, read before the modules of the command are imported."""

from typing import Literal

from pydantic import Field

from marsgen.core.config import MOST_STEPS, Config, DataConfig, Seed
from marsgen.quality.config import MeasureConfig
from marsgen.scenes.limits import MIN_SIDE_PX


class InspectConfig(Config):
    """Settings of `marsgen inspect`."""

    listed_by = "`marsgen settings inspect`"

    data: DataConfig = DataConfig()
    """as a training command would use the data"""
    seed: Seed = 0
    """seed of the autoencoder and of the choice of pictures"""
    autoencoder_steps: int = Field(200, ge=0, le=MOST_STEPS)
    """training steps of the autoencoder, 64 scenes each; 0 = no autoencoder"""
    autoencoder_spreads: float = Field(1.5, gt=0)
    """a scene is unusual when the log of its error lies this many robust standard deviations above the median"""
    pictures: int = Field(12, ge=1, le=200)
    """most pictures in each part of the page"""


class PreviewConfig(Config):
    """Settings of `marsgen preview`."""

    listed_by = "`marsgen settings preview`"

    rows: int = Field(6, ge=1, le=100)
    """scenes on each sheet: validation scenes, which no generator is trained on, with regions pasted into them"""
    strengths: tuple[float, ...] = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    """columns of strength.png"""
    guidances: tuple[float, ...] = (1.0, 1.5, 2.0, 3.0, 5.0)
    """columns of guidance.png, for a generator that can be guided"""
    variants: int = Field(4, ge=2, le=20)
    """pictures of one label map with different noise, in scenes.png"""
    seed: Seed = 0
    """seed of plans and noise"""
    data: DataConfig | None = None
    """cleaning and split of the data; null = as the generator was trained"""


class ExportConfig(Config):
    """Settings of `marsgen export`."""

    listed_by = "`marsgen settings export`"

    to: Literal["png", "webdataset", "parquet", "hf", "coco", "yolo", "nnunet"] = "png"
    """png: images/ and labels/; webdataset: tars of NAME.image.png, NAME.label.png, NAME.json; parquet: columns name,
    image, labels (PNG bytes), manifest (json); hf: a folder for `datasets.load_dataset`; coco: annotations.json with
    run-length masks; yolo: outlines; nnunet: raw data of nnU-Net v2"""
    background: str = "background"
    """coco and yolo: the class that is what no object covers; "" = all classes become objects. nnunet: id 0"""
    scenes_per_file: int = Field(10_000, ge=1)
    """webdataset, parquet and hf: pairs in every file but the last"""
    gain: str = ""
    """what training on the set gained, in words, for its data card; "" = none was measured"""


class ScoreConfig(MeasureConfig):
    """Settings of `marsgen score`."""

    listed_by = "`marsgen settings score`"

    data: DataConfig | None = None
    """cleaning and split of the real data; null = as the set was made with"""
    max_samples: int = Field(2000, ge=8)
    """most synthetic samples that are looked at, evenly spaced over the set"""
    pictures: int = Field(12, ge=1, le=200)
    """most pictures in each section of the page"""


class PlaygroundConfig(Config):
    """Settings of `marsgen playground`."""

    listed_by = "`marsgen settings playground`"

    scenes: int = Field(24, ge=1, le=1000)
    """real scenes to paint on; those of a rare class first"""
    part: Literal["val", "train"] = "val"
    """val: scenes that no generator is trained on, to see what it makes of new ones; train: what is drawn of their maps
    may join training"""
    regions: int = Field(24, ge=0, le=1000)
    """real regions of rare classes to stamp, of the training part"""
    side_px: int = Field(256, ge=MIN_SIDE_PX, le=2048)
    """larger scenes are cut to this in their middle: a browser draws them in a moment then"""
    thumbnail_px: int = Field(96, ge=16, le=512)
    """longer side of the pictures of a set in the overview"""
    comparison_px: int = Field(256, ge=16, le=2048)
    """longer side of the pictures on which predictions are compared"""
    data: DataConfig | None = None
    """cleaning and split of the data; null = as the generator was trained"""


class DemoConfig(Config):
    """Settings of `marsgen demo`. The networks are those of configs/tiny/."""

    listed_by = "`marsgen settings demo`"

    scenes: int = Field(300, ge=60)
    """simulated scenes of 64 x 64 pixels to train on, three in twenty with a big rock"""
    test_scenes: int = Field(200, ge=30)
    """simulated scenes of another seed to test on, one in three with a big rock"""
    pairs: int = Field(200, ge=1)
    """synthetic pairs to make"""
    seeds: int = Field(2, ge=1)
    """trainings of each arm; with fewer than 3 the intervals say little"""
