"""Settings of `segmenter train`; configs/segmenter.yaml holds the defaults."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from marsgen.core.config import MOST_STEPS, BatchSize, Config, DataConfig, Seed, Side, Steps
from marsgen.core.errors import ConfigError, nearest
from marsgen.core.tracking import TrackerName
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.limits import MIN_SIDE_PX
from segmenter.networks.config import NetworkConfig

Fraction = Annotated[float, Field(ge=0, le=1)]


class LossConfig(Config):
    """Weight of each term in the training loss; at least one is above 0."""

    cross_entropy: float = Field(1.0, ge=0)
    """cross-entropy with class weights (see class_weights)"""
    bce: float = Field(0.0, ge=0)
    """binary cross-entropy of each class against the rest, mean over classes; a pixel has the weight of its class"""
    dice: float = Field(0.0, ge=0)
    """1 - Dice coefficient of the batch, mean over classes"""
    focal: float = Field(0.0, ge=0)
    """focal loss (gamma 2) of each class against the rest, mean over classes"""
    weighted: tuple[Literal["dice", "focal"], ...] = ()
    """which of dice and focal use class weights; cross_entropy and bce always do"""

    @model_validator(mode="after")
    def _has_a_term(self) -> "LossConfig":
        if self.cross_entropy + self.bce + self.dice + self.focal <= 0:
            raise ValueError("all four terms are 0; at least one of cross_entropy, bce, dice, focal has to be above 0")
        for term in self.weighted:
            if not getattr(self, term):
                raise ValueError(f"weighted names {term}, but {term} is 0; give it a weight or remove it from weighted")
        return self


class AugmentConfig(Config):
    """Random transforms of training windows; an amount of 0 turns a transform off."""

    flip: float = Field(0.5, ge=0, le=1)
    """probability of a left-right flip"""
    brightness: float = Field(0.2, ge=0, lt=1)
    """images are multiplied by a factor within 1 +- this"""
    contrast: float = Field(0.2, ge=0, lt=1)
    """distances from the mean brightness are multiplied by a factor within 1 +- this"""
    saturation: float = Field(0.0, ge=0, lt=1)
    """colours are blended with their grey value by a factor within 1 +- this; nothing happens to grey scenes"""
    hue: float = Field(0.0, ge=0, le=0.5)
    """hues are turned by up to this share of the colour circle either way; nothing happens to grey scenes"""
    gamma: float = Field(0.0, ge=0, le=4)
    """images are raised to a power between 1 / (1 + this) and 1 + this"""
    blur: float = Field(0.0, ge=0, le=5)
    """images are blurred by a Gaussian of up to this standard deviation in pixels"""
    noise: float = Field(0.0, ge=0, lt=1)
    """normal noise of up to this standard deviation is added; 1 = the range from black to white"""
    scale: float = Field(0.1, ge=0, lt=1)
    """windows are enlarged or shrunk by a factor within 1 +- this"""
    rotate: float = Field(0.0, ge=0, le=180)
    """windows are turned by up to this many degrees either way"""
    translate: float = Field(0.05, ge=0, lt=1)
    """windows are shifted by up to this fraction of their sides"""
    windows_per_transform: int = Field(4, ge=1)
    """neighbouring windows that share one random transform; 1 varies most and is slowest"""


RARE_FRACTION = 0.25
"""of each batch where `rare_fraction` is null: every study on Mars gains by it, docs/results.md. A class that so many
scenes show gains nothing, docs/results/turns"""

EXTRA_STEPS = (0.4, 1.0)
"""where `extra_steps` is null: pasted scenes in all steps score lower on Mars and on CamVid, docs/results/donors and
late_camvid"""


class TrainConfig(NetworkConfig):
    """`segmenter train`: network, data, loss, optimizer, and which step is kept."""

    listed_by = "`segmenter settings train`"

    seed: Seed = 0
    """of initial weights, order of scenes and augmentation"""
    data: DataConfig = DataConfig()

    steps: Steps = 1600
    """optimizer steps; the same number with and without extra scenes"""
    batch_size: BatchSize = 16
    """scenes per step; extra scenes replace real ones, they do not enlarge the batch"""
    crop: tuple[Side, Side] | None = None
    """height and width in pixels of training windows; null = whole scenes, 256 x 256 where they have more pixels than
    512 x 512, and 128 x 128 where sizes differ. A smaller scene is padded, and the padding ignored"""
    scales: tuple[Annotated[float, Field(ge=0.25, le=4)], ...] = Field((1.0,), min_length=1)
    """the windows of a batch are resized by one of these factors, chosen at random in each step; 2 costs four
    times as much as 1"""
    extra_fraction: float = Field(0.25, gt=0, le=1)
    """fraction of each batch that comes from the --extra folders; each of their scenes is used equally often. At 1,
    real scenes only choose the checkpoint"""
    rare_fraction: float | None = Field(None, ge=0, lt=1)
    """fraction of each batch taken from real scenes that show a rare class, several rare classes in turns; the rest
    comes from all real scenes. 0 = scenes as they come; null = 0.25, or what extra_fraction leaves of a batch, for the
    rare classes that fewer than a quarter of the training scenes show, and 0 where there is none"""
    extra_steps: tuple[Fraction, Fraction] | None = None
    """between which fractions of the steps batches hold extra scenes: [0, 1] = always; [0, 0.6] = real scenes alone at
    the end (synthetic first, real last; arXiv 2308.04553); [0.6, 1] = real scenes alone at the beginning, which
    runs with different extra scenes can share (`fork_at`); null = [0.4, 1], and [0, 1] where extra_fraction is 1"""
    fork_at: float | None = Field(None, gt=0, lt=1)
    """keep the state after this fraction of the steps, so that runs with extra scenes from there on can start from it
    (--fork) instead of from nothing; null = none. It changes no byte of the run's result"""
    augment: AugmentConfig = AugmentConfig()

    loss: LossConfig = LossConfig()
    class_weights: Literal["frequency", "iou"] = "frequency"
    """frequency = fixed, from the pixels of the training scenes; iou = 1 / (IoU + class_weight_offset), with the IoU of
    each class over about the last hundred training batches"""
    class_weight_power: float = Field(0.5, ge=0, le=2)
    """frequency: class weights are (1 / frequency) to this power; 1 = inverse frequency, 0 = all equal"""
    class_weight_offset: float = Field(0.1, gt=0)
    """iou: the smaller it is, the larger the weight of a class that is not found at all"""
    class_weight_max: float = Field(0.0, ge=0)
    """upper bound of a class weight, as a multiple of the most frequent class's; 0 = no bound"""

    lr: float = Field(3e-3, gt=0)
    """peak learning rate of AdamW"""
    warmup_steps: int = Field(100, ge=0, le=MOST_STEPS)
    """steps of linear warm-up to the peak; then cosine decay to 0"""
    weight_decay: float = Field(1e-2, ge=0)
    """weight decay of AdamW"""
    ema_decay: float = Field(0.99, ge=0, lt=1)
    """an exponential moving average of the weights with this decay per step is validated and kept; 0 = the weights
    themselves"""

    log_every: int = Field(20, ge=1)
    """steps between logged training losses"""
    validate_every: int = Field(200, ge=1)
    """steps between validations; the checkpoint that a repeated command resumes from is saved then too"""
    best_metric: str = "mean_iou"
    """the validation score that chooses the kept weights: mean_iou, loss, or iou_NAME of one class"""
    calibrate: float | None = Field(None, gt=0)
    """after training, shift the logit of each rare class until its fraction of the predicted pixels on the validation
    scenes is this many times its fraction of the training labels. It corrects the over-prediction that oversampling and
    pasting cause. 1 = new scenes are like the training scenes; above 1 where they show the class more often; null = no
    shift"""
    patience: int = Field(0, ge=0)
    """stop after this many validations in a row without a better best_metric; 0 = never"""
    track: TrackerName | None = None
    """show losses, scores and validation pictures in tensorboard, wandb, mlflow or trackio too; it changes no byte of
    the result"""

    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """auto = bf16 where the GPU or CPU computes in it, else fp32"""
    cuda_graph: bool = True
    """on one GPU, run forward and backward pass as CUDA graphs, which is faster for small networks. No effect where
    `scales` names several or the U-Net has dropout; set false for an encoder that cannot be captured, such as one that
    reads values back from the GPU"""
    workers: int = Field(0, ge=0, le=256)
    """processes that prepare batches; 0 = the training process itself"""

    @model_validator(mode="after")
    def _consistent(self) -> "TrainConfig":
        unread = "class_weight_offset" if self.class_weights == "frequency" else "class_weight_power"
        if getattr(self, unread) != type(self).model_fields[unread].default:
            raise ValueError(f"{unread} is set, but class_weights is {self.class_weights}, which does not read it")
        if self.void_weight and self.class_weights == "iou":
            raise ValueError("void_weight is set, but class_weights is iou, which sets the weight of that output too")
        if self.void_weight and (self.loss.bce or self.loss.dice or self.loss.focal):
            raise ValueError("void_weight is set, but bce, dice and focal do not read it; it needs cross_entropy alone")
        if self.steps_with_extra[0] >= self.steps_with_extra[1]:
            raise ValueError(
                f"extra_steps {list(self.extra_span)} of {self.steps} steps hold no step; the first has to be "
                "below the second"
            )
        if self.void_weight and self.extra_fraction == 1:
            raise ValueError("void_weight is set, but extra_fraction is 1, so no real scene is drawn")
        if self.rare_fraction and self.extra_fraction + self.rare_fraction > 1:
            raise ValueError(
                f"extra_fraction {self.extra_fraction} and rare_fraction {self.rare_fraction} are more than a batch"
            )
        if self.crop is not None and min(self.crop) < MIN_SIDE_PX:
            raise ValueError(f"crop {list(self.crop)}: each side needs at least {MIN_SIDE_PX} pixels")
        return self

    @property
    def most_rare(self) -> float:
        """`rare_fraction` of data that show a rare class."""
        return self.rare_fraction if self.rare_fraction is not None else min(RARE_FRACTION, 1 - self.extra_fraction)

    @property
    def extra_span(self) -> tuple[float, float]:
        """`extra_steps`, or what stands for null."""
        if self.extra_steps is not None:
            return self.extra_steps
        return EXTRA_STEPS if self.extra_fraction < 1 else (0.0, 1.0)

    @property
    def steps_with_extra(self) -> tuple[int, int]:
        """(first, last): batches of the steps first+1..last hold extra scenes."""
        return self._step_of(self.extra_span[0]), self._step_of(self.extra_span[1])

    @property
    def fork_step(self) -> int | None:
        """The step after which the state is kept for other runs; None = no such."""
        return None if self.fork_at is None else self._step_of(self.fork_at)

    def _step_of(self, fraction: float) -> int:
        return round(fraction * self.steps)


def refuse_unknown_metric(config: TrainConfig, classes: ClassSet, where: str) -> None:
    """Refuse a `best_metric` that is no score of these classes, and a calibration without a rare class.

    Args:
        where: the data, for the message.
    Raises:
        ConfigError: see above.
    """
    known = ["mean_iou", "loss", *(f"iou_{name}" for name in classes.names)]
    if config.best_metric not in known:
        hint = nearest(config.best_metric, known)
        raise ConfigError(f"best_metric is '{config.best_metric}'{hint}; measured are {', '.join(known)}")
    if config.calibrate and not classes.rare:
        raise ConfigError(
            f"calibrate is {config.calibrate:g}, but {where} names no rare class; name one under "
            "`rare` in its classes file, or leave calibrate null"
        )
