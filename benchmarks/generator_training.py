"""Training speed of the diffusion generator beside diffusers' own example of unconditional training.

    python benchmarks/generator_training.py
    python benchmarks/generator_training.py --data mars_for_students.npz --rounds 8

The peer is the loop of diffusers' examples/unconditional_image_generation/train_unconditional.py: pictures through
torchvision's transforms and a DataLoader, DDPM noise, AdamW, gradient clipping, EMAModel. It trains our network (with
the label map hidden), and in another row diffusers' UNet2DModel of about as many weights at the same size of picture.
Ours is `marsgen train-generator --kind diffusion` itself, batches and augmentation included. All take turns of a few
steps in one process, so that other work on the machine meets all; counted are CPU seconds of one thread, the first step
of a turn left out. The ratio of each turn is printed as median, smallest and largest.
"""

import argparse
import itertools
import statistics
import time
from pathlib import Path
from types import SimpleNamespace

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from diffusers import DDPMScheduler, UNet2DModel
from diffusers.optimization import get_scheduler
from diffusers.training_utils import EMAModel
from PIL import Image
from torch import nn
from torchvision import transforms

from marsgen.cleaning.dataset import Dataset, open_dataset
from marsgen.core import rehearsal
from marsgen.core.runs import Run
from marsgen.generators.config import TrainDiffusionConfig
from marsgen.generators.diffusion.denoiser import Denoiser
from marsgen.generators.diffusion.train import train

CONFIG = TrainDiffusionConfig(steps=1000, sample_every=1000, checkpoint_every=1000)


class Unconditional(nn.Module):
    """Our network as the example calls one: without label map, surroundings and style."""

    def __init__(self, network: Denoiser) -> None:
        super().__init__()
        self.network = network

    def forward(self, noisy: torch.Tensor, timesteps: torch.Tensor) -> SimpleNamespace:
        batch, channels, height, width = noisy.shape
        condition = self.network.condition(
            torch.full((batch, height, width), 255),
            torch.zeros(batch, dtype=torch.bool),
            torch.zeros_like(noisy),
            torch.ones(batch, 1, height, width),
            torch.zeros(batch, 3 * channels),
        )
        return SimpleNamespace(sample=self.network(noisy, timesteps / 1000, condition))


class Example:
    """The loop of diffusers' example with its default settings, and `network` in the model's place."""

    def __init__(self, network: nn.Module, pictures: list[Image.Image], config: TrainDiffusionConfig) -> None:
        side = config.crop_px
        channels = len(pictures[0].getbands())
        augmentations = transforms.Compose(
            [
                transforms.Resize(side, interpolation=transforms.InterpolationMode.BILINEAR),
                transforms.RandomCrop(side),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize([0.5] * channels, [0.5] * channels),
            ]
        )
        data = [SimpleNamespace(read=lambda p=picture: augmentations(p)) for picture in pictures]
        self.accelerator = Accelerator()
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, betas=(0.95, 0.999), weight_decay=1e-6, eps=1e-8)
        loader = torch.utils.data.DataLoader(
            data,  # type: ignore[arg-type]
            batch_size=config.batch_size,
            shuffle=True,
            drop_last=True,
            collate_fn=lambda rows: torch.stack([row.read() for row in rows]),
        )
        schedule = get_scheduler("cosine", optimizer, num_warmup_steps=500, num_training_steps=config.steps)
        self.network, self.optimizer, self.loader, self.schedule = self.accelerator.prepare(
            network.train(), optimizer, loader, schedule
        )
        self.ema = EMAModel(network.parameters(), decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=3 / 4)
        self.noising = DDPMScheduler(num_train_timesteps=1000, beta_schedule="linear")
        self.batches = itertools.chain.from_iterable(iter(self.loader) for _ in itertools.count())

    def seconds(self, steps: int) -> float:
        """Median CPU seconds of a step."""
        found = []
        for _ in range(steps):
            began = time.process_time()
            self._step(next(self.batches))
            found.append(time.process_time() - began)
        return statistics.median(found[1:])

    def _step(self, clean: torch.Tensor) -> None:
        noise = torch.randn(clean.shape)
        timesteps = torch.randint(0, 1000, (len(clean),))
        noisy = self.noising.add_noise(clean, noise, timesteps)
        with self.accelerator.accumulate(self.network):
            loss = F.mse_loss(self.network(noisy, timesteps).sample.float(), noise.float())
            self.accelerator.backward(loss)
            self.accelerator.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimizer.step()
            self.schedule.step()
            self.optimizer.zero_grad()
        self.ema.step(self.network.parameters())
        loss.detach().item()


def own_seconds(dataset: Dataset, steps: int) -> float:
    """Median CPU seconds of a step of our command."""

    def first_steps(folder: Path) -> None:
        run = Run.start(folder, "marsgen train-generator", CONFIG, {})
        try:
            train(CONFIG, run, dataset)
        finally:
            run.close()

    done = rehearsal.rehearse(first_steps, "diffusion", steps)
    marks = [moment for moment, _ in done.marks]
    return statistics.median(later - earlier for earlier, later in itertools.pairwise(marks))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", default="sim:120", help="scenes to train on")
    parser.add_argument("--rounds", type=int, default=5, help="turns that each takes")
    parser.add_argument("--steps-per-round", type=int, default=4)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rehearsal.time = SimpleNamespace(monotonic=time.process_time)  # type: ignore[assignment]
    dataset = open_dataset(options.data, CONFIG.data)
    channels, classes = dataset.scenes.channels, len(dataset.scenes.classes)
    images = [dataset.scenes[index].image for index in dataset.split.train]
    pictures = [Image.fromarray(image[..., 0] if channels == 1 else image) for image in images]
    ours = Denoiser(classes, channels, CONFIG.widths, CONFIG.blocks, CONFIG.fold)
    # two layers a block and three scales, as ours, and groups that divide the widths
    blocks = {
        "block_out_channels": (16, 40, 80),
        "down_block_types": ("DownBlock2D",) * 3,
        "up_block_types": ("UpBlock2D",) * 3,
    }
    theirs = UNet2DModel(CONFIG.crop_px, channels, channels, layers_per_block=2, norm_num_groups=8, **blocks)
    peers = {
        "the example with our network": Example(Unconditional(ours), pictures, CONFIG),
        "the example with UNet2DModel": Example(theirs, pictures, CONFIG),
    }
    for name, network in (("ours", ours), ("UNet2DModel", theirs)):
        print(f"{name}: {sum(weight.numel() for weight in network.parameters()) / 1e6:.2f} M weights")
    turns = []
    for _ in range(options.rounds):
        own = own_seconds(dataset, options.steps_per_round)
        turns.append((own, *(peer.seconds(options.steps_per_round) for peer in peers.values())))
        print("CPU seconds a step:", *(f"{seconds:.2f}" for seconds in turns[-1]), flush=True)
    own, *others = zip(*turns, strict=True)
    print(f"ours: {CONFIG.batch_size / statistics.median(own):.1f} pictures per CPU second")
    for name, seconds in zip(peers, others, strict=True):
        ratios = [theirs / mine for theirs, mine in zip(seconds, own, strict=True)]
        print(f"beside {name}: {statistics.median(ratios):.2f} times, {min(ratios):.2f} to {max(ratios):.2f}")


if __name__ == "__main__":
    main()
