"""The other way to find what does not belong: scenes that a small autoencoder cannot draw again.

A network that has to squeeze every picture through a narrow middle learns what is common. What is rare, a foreign
picture on the ground among others, comes out blurred, so its error is large. But so is the error of rover parts, of
hard shadows and of every other strong contrast, which is why training leaves out what repeated label maps find
(scenes/outliers.py), and this here is only shown beside them.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from marsgen.cleaning.details import block_means
from marsgen.core.errors import RunError
from marsgen.core.progress import ProgressBar
from marsgen.scenes.scene import SceneSource
from marsgen.scenes.tensors import one_thread

PICTURE_SHAPE = (32, 64)
_BATCH_SIZE = 64
_LEARNING_RATE = 5e-3


class Autoencoder(nn.Module):
    """(B, 1, 32, 64) in [-1, 1] -> the same shape, through 2 x 2 x 4 numbers; 64 k weights."""

    def __init__(self, width: int = 32, bottleneck: int = 2) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            nn.PixelUnshuffle(4),  # (B, 16, 8, 16)
            nn.Conv2d(16, width, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),  # (B, 64, 4, 8)
            nn.ReLU(),
            nn.Conv2d(2 * width, bottleneck, 3, stride=2, padding=1),  # (B, 2, 2, 4)
        )
        self.decoder = nn.Sequential(
            nn.ConvTranspose2d(bottleneck, 2 * width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(2 * width, width, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(width, 16, 3, padding=1),
            nn.PixelShuffle(4),
        )

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        return self.decoder(self.encoder(pictures))


def shrink_scenes(scenes: SceneSource) -> np.ndarray:
    """(N, 32, 64) uint8 grey block means of all scenes; 2 kB of memory per scene, progress on stderr."""
    small = np.zeros((len(scenes), *PICTURE_SHAPE), np.uint8)
    for index in ProgressBar(range(len(scenes)), desc="shrink", unit=" scenes", leave=False):
        small[index] = np.rint(block_means(scenes.read(index)[0], *PICTURE_SHAPE))
    return small


def reconstruction_errors(pictures: np.ndarray, steps: int, seed: int) -> np.ndarray:
    """Train an autoencoder on all pictures and say how badly it draws each of them.

    Args:
        pictures: (N, 32, 64) uint8, N at least 1.
        steps: batches of up to 64 pictures.
        seed: same pictures, steps and seed, same errors, whatever the number of threads.
    Returns:
        (N,) float32 mean squared error in units where black is -1 and white 1.
    Raises:
        RunError: training diverged.
    """
    data = torch.from_numpy(pictures)[:, None].float().div(127.5).sub(1)
    with torch.random.fork_rng(devices=[]), one_thread():
        errors = _train_and_test(data, steps, seed)
    if not np.isfinite(errors).all():
        raise RunError("the autoencoder's loss became NaN; try another seed, or autoencoder_steps=0 to leave it out")
    return errors


def _train_and_test(data: torch.Tensor, steps: int, seed: int) -> np.ndarray:
    torch.manual_seed(seed)
    network = Autoencoder()
    optimizer = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _LEARNING_RATE, total_steps=steps)
    for step in ProgressBar(range(steps), desc="autoencoder", unit=" steps", leave=False):
        rng = np.random.default_rng([seed, step])
        batch = data[rng.choice(len(data), min(_BATCH_SIZE, len(data)), replace=False)]
        loss = F.mse_loss(network(batch), batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        return torch.cat([(network(part) - part).square().mean((1, 2, 3)) for part in data.split(256)]).numpy()


def flag_errors(errors: np.ndarray, spreads: float) -> np.ndarray:
    """Which errors are unusually large.

    Args:
        errors: (N,) positive.
        spreads: how far above the median of the log error a scene has to lie, in robust standard deviations (1.4826
            times the median absolute deviation, which outliers cannot stretch).
    Returns:
        (N,) bool; nothing is flagged where at least half of the errors are equal.
    """
    logs = np.log(errors.astype(np.float64) + 1e-12)
    distance = logs - np.median(logs)
    spread = 1.4826 * np.median(np.abs(distance))
    return distance > spreads * spread if spread > 0 else np.zeros(len(errors), bool)


def precision_and_recall(flagged: np.ndarray, truth: np.ndarray) -> tuple[float, float]:
    """Of (N,) bool `flagged`, the share that is in `truth`; of `truth`, the share that is flagged. NaN for 0 of 0."""
    both, found, wanted = (int(np.count_nonzero(chosen)) for chosen in (flagged & truth, flagged, truth))
    return both / found if found else float("nan"), both / wanted if wanted else float("nan")
