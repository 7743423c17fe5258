"""Training speed of our default segmenter beside segmentation_models_pytorch's U-Net, and what both have learned.

    python benchmarks/training.py
    python benchmarks/training.py --data mars_for_students.npz --steps 400 --seeds 0 1 2

The peer is smp.Unet as it comes (encoder resnet34), for one channel and four classes. A step is forward, weighted
cross-entropy, backward and AdamW on a batch of 16 random pictures of 64 x 128 in memory; preparing batches is not
counted. Our loop takes a fused AdamW; the peer is measured with torch's default one and with a fused one. All take
turns in one process, so that other work on the machine meets all, and on a CPU its seconds are counted, not those of
the clock. The ratio of each turn is printed as median, smallest and largest.

With --data, both are trained by our loop with the settings of configs/segmenter.yaml for equally many steps, on the
same batches, and the best mean IoU on the validation scenes is printed for each seed. The peer may have a learning rate
of its own (--peer-lr). Its encoder is drawn at random unless --weights names some (see `encoder.weights`); ours always
is.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import segmentation_models_pytorch as smp
import torch
from torch import nn

from marsgen.cleaning.dataset import open_dataset
from marsgen.core.runs import Run
from segmenter.config import LossConfig, TrainConfig
from segmenter.training.losses import SegmentationLoss
from segmenter.training.model import init_network
from segmenter.training.train import train

BATCH, SHAPE, CLASSES = 16, (64, 128), 4
PEER_DECODER = (256, 128, 64, 32, 16)
"""decoder_channels of smp.Unet where none are given"""


class Trainer:
    """A network and its optimizer, ready for steps on one batch."""

    def __init__(self, network: nn.Module, device: torch.device, fused: bool) -> None:
        self.device = device
        self.clock = time.perf_counter if device.type == "cuda" else time.process_time
        self.network = network.to(device, memory_format=torch.channels_last).train()
        self.optimizer = torch.optim.AdamW(self.network.parameters(), lr=1e-3, fused=fused)
        self.loss_fn = SegmentationLoss(LossConfig(), np.ones(CLASSES, np.float32)).to(device)
        stream = torch.Generator().manual_seed(0)
        images = torch.rand(BATCH, 1, *SHAPE, generator=stream) * 2 - 1
        self.images = images.to(device).contiguous(memory_format=torch.channels_last)
        self.labels = torch.randint(CLASSES, (BATCH, *SHAPE), generator=stream).to(device)

    def seconds(self, steps: int) -> float:
        """How long that many steps take."""
        self._finish()
        start = self.clock()
        for _ in range(steps):
            self.loss_fn(self.network(self.images), self.labels).backward()
            self.optimizer.step()
            self.optimizer.zero_grad()
        self._finish()
        return self.clock() - start

    def _finish(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def measure_speed(rounds: int, steps: int) -> None:
    """Print images/s of both and the ratio."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    trainers = {"ours": Trainer(init_network(TrainConfig(), 1, CLASSES)[0], device, fused=True)}
    for name, fused in (("smp.Unet", False), ("smp.Unet, fused AdamW", True)):
        trainers[name] = Trainer(smp.Unet(encoder_weights=None, in_channels=1, classes=CLASSES), device, fused)
    for trainer in trainers.values():
        trainer.seconds(1)  # warm-up
    turns = [[trainer.seconds(steps) for trainer in trainers.values()] for _ in range(rounds)]
    for (name, trainer), seconds in zip(trainers.items(), zip(*turns, strict=True), strict=True):
        size = sum(parameter.numel() for parameter in trainer.network.parameters())
        speed = BATCH * steps / statistics.median(seconds)
        ratios = [theirs / turn[0] for theirs, turn in zip(seconds, turns, strict=True)]
        beside = f"{statistics.median(ratios):.2f} times as long as ours, {min(ratios):.2f} to {max(ratios):.2f}"
        print(
            f"{name}: {speed:.1f} images/s, {size / 1e6:.2f} M parameters" + (f", {beside}" if name != "ours" else "")
        )
    print(f"{rounds} turns of {steps} steps on {device.type}, {torch.get_num_threads()} threads")


def measure_learning(data: str, steps: int, seeds: Sequence[int], weights: str, peer_lr: float) -> None:
    """Print the best validation mean IoU of both after equally many steps."""
    common = {"steps": steps, "validate_every": max(steps // 4, 1), "warmup_steps": min(100, steps // 4)}
    encoder = {"name": "resnet34", "weights": weights, "decoder_channels": PEER_DECODER, "lr_factor": 1.0}
    peers: dict[str, dict] = {"ours": {}, "smp.Unet": {"network": "encoder", "encoder": encoder, "lr": peer_lr}}
    dataset = open_dataset(data, TrainConfig().data)
    scores: dict[str, list[float]] = {name: [] for name in peers}
    for seed in seeds:
        for name, settings in peers.items():
            config = TrainConfig.model_validate(common | settings | {"seed": seed})
            with tempfile.TemporaryDirectory() as folder:
                run = Run.start(Path(folder) / "run", "segmenter train", config, {})
                start = time.perf_counter()
                train(config, run, dataset)
                scores[name].append(run.summary["best_score"])
                run.close()
            seconds = time.perf_counter() - start
            print(f"{name}, seed {seed}: mean IoU {scores[name][-1]:.3f} on val, {seconds:.0f} s", flush=True)
    for name, found in scores.items():
        print(f"{name}: mean IoU {statistics.mean(found):.3f} after {steps} steps, mean of {len(found)} seeds")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10, help="turns that each takes")
    parser.add_argument("--steps-per-round", type=int, default=3)
    parser.add_argument("--data", help="train both on this too, for example mars_for_students.npz")
    parser.add_argument("--steps", type=int, default=400, help="of that training")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of that training")
    parser.add_argument("--peer-lr", type=float, default=TrainConfig().lr, help="highest learning rate of the peer")
    parser.add_argument("--weights", default="none", help="of the peer's encoder: none, imagenet or a file")
    options = parser.parse_args()
    measure_speed(options.rounds, options.steps_per_round)
    if options.data:
        measure_learning(options.data, options.steps, options.seeds, options.weights, options.peer_lr)


if __name__ == "__main__":
    main()
