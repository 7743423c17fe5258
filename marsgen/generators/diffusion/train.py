"""Training the diffusion generator: the loop, read from top to bottom."""

import copy
import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from marsgen.cleaning.dataset import Dataset
from marsgen.core.pace import Pace
from marsgen.core.progress import ProgressBar
from marsgen.core.runs import Run
from marsgen.core.stop import stoppable
from marsgen.core.storage.files import write_json
from marsgen.core.training import arithmetic, linear_lr, refuse_nan, set_lr, share_batch, update_ema, warm_up_ema
from marsgen.generators import RECORD, refuse_other_channels
from marsgen.generators.batches import InpaintingSampler
from marsgen.generators.config import TrainDiffusionConfig, TrainDistilledConfig
from marsgen.generators.diffusion.denoiser import Denoiser
from marsgen.generators.diffusion.diffusion import STYLES, Diffusion, draw_noise, pad_inputs, save_denoiser
from marsgen.generators.diffusion.distil import Teacher, draw_student_levels
from marsgen.generators.style import normalise, visible_style
from marsgen.generators.training import (
    describe,
    rare_indices,
    rare_scenes,
    rare_scenes_by_class,
    restore,
    save,
    survey_styles,
    write_grid,
)
from marsgen.provenance import keys_of_pictures
from marsgen.scenes.scene import SceneSource
from marsgen.scenes.tensors import image_tensor, label_tensor

DiffusionConfig = TrainDiffusionConfig | TrainDistilledConfig


def train(
    config: DiffusionConfig,
    run: Run,
    dataset: Dataset,
    unlabelled: Sequence[SceneSource] = (),
    teacher: Teacher | None = None,
) -> dict[str, Any]:
    """Fit the denoiser on the train part of the split and on unlabelled images; or, with a teacher, on its drawings.

    An interrupted run is resumed. Writes metrics.jsonl, samples/step_*.png, denoiser/ (running mean of the
    weights), best.safetensors (styles) and generator.json.

    Returns:
        the summary that also ends up in the run's DONE file.
    Raises:
        RunError: the loss is not a number.
        ConfigError: the batch does not divide among the processes.
        DataError: unlabelled images with other channels.
    """
    if run.finished:
        return run.summary
    accelerator = Accelerator()
    device = accelerator.device
    mine = share_batch(config.batch_size, accelerator)
    dtype = arithmetic(config.precision, device)
    autocast = functools.partial(torch.autocast, device.type, dtype, enabled=dtype != torch.float32)

    # data
    sampler = sampler_of(dataset, config, unlabelled)
    styles = survey_styles(dataset)
    null_condition = isinstance(config, TrainDiffusionConfig) and (config.label_dropout > 0 or bool(sampler.unlabelled))
    record = describe("diffusion", dataset, null_condition=null_condition, precision=config.precision)
    for source in sampler.unlabelled:
        record["trained_on"] += keys_of_pictures(source)
    if teacher is not None:
        teacher.sign(record)
        teacher.to(device)

    (network,) = build_networks(config, len(dataset.scenes.classes), dataset.scenes.channels, teacher)
    network = network.to(device, memory_format=torch.channels_last).train()
    ema = copy.deepcopy(network).requires_grad_(False).eval()
    optimizer = torch.optim.AdamW(network.parameters(), config.lr, betas=(0.9, 0.99), weight_decay=0.01, fused=True)
    networks, optimizers = {"network": network, "ema": ema}, {"optimizer": optimizer}
    done = restore(run, networks, optimizers)
    velocity_of = accelerator.prepare(Velocity(network))

    steps = range(done + 1, config.steps + 1)
    progress = ProgressBar(
        steps, config.kind, config.steps, initial=done, mininterval=1.0, disable=not accelerator.is_main_process
    )

    pace = Pace("diffusion", config.steps)

    def checkpoint(step: int) -> None:
        if step < config.steps:
            save(run, step, networks, optimizers)

    for step in stoppable(progress, checkpoint):
        set_lr(optimizer, linear_lr(config.lr, step, config.steps, config.decay_fraction, config.warmup_steps))

        # a batch: pictures normalised by their style, some label maps hidden
        batch = sampler.batch(step, mine)
        images = image_tensor(batch.images).to(device)  # (B, channels, h, w) in [-1, 1]
        labels = label_tensor(batch.indices).to(device)  # (B, h, w)
        inpainting_mask = torch.from_numpy(batch.inpainting_mask)[:, None].to(device)  # (B, 1, h, w)
        style, _ = visible_style(images, inpainting_mask)
        pictures, labels, inpainting_mask = pad_inputs(
            normalise(images, style), labels, inpainting_mask, network.stride
        )
        dropped, levels = draw_levels(batch.seeds, config)
        known = torch.from_numpy(batch.labelled & ~dropped).to(device)  # (B,)
        time = torch.from_numpy(levels).to(device)  # (B,) share of noise
        noise = draw_noise(batch.seeds.tolist(), tuple(pictures.shape[1:]))[1].to(device)

        # flow matching: predict the velocity at a random point of the line from picture to noise, or a teacher's
        noisy = torch.lerp(pictures, noise, time[:, None, None, None])
        with autocast():
            velocity = velocity_of(noisy, time, labels, known, pictures, inpainting_mask, style)
            if teacher is None:
                wanted = noise - pictures
            else:
                wanted = teacher.velocity(noisy, noise, time, labels, pictures, inpainting_mask, style)
        error = (velocity - wanted).square()
        # mean over the inpainting masks of all processes, as one process would compute
        drawn_px = accelerator.reduce(inpainting_mask.sum(), "mean").clamp_min(1)
        loss = (error * inpainting_mask).sum() / (drawn_px * pictures.shape[1])
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        update_ema(ema, network, warm_up_ema(config.ema_decay, step, offset=0))

        if step % config.log_every == 0 or step == config.steps:
            value = loss.item()
            refuse_nan({"denoising": value}, step, "lr")
            run.log(step, denoising=value)
            progress.set_postfix(denoising=f"{value:.3f}", refresh=False)
        if step % config.sample_every == 0 or step == config.steps:
            distilled = None if teacher is None else teacher.distilled
            generator = Diffusion(
                ema, styles, dataset.scenes.classes, null_condition=null_condition, distilled=distilled
            )
            write_grid(run, step, generator, dataset, 2 * config.crop_px, config.seed)
        if step % config.checkpoint_every == 0 and step < config.steps:
            refuse_nan({"denoising": loss.item()}, step, "lr")
            save(run, step, networks, optimizers)
        pace.step(step)

    if run.writes:
        write_json(run.folder / RECORD, record)
        written = save_denoiser(ema, run.folder)
        tables = {"styles.shares": styles.shares, "styles.styles": styles.styles}
        run.save_weights(STYLES, tables, step=config.steps, denoiser=written)
    summary = {
        "generator": "diffusion",
        "steps": config.steps,
        "scenes": len(sampler.train),
        "rare_scenes": len(rare_scenes(dataset)),
        "unlabelled": sum(map(len, sampler.unlabelled)),
        "losses": {"denoising": value},
    }
    run.finish(summary)
    return summary


