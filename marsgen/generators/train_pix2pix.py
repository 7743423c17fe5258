"""Training pix2pix: the loop, top to bottom."""

import copy
import functools
import io
import math
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from pydantic import Field
from tqdm import tqdm

from marsgen.config import Config, DataConfig
from marsgen.errors import ConfigError, RunError
from marsgen.files import write_bytes, write_json
from marsgen.generators import RECORD, DrawRequest
from marsgen.generators.augment import draw_augmentation
from marsgen.generators.batches import HoleSampler, cut_window, soft_window
from marsgen.generators.pix2pix import (
    WEIGHTS,
    DiscriminatorNetwork,
    GeneratorNetwork,
    Pix2Pix,
    adversarial_loss,
    arithmetic,
    blend,
    discriminator_loss,
    draw_noise,
    feature_matching_loss,
    l1_loss,
    patch_weights,
)
from marsgen.generators.style import StyleTable, measure_style, normalise, visible_style
from marsgen.runs import Run, load_optimizer_tensors, optimizer_tensors, prefixed, without_prefix
from marsgen.scenes.dataset import Dataset
from marsgen.scenes.tensors import image_tensor, label_tensor, one_hot

STYLE_SCENES = 4096
"""styles of at most this many training scenes are kept beside the weights"""
GRID_SCENES = 6
"""rows of a sample grid"""

Networks = Mapping[str, torch.nn.Module]
Optimizers = Mapping[str, torch.optim.Optimizer]


