"""diffusion: pictures denoised in a few steps under a label map, from pure noise or from a noised composite.

`strength` is how far the composite is noised before it is denoised under the edited label map (SDEdit, Meng et al.
2022, arXiv 2108.01073): 0 returns the composite, 1 draws the inpainting mask from pure noise. After every step the
pixels outside the inpainting mask are set to real ones at the noise level reached (RePaint, Lugmayr et al. 2022, arXiv
2201.09865). `guidance` moves each step away from the prediction without label map (classifier-free guidance, Ho and
Salimans 2022, arXiv 2207.12598). As in pix2pix.py, pictures are normalised by their style.
"""

import math
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from marsgen.core.errors import InputError, RunError
from marsgen.core.storage.checkpoints import DAMAGE, checksum, read_tensors, read_weights, refuse_other_shapes
from marsgen.core.storage.files import file_fingerprint
from marsgen.core.storage.reading import first_line, read_json, value_at
from marsgen.core.training import arithmetic
from marsgen.generators import DEFAULT_SAMPLING, RECORD, DrawConfig, DrawRequest, read_maker
from marsgen.generators.diffusion.denoiser import Condition, Denoiser
from marsgen.generators.style import StyleTable, denormalise, normalise, visible_style
from marsgen.scenes.classes import IGNORED_INDEX, ClassSet
from marsgen.scenes.tensors import image_array, image_tensor, label_tensor, one_hot, pad_to_multiple

if TYPE_CHECKING:
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

DENOISER = "denoiser"
"""folder of the network, as diffusers' save_pretrained writes it"""
DENOISER_WEIGHTS = "diffusion_pytorch_model.safetensors"
STYLES = "best.safetensors"
STRENGTH, GUIDANCE, STEPS = 1.0, 1.5, 5
"""defaults of `DrawConfig` for this generator"""
TIMESTEPS = 1000
"""diffusers counts noise levels in 0..1000; the network here sees them in 0..1"""


@dataclass(frozen=True)
class Distilled:
    """What a network learned to draw from another one instead of from pictures; key `distilled` of generator.json."""

    teacher: str
    """fingerprint of the generator that it learned from"""
    guidance: float
    """of that generator's drawings: part of the weights now"""
    sampling_steps: int
    """the only number of steps that it draws with"""


