"""Distillation: what a network learns from another one, so that it draws in one or two steps what that draws in many.

A step of the student replaces several of the teacher's, guidance included: from a noised picture, the teacher takes its
steps down to where the student's one step ends, and the student learns the straight line between the two (progressive
distillation, Salimans and Ho 2022, arXiv 2202.00512; of a guided teacher, Meng et al. 2023, arXiv 2210.03142). It
begins with the teacher's weights. Noised pictures and teacher's steps are those of a drawing, the real pixels round the
inpainting mask too. A teacher may have been distilled itself, to two steps.
"""

import copy
import math
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from marsgen.core.errors import ConfigError
from marsgen.generators import DrawConfig, load_generator, refuse_other_teacher
from marsgen.generators.config import TrainDistilledConfig
from marsgen.generators.diffusion.denoiser import Denoiser
from marsgen.generators.diffusion.diffusion import Diffusion, Distilled, noise_levels, step_weights
from marsgen.scenes.scene import SceneSource

LEAST_STRENGTH = 0.02
"""below it nothing is learned: a step is divided by its length"""


def open_teacher(where: str, config: TrainDistilledConfig, scenes: SceneSource) -> "Teacher":
    """The generator in a run folder as the teacher of another one, for these data.

    Raises:
        RunError: see `load_generator`.
        ConfigError: no diffusion generator, one that takes no more steps, or one with its classes in another order.
    """
    generator = load_generator(where, draw=DrawConfig(guidance=config.guidance))
    refuse_other_teacher(where, generator.name)
    assert isinstance(generator, Diffusion)
    if generator.steps <= config.sampling_steps:
        raise ConfigError(
            f"--teacher {where}: draws in {generator.steps} already, and sampling_steps is {config.sampling_steps}; "
            "name a generator that takes more, such as the one that it was distilled from"
        )
    load_generator(where, scenes.classes, scenes.channels)  # refuses data of other classes or channels
    if generator.classes.names != scenes.classes.names:
        raise ConfigError(
            f"--teacher {where}: has the classes of the data in another order, {', '.join(generator.classes.names)}; "
            "list those of the data in this order"
        )
    return Teacher(generator, config)


def draw_student_levels(seeds: np.ndarray, sampling_steps: int) -> np.ndarray:
    """(B,) float32 noise levels at which a step of a drawing begins: half of them drawn at full strength, half at any.

    Sample b depends on seeds[b] alone.
    """
    starts = []
    for seed in seeds:
        stream = np.random.default_rng([int(seed), 1])
        strength = 1.0 if stream.random() < 0.5 else stream.uniform(LEAST_STRENGTH, 1)
        levels = noise_levels(strength, sampling_steps)[:-1]
        starts.append(levels[int(stream.integers(len(levels)))])
    return np.array(starts, np.float32)


def next_levels(levels: torch.Tensor, sampling_steps: int) -> torch.Tensor:
    """(B,) noise levels at which steps end that begin at `levels`.

    The network sees where its step begins, and that is enough: of `noise_levels`, ceil(level * steps) are still to go,
    in equal parts.
    """
    left = torch.ceil(levels * sampling_steps)
    return levels * (left - 1) / left


class Teacher:
    """A diffusion generator whose drawings another network learns to make in fewer steps."""

    def __init__(self, generator: Diffusion, config: TrainDistilledConfig) -> None:
        self._generator = generator
        self._steps = config.teacher_steps or math.ceil(generator.steps / config.sampling_steps)
        before = generator.distilled
        guidance = generator.guidance if before is None else before.guidance
        self.distilled = Distilled(generator.fingerprint, guidance, config.sampling_steps)

    def first_student(self) -> Denoiser:
        """A network with the teacher's weights."""
        return copy.deepcopy(self._generator.network).requires_grad_(True)

    def to(self, device: torch.device) -> None:
        """Compute on `device`."""
        network: Any = self._generator.network
        network.to(device)
        self._generator.device = device

    def sign(self, record: dict[str, Any]) -> None:
        """Say in the student's generator.json what it learned from, and which scenes its teacher has seen."""
        record["distilled"] = asdict(self.distilled)
        record["trained_on"] = list(dict.fromkeys([*record["trained_on"], *self._generator.trained_on]))

    @torch.no_grad()
    def velocity(
        self,
        noisy: torch.Tensor,
        noise: torch.Tensor,
        time: torch.Tensor,
        labels: torch.Tensor,
        pictures: torch.Tensor,
        inpainting_mask: torch.Tensor,
        style: torch.Tensor,
    ) -> torch.Tensor:
        """The one velocity that leads from noisy pictures where the teacher's steps lead.

        Args:
            noisy: (B, channels, H, W), which hold `time` (B,) of `noise`.
            labels, pictures, inpainting_mask, style: see `Denoiser.condition`.
        Returns:
            (B, channels, H, W).
        """
        generator, x, before = self._generator, noisy, torch.zeros_like(noisy)
        condition = generator.condition(labels, pictures, inpainting_mask, style)
        ends = next_levels(time, self.distilled.sampling_steps)
        path = torch.stack([torch.lerp(time, ends, part / self._steps) for part in range(self._steps + 1)])
        for step, weights in enumerate(_weights_by_step(path)):
            now, clean, earlier = weights.to(x)[..., None, None, None]  # each (B, 1, 1, 1)
            predicted = x - _each(path[step]) * generator.velocity(x, path[step], condition)
            x, before = now * x + clean * predicted + earlier * before, predicted
            if step + 1 < self._steps:
                # the student's own drawing does it after the last one
                x = torch.lerp(torch.lerp(pictures, noise, _each(path[step + 1])), x, inpainting_mask)
        return (noisy - x) / _each(time - ends)


def _weights_by_step(path: torch.Tensor) -> Iterable[torch.Tensor]:
    """(steps + 1, B) noise levels -> for each step (3, B) weights, see `step_weights`."""
    of_samples = [step_weights(levels) for levels in path.T.double().tolist()]
    return torch.tensor(of_samples).permute(1, 2, 0)


def _each(values: torch.Tensor) -> torch.Tensor:
    """(B,) -> (B, 1, 1, 1)."""
    return values[:, None, None, None]
