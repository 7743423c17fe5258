"""How near the convolutions of our networks come to a matrix product of this machine, and what the rest of a step is.

    python benchmarks/convolutions.py

For each network that is trained: one forward and backward pass at the batch of its default recipe, and then each of its
convolutions alone, forward and backward, on inputs of the sizes that it had there. All in CPU seconds of one thread,
the least of a few, so that other work on the machine counts little; the matrix product is 1024 x 1024, measured before
and after. Optimizer, batches and running means are in neither number.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from marsgen.generators.config import TrainDiffusionConfig, TrainPix2PixConfig
from marsgen.generators.diffusion.denoiser import Denoiser
from marsgen.generators.pix2pix.oasis import SegmentationDiscriminator
from marsgen.generators.pix2pix.pix2pix import GeneratorNetwork, draw_noise
from segmenter.config import TrainConfig
from segmenter.training.model import init_network

CLASSES, SHAPE = 4, (64, 128)


@dataclass
class Layer:
    """A convolution that ran."""

    name: str
    module: nn.Module
    inside: torch.Size
    outside: torch.Size
    needs_gradient: bool
    """of what goes into it"""
    forward_s: float = 0.0
    backward_s: float = 0.0

    @property
    def gflop(self) -> tuple[float, float]:
        """Of the pass forward and of the pass backward."""
        per_place = 2 * self.module.weight.numel() / 1e9  # type: ignore[union-attr, operator]
        places = self.inside if isinstance(self.module, nn.ConvTranspose2d) else self.outside
        forward = per_place * places[0] * places[2] * places[3]
        return forward, forward * (2 if self.needs_gradient else 1)

    def measure(self, repeats: int) -> None:
        """Time it alone."""
        x = torch.rand(self.inside).contiguous(memory_format=torch.channels_last).requires_grad_(self.needs_gradient)
        along = torch.rand(self.outside).contiguous(memory_format=torch.channels_last)
        plain = nn.ConvTranspose2d if isinstance(self.module, nn.ConvTranspose2d) else nn.Conv2d
        given = {key: getattr(self.module, key) for key in ("kernel_size", "stride", "padding")}
        layer = plain(self.inside[1], self.outside[1], **given).to(memory_format=torch.channels_last)
        with torch.no_grad():
            self.forward_s = least(lambda: layer(x), repeats)

        def both() -> None:
            x.grad = None
            layer.zero_grad()
            layer(x).backward(along)

        self.backward_s = max(1e-9, least(both, repeats) - self.forward_s)


def least(work: Callable[[], object], repeats: int) -> float:
    """CPU seconds, after one that is not counted."""
    work()
    found = []
    for _ in range(repeats):
        began = time.process_time()
        work()
        found.append(time.process_time() - began)
    return min(found)


def matrix_product(side: int = 1024) -> float:
    """GFLOP/s."""
    a, b = torch.rand(side, side), torch.rand(side, side)
    return 2 * side**3 / least(lambda: a @ b, 5) / 1e9


def layers_of(network: nn.Module, step: Callable[[], object]) -> list[Layer]:
    """The convolutions of `network` in the order in which a step runs them."""
    found: list[Layer] = []

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, given: tuple[torch.Tensor, ...], result: torch.Tensor) -> None:
            found.append(Layer(name, module, given[0].shape, result.shape, given[0].requires_grad))

        return hook

    modules = [(n, m) for n, m in network.named_modules() if isinstance(m, (nn.Conv2d, nn.ConvTranspose2d))]
    handles = [module.register_forward_hook(note(name)) for name, module in modules]
    step()
    for handle in handles:
        handle.remove()
    return found


def trained_networks() -> dict[str, tuple[nn.Module, Callable[[], object]]]:
    """Name -> network and one pass forward and backward at its default batch."""
    height, width = SHAPE
    pix2pix, diffusion = TrainPix2PixConfig(), TrainDiffusionConfig()
    segmenter = init_network(TrainConfig(), 1, CLASSES)[0].train()
    generator = GeneratorNetwork(CLASSES, 1, pix2pix.generator_width).to(memory_format=torch.channels_last)
    judge = SegmentationDiscriminator(CLASSES, 1, pix2pix.discriminator_width).to(memory_format=torch.channels_last)
    denoiser = Denoiser(CLASSES, 1, diffusion.widths, diffusion.blocks, diffusion.fold)
    denoiser.to(memory_format=torch.channels_last)
    nn.init.normal_(denoiser.last.weight)  # 0 at first
    images = torch.rand(16, 1, height, width).contiguous(memory_format=torch.channels_last)
    labels, mask, style = (
        torch.randint(CLASSES, (16, height, width)),
        torch.ones(16, 1, height, width),
        torch.rand(16, 3),
    )
    noise, seen = draw_noise(range(16), height, width), torch.rand(48, CLASSES + 3, height, width)
    side, many = diffusion.crop_px, diffusion.batch_size
    pictures, maps = torch.rand(many, 1, side, side), torch.randint(CLASSES, (many, side, side))
    known, whole, styles = torch.ones(many, dtype=torch.bool), torch.ones(many, 1, side, side), torch.rand(many, 3)
    levels = torch.rand(many)

    def denoise() -> torch.Tensor:
        return denoiser(pictures, levels, denoiser.condition(maps, known, pictures, whole, styles))

    return {
        "segmenter, 16 x 64 x 128": (segmenter, lambda: segmenter(images).square().mean().backward()),
        "pix2pix, 16 x 64 x 128": (
            generator,
            lambda: generator(labels, images, mask, style, noise).square().mean().backward(),
        ),
        "its discriminator, 48 x 64 x 128": (judge, lambda: judge(seen)[0][0].square().mean().backward()),
        "diffusion, 32 x 64 x 64": (denoiser, lambda: denoise().square().mean().backward()),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--layers", action="store_true", help="a line for each convolution too")
    options = parser.parse_args()
    torch.set_num_threads(1)
    before = matrix_product()
    rows = []
    for name, (network, step) in trained_networks().items():
        layers = layers_of(network, step)
        whole = least(step, options.repeats)
        for layer in layers:
            layer.measure(options.repeats)
            if options.layers:
                (there, back), shape = layer.gflop, tuple(layer.inside)
                speeds = f"{there / layer.forward_s:.0f} and {back / layer.backward_s:.0f} GFLOP/s"
                print(
                    f"  {layer.name} {shape}: {1e3 * layer.forward_s:.1f} and {1e3 * layer.backward_s:.1f} ms, {speeds}"
                )
        seconds = sum(layer.forward_s + layer.backward_s for layer in layers)
        rows.append((name, sum(sum(layer.gflop) for layer in layers), seconds, whole))
    product = max(before, matrix_product())
    print(f"matrix product: {product:.0f} GFLOP/s")
    for name, gflop, seconds, whole in rows:
        speed = gflop / seconds
        print(
            f"{name}: {gflop:.1f} GFLOP, convolutions {speed:.0f} GFLOP/s ({speed / product:.0%} of the product) in "
            f"{seconds:.2f} of {whole:.2f} s; the rest, {1 - seconds / whole:.0%}, is norms, activations, copies"
        )


if __name__ == "__main__":
    main()