class Diffusion:
    """The trained generator; implements `marsgen.generators.Generator`."""

    name = "diffusion"

    def __init__(
        self,
        network: Denoiser,
        styles: StyleTable,
        classes: ClassSet,
        draw: DrawConfig = DEFAULT_SAMPLING,
        fingerprint: str = "",
        trained_on: tuple[str, ...] = (),
        precision: str = "auto",
        null_condition: bool = True,
        distilled: Distilled | None = None,
    ) -> None:
        """Args:
        draw: strength, guidance and steps.
        null_condition: whether the network was trained to draw without a label map.
        distilled: where it learned from another network, what it learned.

        Raises:
            RunError: guidance for a network that was not, or settings that a distilled one has no choice of.
        """
        self.network = network.eval()
        self.device = next(network.parameters()).device
        self.styles = StyleTable(styles.shares.to(self.device), styles.styles.to(self.device))
        self.classes, self.channels = classes, network.channels
        self.fingerprint, self.trained_on = fingerprint, trained_on
        self.dtype, self.null_condition = arithmetic(precision, self.device), null_condition
        self.strength = STRENGTH if draw.strength is None else draw.strength
        self.guidance = (GUIDANCE if null_condition else 1.0) if draw.guidance is None else draw.guidance
        self.distilled = distilled
        self.steps = draw.sampling_steps or (STEPS if distilled is None else distilled.sampling_steps)
        if distilled is not None and (self.guidance, self.steps) != (1, distilled.sampling_steps):
            wrong = "sampling_steps" if self.steps != distilled.sampling_steps else "guidance"
            raise RunError(
                f"{wrong} is {getattr(draw, wrong):g}, but this generator was distilled to draw in "
                f"{distilled.sampling_steps}, with a guidance of {distilled.guidance:g} built in; leave draw.{wrong} "
                "out, or draw with the generator that it was distilled from"
            )
        if self.guidance != 1 and not null_condition:
            raise RunError(
                f"guidance is {self.guidance:g}, but this generator was trained without a null condition "
                "(label_dropout=0 and no unlabelled picture); set draw.guidance=1 or train it with label_dropout=0.1"
            )

    @property
    def drawing(self) -> dict[str, Any]:
        """See `Generator.drawing`."""
        return {"strength": self.strength, "guidance": self.guidance, "sampling_steps": self.steps}

    @classmethod
    def load(cls, folder: Path, draw: DrawConfig = DEFAULT_SAMPLING) -> "Diffusion":
        """Open what `train_diffusion.train` left in a run folder.

        Raises:
            RunError: a file is missing or damaged, the weights are of another network, or it does not support `draw`.
        """
        styled = read_weights(folder / STYLES)
        tables = styled.tensors
        try:
            record = read_json(folder / RECORD, fault=RunError)
            classes = ClassSet.from_dict(record["classes"], str(folder / RECORD))
            network: Any = _open_denoiser(folder / DENOISER, styled.record)
            styles = StyleTable(tables["styles.shares"], tables["styles.styles"])
            trained_on, precision = read_maker(record)
            null_condition = value_at(record, "null_condition", bool, folder / RECORD, RunError)
            distilled = _read_distilled(record, folder / RECORD)
            if (network.num_classes, network.channels) != (len(classes), record["channels"]):
                raise ValueError(f"the network is for {network.num_classes} classes, {network.channels} channels")
        except (InputError, *DAMAGE) as problem:
            raise RunError(
                f"{folder}: {RECORD}, {STYLES} and {DENOISER}/ do not make a diffusion generator "
                f"({first_line(problem)}); train it again into another --out"
            ) from None
        network.to("cuda" if torch.cuda.is_available() else "cpu", memory_format=torch.channels_last)
        fingerprint = file_fingerprint(folder / DENOISER / DENOISER_WEIGHTS)
        return cls(network, styles, classes, draw, fingerprint, trained_on, precision, null_condition, distilled)

    @torch.inference_mode()
    def draw(self, request: DrawRequest) -> np.ndarray:
        """See `Generator.draw`. Equal requests give equal bytes, and no sample depends on the others in its batch."""
        if self.strength == 0:
            return request.composites
        images = image_tensor(request.composites).to(self.device)
        labels = label_tensor(request.indices).to(self.device)
        inpainting_mask = torch.from_numpy(request.inpainting_mask)[:, None].to(self.device)
        padded = (side + -side % self.network.stride for side in images.shape[2:])
        choice, noise = draw_noise(request.seeds.tolist(), (self.channels, *padded))
        return image_array(self.draw_tensors(images, labels, inpainting_mask, choice.to(self.device), noise))

    def draw_tensors(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        inpainting_mask: torch.Tensor,
        choice: torch.Tensor,
        noise: torch.Tensor,
    ) -> torch.Tensor:
        """Draw, all in tensors.

        Args:
            images: (B, channels, H, W) in [-1, 1].
            labels: (B, H, W) int64 indices, 255 = ignored.
            inpainting_mask: (B, 1, H, W) in [0, 1].
            choice, noise: from `draw_noise`, of the padded size.
        Returns:
            (B, channels, H, W) in [-1, 1]: drawn where the inpainting mask is 1, `images` where it is 0.
        """
        style, unknown = visible_style(images, inpainting_mask)
        if unknown.any() and self.strength == 1:  # at less than full strength, the composite shows its own style
            shares = one_hot(labels, len(self.classes)).mean(dim=(2, 3))
            style = torch.where(unknown[:, None], self.styles.choose(shares, choice), style)
        inputs = pad_inputs(normalise(images, style), labels, inpainting_mask, self.network.stride)
        with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
            drawn = self._denoise(*inputs, style, noise.to(self.device))
        drawn = drawn[..., : images.shape[2], : images.shape[3]]
        return images + inpainting_mask * (denormalise(drawn, style).clamp(-1, 1) - images)

    def _denoise(
        self,
        pictures: torch.Tensor,
        labels: torch.Tensor,
        inpainting_mask: torch.Tensor,
        style: torch.Tensor,
        noise: torch.Tensor,
    ) -> torch.Tensor:
        """From pictures noised to `strength` back to pictures, the inpainting mask drawn anew; all (B, ., H, W)."""
        condition = self.condition(labels, pictures, inpainting_mask, style)
        levels = noise_levels(self.strength, self.steps)
        solver = flow_solver(levels)
        x = torch.lerp(pictures, noise, levels[0])
        for level, timestep in zip(levels[1:], solver.timesteps, strict=True):
            velocity = self.velocity(x, timestep / TIMESTEPS, condition)
            x = solver.step(velocity, timestep, x, return_dict=False)[0]
            x = torch.lerp(torch.lerp(pictures, noise, level), x, inpainting_mask)
        return x

    def condition(
        self, labels: torch.Tensor, pictures: torch.Tensor, inpainting_mask: torch.Tensor, style: torch.Tensor
    ) -> Condition:
        """See `Denoiser.condition`; with guidance, that of the pictures without a label map comes after it."""
        known = torch.ones(len(labels), dtype=torch.bool, device=self.device)
        condition = self.network.condition(labels, known, pictures, inpainting_mask, style)
        if self.guidance != 1:
            condition = condition.joined(self.network.condition(labels, ~known, pictures, inpainting_mask, style))
        return condition

    def velocity(self, x: torch.Tensor, level: torch.Tensor, condition: Condition) -> torch.Tensor:
        """(B, ., H, W) pictures with a noise level, or (B,) of them -> their guided velocity."""
        time = level.to(self.device).expand(len(x))
        if self.guidance == 1:
            return self.network(x, time, condition)
        with_map, without = self.network(x.repeat(2, 1, 1, 1), time.repeat(2), condition).chunk(2)
        return torch.lerp(without, with_map, self.guidance)


