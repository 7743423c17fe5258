"""Training pix2pix: the loop, read from top to bottom."""

import copy
import functools
import logging
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from marsgen.cleaning.dataset import Dataset
from marsgen.core.pace import Pace
from marsgen.core.progress import ProgressBar
from marsgen.core.runs import Run
from marsgen.core.stop import stoppable
from marsgen.core.storage.checkpoints import prefixed
from marsgen.core.storage.files import write_json
from marsgen.core.training import arithmetic, linear_lr, refuse_nan, set_lr, share_batch, update_ema, warm_up_ema
from marsgen.generators import RECORD
from marsgen.generators.batches import InpaintingSampler
from marsgen.generators.config import TrainPix2PixConfig
from marsgen.generators.pix2pix.augment import draw_augmentation
from marsgen.generators.pix2pix.oasis import SegmentationDiscriminator, SegmentationLoss, balance_classes
from marsgen.generators.pix2pix.pix2pix import (
    WEIGHTS,
    DiscriminatorNetwork,
    GeneratorNetwork,
    PatchLoss,
    Pix2Pix,
    blend,
    draw_noise,
    feature_matching_loss,
    l1_loss,
)
from marsgen.generators.sizes import sizes_of
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
from marsgen.scenes.tensors import image_tensor, label_tensor, one_hot

_log = logging.getLogger(__name__)

Discriminator = SegmentationDiscriminator | DiscriminatorNetwork