class TrainGeneratorConfig(Config):
    """`marsgen train-generator`; configs/train-generator.yaml has the same keys."""

    kind: Literal["pix2pix"] = "pix2pix"
    """which generator to train; copy-paste needs no training"""
    seed: int = Field(0, ge=0)
    """first weights, order of scenes, holes and noise"""
    data: DataConfig = DataConfig()
    steps: int = Field(4000, ge=1)
    """optimizer steps of each network"""
    batch_size: int = Field(16, ge=1)
    """windows per step, over all processes"""
    crop_px: int = Field(128, ge=32)
    """longer sides of a scene are cut to this, somewhere new each time"""
    rare_share: float = Field(0.3, ge=0, le=1)
    """share of the windows drawn from scenes that show a rare class; the rest from all scenes alike"""
    scene_share: float = Field(0.5, ge=0, le=1)
    """share of the windows drawn whole, from the label map alone; in the others the hole is a soft window"""
    generator_width: int = Field(32, ge=4)
    """channels of the generator at its finest scale"""
    discriminator_width: int = Field(32, ge=4)
    """channels of the discriminator at its finest scale"""
    generator_lr: float = Field(3e-4, gt=0)
    """Adam step size of the generator"""
    discriminator_lr: float = Field(4e-4, gt=0)
    """larger than the generator's (two time scales, Heusel et al. 2017, arXiv 1706.08500)"""
    beta2: float = Field(0.99, gt=0, lt=1)
    """Adam's second moment; its first is 0, since a moving opponent makes momentum stale"""
    decay_share: float = Field(0.4, ge=0, le=1)
    """the step sizes fall linearly to 0 over this last share of the steps"""
    adversarial_weight: float = Field(1.0, ge=0)
    """weight of looking real to the discriminator"""
    feature_weight: float = Field(2.0, ge=0)
    """weight of matching the discriminator's features of the real window"""
    l1_weight: float = Field(1.0, ge=0)
    """weight of matching labelled pixels; more makes textures blurry"""
    augmentation: float = Field(1.0, ge=0, le=1)
    """strength of the differentiable augmentation in front of the discriminator; 0 = none"""
    ema_decay: float = Field(0.999, ge=0, lt=1)
    """the weights kept are a running mean over about 1 / (1 - ema_decay) steps"""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto = bf16 where the processor has instructions for it, else fp32"""
    log_every: int = Field(50, ge=1)
    """steps between lines in metrics.jsonl"""
    sample_every: int = Field(500, ge=1)
    """steps between picture grids under samples/"""
    checkpoint_every: int = Field(250, ge=1)
    """steps between checkpoints; a killed run repeats at most this many"""


def train(config: TrainGeneratorConfig, run: Run, dataset: Dataset) -> dict[str, Any]:
    """Fit generator and discriminator on the train part of the split, going on where the run folder stands.

    Writes metrics.jsonl, samples/step_*.png, best.safetensors (running mean of the generator) and generator.json.

    Returns:
        the summary that also ends up in the run's DONE file.
    Raises:
        RunError: a loss is not a number.
        ConfigError: the batch does not divide among the processes.
    """
    if run.finished:
        return run.summary
    accelerator = Accelerator()
    device = accelerator.device
    mine = share_batch(config.batch_size, accelerator.process_index, accelerator.num_processes)
    dtype = arithmetic(config.precision, device)
    autocast = functools.partial(torch.autocast, device.type, dtype, enabled=dtype != torch.float32)

    # data
    sampler = sampler_of(dataset, config)
    num_classes, channels = len(dataset.scenes.classes), dataset.scenes.channels
    styles = survey_styles(dataset)
    record = describe(dataset, config)

    # networks; forked, so that the caller's stream of random numbers stays untouched
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        generator = GeneratorNetwork(num_classes, channels, config.generator_width).to(device)
        discriminator = DiscriminatorNetwork(num_classes, channels, config.discriminator_width).to(device)
    ema = copy.deepcopy(generator).requires_grad_(False)
    g_optimizer = torch.optim.Adam(generator.parameters(), config.generator_lr, betas=(0.0, config.beta2))
    d_optimizer = torch.optim.Adam(discriminator.parameters(), config.discriminator_lr, betas=(0.0, config.beta2))
    networks = {"generator": generator, "discriminator": discriminator, "ema": ema}
    optimizers = {"g_optimizer": g_optimizer, "d_optimizer": d_optimizer}
    done = restore(run, networks, optimizers)
    draw_with, judge_with = accelerator.prepare(generator, discriminator)

    steps = range(done + 1, config.steps + 1)
    progress = tqdm(
        steps, "pix2pix", config.steps, initial=done, mininterval=1.0, disable=not accelerator.is_main_process
    )
    for step in progress:
        set_lr(g_optimizer, config.generator_lr * lr_factor(step, config))
        set_lr(d_optimizer, config.discriminator_lr * lr_factor(step, config))

        # a batch: pictures normalised by their style, one augmentation for real and fake
        batch = sampler.batch(step, mine)
        _, height, width = batch.indices.shape
        images = image_tensor(batch.images).to(device)  # (B, channels, h, w) in [-1, 1]
        labels = label_tensor(batch.indices).to(device)  # (B, h, w)
        hole = torch.from_numpy(batch.hole)[:, None].to(device)  # (B, 1, h, w)
        noise = draw_noise(batch.seeds.tolist(), height, width).to(device)
        style, _ = visible_style(images, hole)
        pictures = normalise(images, style)
        condition = torch.cat([one_hot(labels, num_classes), hole], dim=1)
        augmentation = draw_augmentation(height, width, config.augmentation, batch.seeds).to(device)
        seen_real = augmentation.apply(pictures, condition)

        # fake, then the discriminator on the detached fake
        with autocast():
            drawn = draw_with(labels, pictures, hole, style, noise)
            fake = blend(pictures, drawn, hole)
            seen_fake = augmentation.apply(fake, condition)
            logits, _ = judge_with(torch.cat([seen_real, seen_fake.detach()]))
            real_logits, fake_logits = zip(*(scale.chunk(2) for scale in logits), strict=True)
            weights = patch_weights(augmentation.move(hole), real_logits)
            d_loss = discriminator_loss(real_logits, fake_logits, weights)
        accelerator.backward(d_loss)
        d_optimizer.step()
        d_optimizer.zero_grad()

        # the generator, judged by the discriminator just improved
        discriminator.requires_grad_(False)
        with autocast():
            with torch.no_grad():
                _, real_features = discriminator(seen_real)
            fake_logits, fake_features = discriminator(seen_fake)
            adversarial = adversarial_loss(fake_logits, weights)
            features = feature_matching_loss(real_features, fake_features)
            l1 = l1_loss(pictures, drawn, labels, hole)
            g_loss = config.adversarial_weight * adversarial + config.feature_weight * features + config.l1_weight * l1
        accelerator.backward(g_loss)
        g_optimizer.step()
        g_optimizer.zero_grad()
        discriminator.requires_grad_(True)
        update_ema(ema, generator, min(config.ema_decay, step / (step + 10)))

        losses = {"discriminator": d_loss, "adversarial": adversarial, "features": features, "l1": l1}
        values = {name: loss.item() for name, loss in losses.items()}
        refuse_nan(values, step)
        if step % config.log_every == 0 or step == config.steps:
            run.log(step, **values)
            progress.set_postfix({name: f"{value:.3f}" for name, value in values.items()}, refresh=False)
        if step % config.sample_every == 0 or step == config.steps:
            write_grid(run, step, Pix2Pix(ema, styles, dataset.scenes.classes), dataset, config)
        if step % config.checkpoint_every == 0 and step < config.steps:
            save(run, step, networks, optimizers)

    if run.writes:
        write_json(run.folder / RECORD, record)
    kept = {**prefixed("generator", ema.state_dict()), "styles.shares": styles.shares, "styles.styles": styles.styles}
    run.save_weights(WEIGHTS, kept, step=config.steps)
    summary = {
        "generator": "pix2pix",
        "steps": config.steps,
        "scenes": len(sampler.train),
        "rare_scenes": len(sampler.rare_train),
        "losses": values,
    }
    run.finish(summary)
    return summary


# data


def sampler_of(dataset: Dataset, config: TrainGeneratorConfig) -> HoleSampler:
    """Windows of the train part; nothing else of the data set is ever learned from."""
    rare = _rare_indices(dataset)
    shows_rare = dataset.survey.pixels[:, list(rare)].sum(axis=1) > 0
    return HoleSampler(
        dataset.scenes,
        train=dataset.split.train,
        rare_train=[i for i in dataset.split.train if shows_rare[i]],
        rare=rare,
        rare_share=config.rare_share,
        scene_share=config.scene_share,
        crop_px=config.crop_px,
        seed=config.seed,
    )


def _rare_indices(dataset: Dataset) -> tuple[int, ...]:
    return tuple(dataset.scenes.classes.index(name) for name in dataset.scenes.classes.rare)


def survey_styles(dataset: Dataset) -> StyleTable:
    """Style and class shares of the training scenes, evenly thinned out where they are very many."""
    train = np.asarray(dataset.split.train)
    chosen = train[np.linspace(0, len(train) - 1, min(len(train), STYLE_SCENES)).astype(int)]
    styles = []
    for index in chosen:
        image = image_tensor(dataset.scenes[int(index)].image[None])
        styles.append(measure_style(image, torch.ones_like(image[:, :1])))
    counts = dataset.survey.pixels[chosen].astype(np.float32)
    return StyleTable(torch.from_numpy(counts / counts.sum(axis=1, keepdims=True)), torch.cat(styles))


def describe(dataset: Dataset, config: TrainGeneratorConfig) -> dict[str, Any]:
    """What it takes to rebuild the generator from its weights, and what it has seen."""
    return {
        "generator": config.kind,
        "classes": dataset.scenes.classes.to_dict(),
        "channels": dataset.scenes.channels,
        "width": config.generator_width,
        "precision": config.precision,
        "trained_on": [dataset.survey.keys[i] for i in dataset.split.train],
    }


def share_batch(batch_size: int, process: int, processes: int) -> range:
    """The numbers of the samples in each batch that fall to one of several processes."""
    if batch_size % processes:
        raise ConfigError(f"batch_size is {batch_size}; it has to be a multiple of the {processes} processes")
    return range(process, batch_size, processes)


# state


def save(run: Run, step: int, networks: Networks, optimizers: Optimizers) -> None:
    """Checkpoint everything that the next step depends on."""
    tensors: dict[str, torch.Tensor] = {}
    for name, network in networks.items():
        tensors |= prefixed(name, network.state_dict())
    for name, optimizer in optimizers.items():
        tensors |= optimizer_tensors(optimizer, name)
    run.save_checkpoint(step, tensors)


def restore(run: Run, networks: Networks, optimizers: Optimizers) -> int:
    """Put back the last checkpoint of an interrupted run; the number of steps that are done (0 for a new run)."""
    checkpoint = run.load_checkpoint()
    if checkpoint is None:
        return 0
    for name, network in networks.items():
        network.load_state_dict(without_prefix(name, checkpoint.tensors))
    for name, optimizer in optimizers.items():
        load_optimizer_tensors(optimizer, checkpoint.tensors, name)
    return checkpoint.step


def lr_factor(step: int, config: TrainGeneratorConfig) -> float:
    """1, then falling linearly over the last `decay_share` of the steps; step counts from 1."""
    left = config.steps - step + 1
    return min(1.0, left / max(1.0, config.decay_share * config.steps))


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = lr


@torch.no_grad()
def update_ema(ema: torch.nn.Module, network: torch.nn.Module, decay: float) -> None:
    """ema = decay * ema + (1 - decay) * network, parameter by parameter."""
    for kept, new in zip(ema.parameters(), network.parameters(), strict=True):
        kept.lerp_(new, 1 - decay)


def refuse_nan(losses: dict[str, float], step: int) -> None:
    """Stop before broken weights reach a checkpoint."""
    for name, value in losses.items():
        if not math.isfinite(value):
            raise RunError(
                f"{name} loss is {value} at step {step}; lower generator_lr and discriminator_lr, or set "
                "precision=fp32, and give a new --out"
            )


# sample grids


def write_grid(run: Run, step: int, generator: Pix2Pix, dataset: Dataset, config: TrainGeneratorConfig) -> None:
    """samples/step_*.png: mask | real | whole scene drawn | hole drawn, for a few validation scenes."""
    if not run.writes:
        return
    rows = [np.hstack(_grid_row(i, generator, dataset, config)) for i in grid_scenes(dataset)]
    if not rows:
        return
    width = max(row.shape[1] for row in rows)
    grid = np.vstack([np.pad(row, ((0, 4), (0, width - row.shape[1]), (0, 0))) for row in rows])
    scale = max(1, 192 // min(config.crop_px, rows[0].shape[0]))
    picture = io.BytesIO()
    Image.fromarray(grid.repeat(scale, axis=0).repeat(scale, axis=1)).save(picture, format="png")
    write_bytes(run.folder / "samples" / f"step_{step:06d}.png", picture.getvalue())


def grid_scenes(dataset: Dataset) -> list[int]:
    """A few validation scenes: half of them with the most pixels of a rare class, the others as they come."""
    val, rare = dataset.split.val, list(_rare_indices(dataset))
    rare_pixels = dataset.survey.pixels[:, rare].sum(axis=1)
    rarest = sorted(val, key=lambda i: -rare_pixels[i])[: GRID_SCENES // 2]
    return [*rarest, *(i for i in val if i not in rarest)][:GRID_SCENES]


def _grid_row(index: int, generator: Pix2Pix, dataset: Dataset, config: TrainGeneratorConfig) -> list[np.ndarray]:
    scene, classes = dataset.scenes[index], dataset.scenes.classes
    rng = np.random.default_rng([config.seed, index])
    rare = _rare_indices(dataset)
    height, width = (min(config.crop_px, side) for side in scene.labels.shape)
    image, indices = cut_window(scene.image, scene.indices, (height, width), rare, rng)
    window = soft_window(indices, rare, rng)
    drawn = [
        generator.draw(DrawRequest(image[None], indices[None], hole[None], np.array([index], np.uint64)))[0]
        for hole in (np.ones_like(window), window)
    ]
    # the mask is dark where the last picture is real
    mask = (classes.paint(classes.to_ids(indices)) * (0.4 + 0.6 * window[..., None])).astype(np.uint8)
    pictures = [mask, *(np.broadcast_to(picture, (height, width, 3)) for picture in (image, *drawn))]
    return [np.pad(picture, ((0, 0), (0, 4), (0, 0))) for picture in pictures]
