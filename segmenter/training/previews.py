"""What the network at hand makes of a few validation scenes, to look at while it is trained."""

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from marsgen.cleaning.dataset import Dataset
from marsgen.scenes.tensors import image_tensor
from segmenter.inference.sliding_window import predict_whole

SHOWN = 4
"""scenes in a picture, one below the other"""
_GAP_PX = 4


@torch.inference_mode()
def draw_validation(network: nn.Module, dataset: Dataset, accelerator: Accelerator) -> np.ndarray:
    """Picture | label map | prediction of a few validation scenes, whole.

    Args:
        network: left in training mode, as `validate` leaves it.
    Returns:
        (H, W, 3) uint8; black around scenes that are smaller than others.
    """
    network.eval()
    classes, rows = dataset.scenes.classes, []
    for index in dataset.val_scenes_to_show(SHOWN):
        scene = dataset.scenes[index]
        image = image_tensor(scene.image[None]).to(accelerator.device)
        with accelerator.autocast():
            logits = predict_whole(network, image.contiguous(memory_format=torch.channels_last))[:, : len(classes)]
        predicted = classes.paint(classes.to_ids(logits.argmax(1)[0].cpu().numpy().astype(np.uint8)))
        shown = np.broadcast_to(classes.show(scene.image), predicted.shape)
        parts = (shown, classes.paint(scene.labels), predicted)
        rows.append(np.hstack([np.pad(part, ((0, _GAP_PX), (0, _GAP_PX), (0, 0))) for part in parts]))
    network.train()
    width = max(row.shape[1] for row in rows)
    return np.vstack([np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0))) for row in rows])