def train(config: TrainPix2PixConfig, run: Run, dataset: Dataset) -> dict[str, Any]:
    """Fit generator and discriminator on the train part of the split; an interrupted run is resumed.

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
    sizes = sizes_of(config, dataset)
    if sizes.why:
        _log.info("pix2pix: %s", sizes.why)
    mine = share_batch(sizes.batch_size, accelerator)
    dtype = arithmetic(config.precision, device)
    autocast = functools.partial(torch.autocast, device.type, dtype, enabled=dtype != torch.float32)

    # data
    sampler = sampler_of(dataset, config, sizes.crop_px)
    num_classes, channels = len(dataset.scenes.classes), dataset.scenes.channels
    styles = survey_styles(dataset)
    record = describe("pix2pix", dataset, width=config.generator_width, precision=config.precision)

    # networks
    generator, discriminator = build_networks(config, num_classes, channels)
    for network in (generator, discriminator):
        network.to(memory_format=torch.channels_last).to(device)
    objective: PatchLoss | SegmentationLoss = PatchLoss()
    if config.discriminator == "segmentation":
        objective = SegmentationLoss(balance_classes(expected_pixels(dataset, sampler)).to(device))
    ema = copy.deepcopy(generator).requires_grad_(False)
    g_optimizer, d_optimizer = (
        torch.optim.Adam(trained.parameters(), lr, betas=(0.0, config.beta2), fused=True)
        for trained, lr in ((generator, config.generator_lr), (discriminator, config.discriminator_lr))
    )
    networks = {"generator": generator, "discriminator": discriminator, "ema": ema}
    optimizers = {"g_optimizer": g_optimizer, "d_optimizer": d_optimizer}
    done = restore(run, networks, optimizers)
    generate, discriminate = accelerator.prepare(generator, discriminator)

    steps = range(done + 1, config.steps + 1)
    progress = ProgressBar(
        steps, "pix2pix", config.steps, initial=done, mininterval=1.0, disable=not accelerator.is_main_process
    )

    pace = Pace("pix2pix", config.steps)

    def checkpoint(step: int) -> None:
        if step < config.steps:
            save(run, step, networks, optimizers)

    for step in stoppable(progress, checkpoint):
        set_lr(g_optimizer, linear_lr(config.generator_lr, step, config.steps, config.decay_fraction))
        set_lr(d_optimizer, linear_lr(config.discriminator_lr, step, config.steps, config.decay_fraction))

        # a batch: pictures normalised by their style, one augmentation for real and fake
        batch = sampler.batch(step, mine)
        _, height, width = batch.indices.shape
        images = image_tensor(batch.images).to(device)  # (B, channels, h, w) in [-1, 1]
        labels = label_tensor(batch.indices).to(device)  # (B, h, w)
        inpainting_mask = torch.from_numpy(batch.inpainting_mask)[:, None].to(device)  # (B, 1, h, w)
        noise = draw_noise(batch.seeds.tolist(), height, width).to(device)
        style, _ = visible_style(images, inpainting_mask)
        pictures = normalise(images, style)
        condition = torch.cat([one_hot(labels, num_classes), inpainting_mask], dim=1)
        augmentation = draw_augmentation(height, width, config.augmentation, batch.seeds).to(device)
        moved = augmentation.move(condition)
        seen_real = torch.cat([augmentation.apply(pictures), moved], dim=1)

        # fake, then the discriminator on the detached fake
        with autocast():
            drawn = generate(labels, pictures, inpainting_mask, style, noise)
            fake = blend(pictures, drawn, inpainting_mask)
            seen_fake = torch.cat([augmentation.apply(fake), moved], dim=1)
            logits, _ = discriminate(objective.join(seen_real, seen_fake.detach(), moved, batch.seeds))
            d_loss = objective.discriminator_loss(logits, moved, batch.seeds)
        accelerator.backward(d_loss)
        d_optimizer.step()
        d_optimizer.zero_grad()

        # then the generator, by the discriminator just updated
        discriminator.requires_grad_(False)
        with autocast():
            with torch.no_grad():
                real_features = discriminator.features(seen_real)
            fake_logits, fake_features = discriminator(seen_fake)
            adversarial = objective.adversarial_loss(fake_logits, moved)
            features = feature_matching_loss(real_features, fake_features)
            l1 = l1_loss(pictures, drawn, labels, inpainting_mask)
            g_loss = config.adversarial_weight * adversarial + config.feature_weight * features + config.l1_weight * l1
        accelerator.backward(g_loss)
        g_optimizer.step()
        g_optimizer.zero_grad()
        discriminator.requires_grad_(True)
        update_ema(ema, generator, warm_up_ema(config.ema_decay, step, offset=0))

        losses = {"discriminator": d_loss, "adversarial": adversarial, "features": features, "l1": l1}
        values = {name: loss.item() for name, loss in losses.items()}
        refuse_nan(values, step, "generator_lr and discriminator_lr")
        if step % config.log_every == 0 or step == config.steps:
            run.log(step, **values)
            progress.set_postfix({name: f"{value:.3f}" for name, value in values.items()}, refresh=False)
        if step % config.sample_every == 0 or step == config.steps:
            write_grid(run, step, Pix2Pix(ema, styles, dataset.scenes.classes), dataset, sizes.crop_px, config.seed)
        if step % config.checkpoint_every == 0 and step < config.steps:
            save(run, step, networks, optimizers)
        pace.step(step)

    if run.writes:
        write_json(run.folder / RECORD, record)
    kept = {**prefixed("generator", ema.state_dict()), "styles.shares": styles.shares, "styles.styles": styles.styles}
    run.save_weights(WEIGHTS, kept, step=config.steps)
    summary = {
        "generator": "pix2pix",
        "steps": config.steps,
        "crop_px": sizes.crop_px,
        "batch_size": sizes.batch_size,
        "scenes": len(sampler.train),
        "rare_scenes": len(rare_scenes(dataset)),
        "losses": values,
    }
    run.finish(summary)
    return summary


def build_networks(
    config: TrainPix2PixConfig, num_classes: int, channels: int
) -> tuple[GeneratorNetwork, Discriminator]:
    """Generator and discriminator with random weights; torch's global random state is restored afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        generator = GeneratorNetwork(num_classes, channels, config.generator_width)
        kind = SegmentationDiscriminator if config.discriminator == "segmentation" else DiscriminatorNetwork
        return generator, kind(num_classes, channels, config.discriminator_width)


def sampler_of(dataset: Dataset, config: TrainPix2PixConfig, crop_px: int) -> InpaintingSampler:
    """Windows of the train part alone."""
    return InpaintingSampler(
        dataset.scenes,
        train=dataset.split.train,
        rare_train=rare_scenes_by_class(dataset),
        rare=rare_indices(dataset),
        rare_fraction=config.rare_fraction,
        scene_fraction=config.scene_fraction,
        crop_px=crop_px,
        seed=config.seed,
    )


def expected_pixels(dataset: Dataset, sampler: InpaintingSampler) -> np.ndarray:
    """(C + 1,) expected pixels per scene of each class in what `sampler` draws; last = ignored."""
    pixels = dataset.survey.pixels
    everywhere = pixels[list(sampler.train)].mean(axis=0)
    if not sampler.rare_train:
        return everywhere
    rare = np.mean([pixels[list(scenes)].mean(axis=0) for scenes in sampler.rare_train.values()], axis=0)
    return (1 - sampler.rare_fraction) * everywhere + sampler.rare_fraction * rare