class Velocity(torch.nn.Module):
    """The denoiser and its condition in one forward pass, as training with several processes needs it."""

    def __init__(self, network: Denoiser) -> None:
        super().__init__()
        self.network = network

    def forward(self, noisy: torch.Tensor, time: torch.Tensor, *given: torch.Tensor) -> torch.Tensor:
        """See `Denoiser.forward`; `given` are the arguments of `Denoiser.condition`."""
        return self.network(noisy, time, self.network.condition(*given))


def build_networks(
    config: DiffusionConfig, num_classes: int, channels: int, teacher: Teacher | None = None
) -> tuple[Denoiser]:
    """A network with random weights, or those of a teacher; torch's global random state is restored afterwards."""
    if isinstance(config, TrainDistilledConfig):
        assert teacher is not None
        return (teacher.first_student(),)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return (Denoiser(num_classes, channels, config.widths, config.blocks, config.fold),)


def draw_levels(seeds: np.ndarray, config: DiffusionConfig) -> tuple[np.ndarray, np.ndarray]:
    """(B,) bool, whose label map is hidden; (B,) float32 noise levels in (0, 1). Sample b depends on seeds[b] alone."""
    if isinstance(config, TrainDistilledConfig):
        return np.zeros(len(seeds), bool), draw_student_levels(seeds, config.sampling_steps)
    streams = [np.random.default_rng([int(seed), 1]) for seed in seeds]
    dropped = np.array([stream.random() < config.label_dropout for stream in streams])
    normal = np.array([stream.normal(config.noise_mean, config.noise_spread) for stream in streams])
    return dropped, (1 / (1 + np.exp(-normal))).astype(np.float32)


def sampler_of(dataset: Dataset, config: DiffusionConfig, unlabelled: Sequence[SceneSource] = ()) -> InpaintingSampler:
    """Windows of the train part and of the unlabelled images.

    Raises:
        DataError: pictures of other channels than the data's.
    """
    refuse_other_channels(unlabelled, dataset.scenes)
    fraction = config.unlabelled_fraction if isinstance(config, TrainDiffusionConfig) else 0.0
    used = tuple(source for source in unlabelled if len(source)) if fraction else ()
    return InpaintingSampler(
        dataset.scenes,
        train=dataset.split.train,
        rare_train=rare_scenes_by_class(dataset),
        rare=rare_indices(dataset),
        rare_fraction=config.rare_fraction,
        scene_fraction=config.scene_fraction,
        crop_px=config.crop_px,
        seed=config.seed,
        unlabelled=used,
        unlabelled_fraction=fraction if used else 0.0,
    )