def draw_noise(seeds: Iterable[int], shape: tuple[int, ...]) -> tuple[torch.Tensor, torch.Tensor]:
    """(B,) in [0, 1) that chooses styles, (B, *shape) normal noise; sample b depends on seeds[b] and shape alone."""
    streams = [np.random.Generator(np.random.Philox(key=int(seed))) for seed in seeds]
    choice = torch.tensor([stream.random() for stream in streams], dtype=torch.float64)
    return choice, torch.from_numpy(np.stack([stream.standard_normal(shape, np.float32) for stream in streams]))


def pad_inputs(
    pictures: torch.Tensor, labels: torch.Tensor, inpainting_mask: torch.Tensor, multiple: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Extend (B, channels, H, W), (B, H, W), (B, 1, H, W) until both sides divide: unlabelled ground that is kept."""
    height, width = labels.shape[1:]
    margin = (0, -width % multiple, 0, -height % multiple)
    pictures, _ = pad_to_multiple(pictures, multiple)
    return pictures, F.pad(labels, margin, value=IGNORED_INDEX), F.pad(inpainting_mask, margin)


def noise_levels(strength: float, steps: int) -> torch.Tensor:
    """Shares of noise from `strength` down to 0 in equal parts; fewer steps for less noise: ceil(steps * strength) + 1.

    Full noise is 0.999: the solver divides by the share of the picture.
    """
    count = max(1, math.ceil(steps * strength))
    return torch.linspace(min(strength, 1 - 1 / TIMESTEPS), 0, count + 1)


def flow_solver(levels: torch.Tensor) -> "DPMSolverMultistepScheduler":
    """DPM-Solver++(2M) (Lu et al. 2022, arXiv 2211.01095) on the straight line between picture and noise."""
    # it imports scipy.stats, a second that a training does not need before its first sample
    from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler

    solver = DPMSolverMultistepScheduler(
        num_train_timesteps=TIMESTEPS, use_flow_sigmas=True, prediction_type="flow_prediction", lower_order_final=True
    )
    solver.set_timesteps(len(levels) - 1)
    # its own levels begin at full noise; these begin at `strength`
    solver.sigmas, solver.timesteps = levels, levels[:-1] * TIMESTEPS
    solver.set_begin_index(0)
    return solver


def step_weights(levels: Sequence[float]) -> list[tuple[float, float, float]]:
    """For each step the weights of the picture so far, of this step's clean picture and of the step's before.

    The second-order step of DPM-Solver++ (Lu et al. 2022, arXiv 2211.01095, algorithm 2), where a picture is
    (1 - level) clean + level noise; the first and the last step are of first order.

    Args:
        levels: fractions of noise, falling; the last is 0.
    """
    weights = []
    # logarithm of the ratio of signal to noise: infinite at the last level
    signal = [math.log((1 - level) / level) if level else math.inf for level in levels]
    for step, (level, following) in enumerate(pairwise(levels)):
        gain = (1 - following) * -math.expm1(signal[step] - signal[step + 1])
        back = 0.0
        if 0 < step < len(levels) - 2:
            back = 0.5 * (signal[step + 1] - signal[step]) / (signal[step] - signal[step - 1])
        weights.append((following / level, gain * (1 + back), -gain * back))
    return weights


def _open_denoiser(folder: Path, record: dict[str, Any]) -> Denoiser:
    """The network in folder/, as `save_denoiser` wrote it; `record` (of the styles) holds its checksum.

    Raises:
        InputError, OSError, ValueError: a file is missing, or the weights are not those that were written.
    """
    tensors = read_tensors(folder / DENOISER_WEIGHTS)
    if record.get("denoiser") != checksum(tensors):
        raise ValueError(f"the weights in {DENOISER}/ do not have the checksum that was recorded with the styles")
    described = read_json(folder / "config.json", fault=RunError)
    settings = {key: value for key, value in described.items() if not key.startswith("_")}
    blocks, widths = value_at(settings, "blocks", int, "config.json"), value_at(settings, "widths", list, "config.json")
    if blocks * len(widths) > len(tensors):
        raise ValueError(f"config.json names {blocks:,} blocks at {len(widths):,} scales for {len(tensors)} weights")
    refuse_other_shapes(lambda: Denoiser(**settings), tensors)
    options = {"low_cpu_mem_usage": False, "local_files_only": True, "use_safetensors": True}
    return Denoiser.from_pretrained(folder, **options)  # type: ignore[arg-type]


def _read_distilled(record: dict[str, Any], path: Path) -> Distilled | None:
    """What generator.json says of the network's teacher; None = it learned from pictures.

    Raises:
        RunError: something is missing or of another type, or no number of steps that is taught.
    """
    if "distilled" not in record:
        return None
    teacher, guidance, steps = (
        value_at(record, f"distilled.{key}", kind, path, RunError)
        for key, kind in (("teacher", str), ("guidance", float), ("sampling_steps", int))
    )
    if steps not in (1, 2):
        raise RunError(f"{path}: 'distilled.sampling_steps' is {steps}; 1 or 2 was expected")
    return Distilled(teacher, float(guidance), steps)


def save_denoiser(network: Denoiser, folder: Path) -> str:
    """Write folder/denoiser/ (config.json, safetensors), whole or not at all; returns the checksum of its weights."""
    partial = folder / f".{DENOISER}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    network.save_pretrained(partial)
    shutil.rmtree(folder / DENOISER, ignore_errors=True)
    partial.rename(folder / DENOISER)
    return checksum(read_tensors(folder / DENOISER / DENOISER_WEIGHTS))
