"""Settings of the trainings of `marsgen train-generator`, and of the export of what they trained."""

from typing import Literal

from pydantic import Field, model_validator

from marsgen.core.config import MOST_SIDE_PX, MOST_STEPS, BatchSize, Config, DataConfig, Seed, Steps
from marsgen.core.tracking import TrackerName


class TrainPix2PixConfig(Config):
    """`marsgen train-generator`; configs/train-generator.yaml has the same keys."""

    listed_by = "`marsgen settings train-generator`"

    kind: Literal["pix2pix"] = "pix2pix"
    """which generator to train; copy-paste needs no training"""
    seed: Seed = 0
    """of initial weights, order of scenes, inpainting masks and noise"""
    data: DataConfig = DataConfig()
    steps: Steps = 1200
    """optimizer steps of each network"""
    batch_size: BatchSize | None = None
    """windows per step, over all processes; null = so many that a step has about 131,000 pixels, 8 to 32"""
    crop_px: int | None = Field(None, ge=32, le=MOST_SIDE_PX)
    """longer sides of a scene are cropped to this, at a random position; null = 128 where no side is longer, else so
    much that nine in ten regions of the rare classes fit with their surroundings, 64 to 128"""
    rare_fraction: float = Field(0.3, ge=0, le=1)
    """fraction of the windows taken from scenes that show a rare class; the rest from all scenes"""
    scene_fraction: float = Field(0.5, ge=0, le=1)
    """fraction of the windows generated whole, from the label map alone; the others have an inpainting mask with a soft
    edge"""
    discriminator: Literal["segmentation", "patch"] = "segmentation"
    """segmentation: it predicts the class of each real pixel, or "fake" (OASIS); patch: real or fake, patch by patch
    (PatchGAN)"""
    generator_width: int = Field(32, ge=4)
    """channels of the generator at its finest scale"""
    discriminator_width: int = Field(20, ge=4)
    """channels of the discriminator at its finest scale"""
    generator_lr: float = Field(3e-4, gt=0)
    """Adam step size of the generator"""
    discriminator_lr: float = Field(4e-4, gt=0)
    """Adam step size of the discriminator; larger than the generator's (two time-scale rule, Heusel et al. 2017,
    arXiv:1706.08500)"""
    beta2: float = Field(0.99, gt=0, lt=1)
    """Adam's second moment decay; the first is 0, as usual for GANs"""
    decay_fraction: float = Field(0.4, ge=0, le=1)
    """the step sizes decay linearly to 0 over this last fraction of the steps"""
    adversarial_weight: float = Field(1.0, ge=0)
    """weight of the adversarial loss"""
    feature_weight: float = Field(2.0, ge=0)
    """weight of the feature matching loss"""
    l1_weight: float = Field(1.0, ge=0)
    """weight of the L1 loss on labelled pixels; larger values blur textures"""
    augmentation: float = Field(1.0, ge=0, le=1)
    """strength of the differentiable augmentation in front of the discriminator; 0 = none"""
    ema_decay: float = Field(0.999, ge=0, lt=1)
    """an exponential moving average of the weights with this decay per step is kept"""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto = bf16 where the GPU or CPU has instructions for it, else fp32"""
    log_every: int = Field(50, ge=1)
    """steps between lines in metrics.jsonl"""
    sample_every: int = Field(500, ge=1)
    """steps between image grids under samples/"""
    checkpoint_every: int = Field(250, ge=1)
    """steps between checkpoints; a killed run repeats at most this many steps"""
    track: TrackerName | None = None
    """show losses and image grids in tensorboard, wandb, mlflow or trackio too; it changes no byte of the result"""


class TrainDiffusionConfig(Config):
    """`marsgen train-generator --kind diffusion`; configs/diffusion.yaml has the same keys."""

    listed_by = "`marsgen settings diffusion`"

    kind: Literal["diffusion"] = "diffusion"
    """which generator to train"""
    seed: Seed = 0
    """of initial weights, order of scenes, inpainting masks, noise and noise levels"""
    data: DataConfig = DataConfig()
    steps: Steps = 6000
    """optimizer steps"""
    batch_size: BatchSize = 32
    """windows per step, over all processes"""
    crop_px: int = Field(64, ge=32, le=MOST_SIDE_PX)
    """longer sides of a scene are cropped to this, at a random position"""
    rare_fraction: float = Field(0.3, ge=0, le=1)
    """fraction of the labelled windows taken from scenes that show a rare class; the rest from all scenes"""
    scene_fraction: float = Field(0.5, ge=0, le=1)
    """fraction of the windows generated whole, from the label map alone; the others have an inpainting mask with a soft
    edge"""
    unlabelled_fraction: float = Field(0.2, ge=0, lt=1)
    """fraction of the windows from unlabelled images, where there are any (an npz's test_set, --unlabelled)"""
    label_dropout: float = Field(0.1, ge=0, lt=1)
    """fraction of the labelled windows whose label map is hidden: the null condition of classifier-free guidance"""
    widths: tuple[int, ...] = Field((32, 64, 128), min_length=1)
    """channels of each scale, finest first; each further scale halves height and width"""
    blocks: int = Field(2, ge=1)
    """residual blocks per scale, in encoder and decoder each"""
    fold: Literal[1, 2, 4, 8] = 2
    """side of the pixel squares that the finest scale folds into channels; 4 or 8 for scenes of 256 px and more"""
    lr: float = Field(1e-3, gt=0)
    """peak learning rate of AdamW"""
    warmup_steps: int = Field(200, ge=0, le=MOST_STEPS)
    """steps of linear warm-up"""
    decay_fraction: float = Field(0.5, ge=0, le=1)
    """linear decay to 0 over this last fraction of the steps"""
    noise_mean: float = 0.0
    """mean of the normal distribution whose sigmoid gives the noise levels (logit-normal, Esser et al. 2024,
    arXiv:2403.03206); above 0 favours composition, below 0 fine texture"""
    noise_spread: float = Field(1.0, gt=0)
    """standard deviation of that normal distribution"""
    ema_decay: float = Field(0.999, ge=0, lt=1)
    """an exponential moving average of the weights with this decay per step is kept"""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto = bf16 where the GPU or CPU has instructions for it, else fp32"""
    log_every: int = Field(50, ge=1)
    """steps between lines in metrics.jsonl"""
    sample_every: int = Field(1000, ge=1)
    """steps between image grids under samples/"""
    checkpoint_every: int = Field(250, ge=1)
    """steps between checkpoints; a killed run repeats at most this many steps"""
    track: TrackerName | None = None
    """show losses and image grids in tensorboard, wandb, mlflow or trackio too; it changes no byte of the result"""

    @model_validator(mode="after")
    def _check_widths(self) -> "TrainDiffusionConfig":
        if min(self.widths) < 4:
            raise ValueError(f"widths {list(self.widths)}: at least 4 channels in every scale")
        if self.fold * 2 ** (len(self.widths) - 1) > 32:
            raise ValueError(
                f"fold {self.fold} and {len(self.widths)} widths shrink a picture "
                f"{self.fold * 2 ** (len(self.widths) - 1)} times; at most 32, the smallest side of a scene"
            )
        return self


class TrainDistilledConfig(Config):
    """`marsgen train-generator --kind distilled`; configs/distilled.yaml has the same keys."""

    listed_by = "`marsgen settings distilled`"

    kind: Literal["distilled"] = "distilled"
    """a diffusion generator that draws in one or two steps what its teacher (--teacher) draws in many"""
    seed: Seed = 0
    """of the order of scenes, inpainting masks, noise and noise levels"""
    data: DataConfig | None = None
    """cleaning and split of the data; null = as the teacher was trained"""
    sampling_steps: Literal[1, 2] = 1
    """steps from pure noise to a picture, the only number that it then draws with"""
    teacher_steps: int | None = Field(None, ge=1, le=100)
    """steps of the teacher that one of these replaces; null = as many as its own number makes of it"""
    guidance: float | None = Field(None, ge=0, le=20)
    """of the teacher; it becomes part of the weights and is no setting afterwards. null = the teacher's default"""
    steps: Steps = 500
    """optimizer steps"""
    batch_size: BatchSize = 32
    """windows per step, over all processes"""
    crop_px: int = Field(64, ge=32, le=MOST_SIDE_PX)
    """longer sides of a scene are cropped to this, at a random position"""
    rare_fraction: float = Field(0.3, ge=0, le=1)
    """fraction of the windows taken from scenes that show a rare class; the rest from all scenes"""
    scene_fraction: float = Field(0.5, ge=0, le=1)
    """fraction of the windows drawn whole, from the label map alone; the others have an inpainting mask with a soft
    edge"""
    lr: float = Field(1e-3, gt=0)
    """peak learning rate of AdamW"""
    warmup_steps: int = Field(20, ge=0, le=MOST_STEPS)
    """steps of linear warm-up"""
    decay_fraction: float = Field(0.5, ge=0, le=1)
    """linear decay to 0 over this last fraction of the steps"""
    ema_decay: float = Field(0.99, ge=0, lt=1)
    """an exponential moving average of the weights with this decay per step is kept"""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto = bf16 where the GPU or CPU has instructions for it, else fp32"""
    log_every: int = Field(50, ge=1)
    """steps between lines in metrics.jsonl"""
    sample_every: int = Field(250, ge=1)
    """steps between image grids under samples/"""
    checkpoint_every: int = Field(100, ge=1)
    """steps between checkpoints; a killed run repeats at most this many steps"""
    track: TrackerName | None = None
    """show losses and image grids in tensorboard, wandb, mlflow or trackio too; it changes no byte of the result"""


class ExportGeneratorConfig(Config):
    """`marsgen export GENERATOR --to onnx`."""

    listed_by = "`marsgen settings onnx`"

    to: Literal["onnx"] = "onnx"
    """the form of the file"""
    scenes: int = Field(16, ge=1)
    """real scenes on which pictures of the exported generator are compared with those of torch"""
    tolerance: float = Field(0.1, gt=0, le=255)
    """a file whose pictures differ more than this, in grey levels of 255, is refused"""
