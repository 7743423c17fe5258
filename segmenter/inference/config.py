"""Settings of everything that runs a trained network: `segmenter predict`, `pseudo-label`, `export`, evaluation."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from marsgen.core.config import BatchSize, Config, Side, build_config
from marsgen.scenes.limits import MIN_SIDE_PX, MOST_CHANNELS


class InferenceConfig(Config):
    """How a trained network predicts an image: test-time augmentation and windows; shared by several commands."""

    flip: bool = False
    """average the probabilities of each image and its mirror image; takes twice as long"""
    scales: tuple[Annotated[float, Field(ge=0.25, le=4)], ...] = Field((1.0,), min_length=1)
    """average the probabilities of each image resized by these factors; 2 takes four times as long as 1"""
    window: tuple[Side, Side] | None = None
    """height and width in pixels of overlapping windows, whose predictions are blended; a resized image that fits into
    one window is predicted whole. null = every image is, and one of more than 4.2 million pixels in windows of 1024 x
    1024 that overlap by a quarter"""
    overlap: float = Field(0.5, ge=0, lt=1)
    """fraction of a window that the next one covers too"""

    @model_validator(mode="after")
    def _consistent(self) -> "InferenceConfig":
        if self.window is not None and min(self.window) < MIN_SIDE_PX:
            raise ValueError(f"window {list(self.window)}: each side needs at least {MIN_SIDE_PX} pixels")
        if self.window is None and self.overlap != InferenceConfig.model_fields["overlap"].default:
            raise ValueError("overlap is set, but window is null, so nothing overlaps")
        return self

    @classmethod
    def of(cls, settings: dict[str, Any]) -> "InferenceConfig":
        """The inference settings among the keys of a stored config."""
        known = {key: settings[key] for key in InferenceConfig.model_fields if key in settings}
        return build_config(InferenceConfig, known, "settings")


class PredictConfig(InferenceConfig):
    """`segmenter predict`: inference settings and the output format."""

    listed_by = "`segmenter settings predict`"

    format: Literal["auto", "csv", "png"] = "auto"
    """png = indexed label maps; csv = one row per image: id, then the label id of every pixel; auto = csv for the
    course's npz (it has a test_set), else png"""
    probs: bool = False
    """also write the probability of each class at each pixel: probs/NAME.npz, for a GeoTIFF probs/NAME.tif"""
    overlay: bool = False
    """also write overlay/NAME.png: the picture under the colours of the classes"""
    bands: list[int] | None = Field(None, min_length=1, max_length=MOST_CHANNELS)
    """bands of a raster to read, counted from 1, as in `marsgen import`; null = as the training pictures were read"""
    range: list[float] | None = Field(None, min_length=2, max_length=2)
    """values of a raster that become 0 and 255, as in `marsgen import`; null = as the training pictures were read"""
    batch_size: BatchSize = 32
    """images per forward pass, at most; fewer where they would have more than 4.2 million pixels"""

    @model_validator(mode="after")
    def _pictures(self) -> "PredictConfig":
        if self.format == "csv" and (self.probs or self.overlay):
            raise ValueError("format is csv, which holds label ids only; set format=png for probs and overlay")
        return self


class PseudoLabelConfig(InferenceConfig):
    """`segmenter pseudo-label`: which predicted labels are kept for training."""

    listed_by = "`segmenter settings pseudo-label`"

    keep: float = Field(0.7, gt=0, le=1)
    """fraction of the pixels predicted as a class, over all pictures, that keep the label: the most confident ones of
    each class, with all ties. The others are ignored in training"""


class ExportConfig(Config):
    """`segmenter export`: the form of the file, and how closely it has to agree with torch."""

    listed_by = "`segmenter settings export`"

    to: Literal["onnx", "torch-export"] = "onnx"
    """onnx = for onnxruntime; torch-export = for torch.export.load"""
    int8: bool = False
    """onnx: also write model-int8.onnx, with convolutions in 8 bits"""
    scenes: int = Field(64, ge=1)
    """real scenes on which the exported network is compared with torch, and the cost of int8 measured"""
    calibration_scenes: int = Field(128, ge=1)
    """int8: real scenes whose activations give the ranges of the 8 bits"""
    tolerance: float = Field(1e-4, gt=0, lt=1)
    """a file whose probabilities differ more than this from those of torch is refused; int8 is exempt"""
    window: tuple[Side, Side] | None = None
    """stored in the file: windows with which it is to predict larger images, see `segmenter predict`; null = none"""
    overlap: float = Field(0.5, ge=0, lt=1)
    """stored in the file: fraction of a window that the next one covers too"""

    @model_validator(mode="after")
    def _consistent(self) -> "ExportConfig":
        if self.int8 and self.to != "onnx":
            raise ValueError(f"int8 is set, but to is {self.to}; it is for onnx")
        if self.window is not None and min(self.window) < MIN_SIDE_PX:
            raise ValueError(f"window {list(self.window)}: each side needs at least {MIN_SIDE_PX} pixels")
        if self.window is None and self.overlap != ExportConfig.model_fields["overlap"].default:
            raise ValueError("overlap is set, but window is null, so nothing overlaps")
        if not self.int8 and self.calibration_scenes != ExportConfig.model_fields["calibration_scenes"].default:
            raise ValueError("calibration_scenes is set, but int8 is false, which does not read it")
        return self
