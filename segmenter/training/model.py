"""What is trained: the network with its initial weights, the optimizer's parameter groups, and the loss."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import nn

from marsgen.cleaning.counts import class_weights
from marsgen.cleaning.dataset import Dataset
from marsgen.core.storage.places import Room, on_disk
from segmenter.networks.build import build_network
from segmenter.networks.encoder import EncoderUNet, load_pretrained
from segmenter.training.config import TrainConfig
from segmenter.training.distributed import convert_dropout
from segmenter.training.losses import SegmentationLoss, cap_class_weights

_SEEN_BYTES = 160
"""a scene in split.json: key and fingerprint"""
_LINE_BYTES = 90
"""a step in metrics.jsonl"""
_SMALL_FILES = 4
"""settings, environment and summary, less than a block each"""


def init_network(config: TrainConfig, channels: int, num_classes: int) -> tuple[nn.Module, dict[str, str] | None]:
    """A network with random weights of `config.seed`; torch's global random state is restored afterwards.

    Returns:
        the network, and what its encoder starts from (`load_pretrained`), None where all weights are random.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        network = build_network(config, channels, num_classes)
    pretrained = None
    if isinstance(network, EncoderUNet):
        pretrained = load_pretrained(network, config.encoder, channels)
    return convert_dropout(network).to(memory_format=torch.channels_last), pretrained


def room_of(config: TrainConfig, channels: int, num_classes: int, scenes: int) -> Room:
    """What a training takes on the disk: weights, checkpoints, the record of what it has seen.

    Args:
        scenes: real and extra ones.
    """
    with torch.device("meta"):  # takes no memory
        network = build_network(config, channels, num_classes)
    weights = _size(network.state_dict().values())
    moments = 2 * _size(weight for group in group_parameters(network, config) for weight in group["params"])
    checkpoint = on_disk(weights * (2 if config.ema_decay else 1) + moments)
    forked = on_disk(weights) + checkpoint if config.fork_at else 0
    lines = on_disk(_LINE_BYTES * (config.steps // config.log_every))
    kept = on_disk(weights) + forked + lines + on_disk(_SEEN_BYTES * scenes) + _SMALL_FILES * on_disk(1)
    return Room(kept, 2 * checkpoint)


def _size(tensors: Iterable[torch.Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def group_parameters(network: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """The optimizer's parameter groups, each with its factor on the learning rate; a frozen encoder is in none."""
    if not isinstance(network, EncoderUNet):
        return [{"params": list(network.parameters()), "lr_factor": 1.0}]
    encoder = {id(parameter) for parameter in network.encoder.parameters()}
    rest = [parameter for parameter in network.parameters() if id(parameter) not in encoder]
    groups: list[dict[str, Any]] = [{"params": rest, "lr_factor": 1.0}]
    if not network.freeze:
        groups.append({"params": list(network.encoder.parameters()), "lr_factor": config.encoder.lr_factor})
    return groups


def build_loss(config: TrainConfig, dataset: Dataset) -> SegmentationLoss:
    """The loss with the class weights of the train part, and that of unlabelled pixels where `config.void_weight`."""
    weights = class_weights(dataset.survey.pixels[list(dataset.split.train)], config.class_weight_power)
    weights = cap_class_weights(weights, config.class_weight_max)
    if config.void_weight:
        weights = np.append(weights, np.float32(config.void_weight) * weights.min())
    iou_offset = config.class_weight_offset if config.class_weights == "iou" else None
    return SegmentationLoss(config.loss, weights, iou_offset, config.class_weight_max)
