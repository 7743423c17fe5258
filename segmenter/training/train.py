"""`segmenter train`: the training loop, read from top to bottom, and validation.

Started by torchrun, several processes share every batch; they compute what one process would, up to rounding.
"""

import copy
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from marsgen.cleaning.dataset import Dataset
from marsgen.core.errors import RunError
from marsgen.core.pace import Pace
from marsgen.core.progress import ProgressBar
from marsgen.core.runs import Run
from marsgen.core.stop import stoppable
from marsgen.core.storage.checkpoints import (
    load_optimizer_tensors,
    optimizer_tensors,
    prefixed,
    read_weights,
    without_prefix,
)
from marsgen.core.storage.reading import check_content, naming
from marsgen.core.training import cosine_lr, refuse_nan, set_lr, update_ema, warm_up_ema
from marsgen.provenance import write_split_keys
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.confusion import confusion_matrix, iou_per_class, mean_iou
from marsgen.scenes.scene import Scene, SceneSource, batches_of_one_shape
from marsgen.scenes.tensors import image_tensor, label_tensor
from segmenter.inference.calibration import choose_shifts
from segmenter.inference.sliding_window import predict_whole
from segmenter.training.batches import TrainingBatches, iterate_batches
from segmenter.training.config import TrainConfig
from segmenter.training.device import can_be_captured, capture, open_accelerator, seeded_dropout
from segmenter.training.distributed import convert_batch_norm, sum_arrays, sum_over_processes
from segmenter.training.fork import keep_state
from segmenter.training.losses import SegmentationLoss
from segmenter.training.model import build_loss, group_parameters, init_network
from segmenter.training.previews import draw_validation
from segmenter.training.start import check_best_metric

_log = logging.getLogger(__name__)
WEIGHTS = "best.safetensors"
VALIDATION_BATCH = 32


@dataclass
class Progress:
    """The best validation so far; stored in every checkpoint."""

    best_step: int = 0
    best_score: float | None = None
    since_best: int = 0
    """validations since then"""

    def add(self, step: int, score: float, metric: str) -> bool:
        """Count a validation; True where it is the best so far: the lowest loss, or the highest of any other metric."""
        sign = -1 if metric == "loss" else 1
        if self.best_score is not None and sign * score <= sign * self.best_score:  # a tie keeps the earlier step
            self.since_best += 1
            return False
        self.best_step, self.best_score, self.since_best = step, score, 0
        return True


@dataclass(eq=False)
class State:
    """What the next step depends on; a checkpoint holds all of it."""

    network: nn.Module
    ema: nn.Module
    """running average of the weights; the network itself where `ema_decay` is 0"""
    loss_fn: SegmentationLoss
    optimizer: torch.optim.Optimizer
    progress: Progress

    def save(self, run: Run, step: int) -> None:
        """Write the checkpoint of `step`."""
        tensors = {
            **prefixed("network", self.network.state_dict()),
            **(prefixed("ema", self.ema.state_dict()) if self.ema is not self.network else {}),
            **prefixed("loss", self.loss_fn.state_dict()),
            **optimizer_tensors(self.optimizer, "optimizer"),
        }
        run.save_checkpoint(step, tensors, progress=asdict(self.progress))

    def restore(self, run: Run) -> int:
        """Load the last checkpoint of an interrupted run; return its step, 0 for a new run."""
        checkpoint = run.load_checkpoint()
        if checkpoint is None:
            return 0
        with naming(run.checkpoint_path, RunError, "delete it and repeat the command", "not a checkpoint of this run"):
            self.network.load_state_dict(without_prefix("network", checkpoint.tensors))
            if self.ema is not self.network:
                self.ema.load_state_dict(without_prefix("ema", checkpoint.tensors))
            self.loss_fn.load_state_dict(without_prefix("loss", checkpoint.tensors))
            load_optimizer_tensors(self.optimizer, checkpoint.tensors, "optimizer")
            self.progress = check_content(checkpoint.record["progress"], Progress, "progress", RunError)
        return checkpoint.step


def train(config: TrainConfig, run: Run, dataset: Dataset, extras: Sequence[SceneSource] = ()) -> Path:
    """Fit a segmenter to real and extra scenes; an interrupted run of the same folder is resumed.

    Args:
        extras: sources that `open_extras` has checked; they join training, never validation.
    Returns:
        best.safetensors: the weights with the best score on the real validation scenes.
    Raises:
        ConfigError: best_metric names no score, or the batch does not divide among the processes.
        DataError: nothing to train on, or best_metric cannot be measured on the validation scenes.
        RunError: the loss is not a number.
    """
    if run.finished:
        return run.folder / WEIGHTS
    accelerator = open_accelerator(config.precision)
    check_best_metric(config, dataset)
    write_split_keys(run, dataset, extras)

    # data: extra scenes may join training, never validation
    batches = TrainingBatches(config, dataset, extras, accelerator)
    _log.info("train: %s", batches.describe())

    # model
    network, pretrained = init_network(config, dataset.scenes.channels, len(dataset.scenes.classes))
    network = network.to(accelerator.device)
    if accelerator.num_processes > 1:
        convert_batch_norm(network)
    ema = copy.deepcopy(network) if config.ema_decay else network
    loss_fn = build_loss(config, dataset).to(accelerator.device)
    groups = group_parameters(network, config)
    optimizer = torch.optim.AdamW(groups, lr=config.lr, weight_decay=config.weight_decay, fused=True)
    state = State(network, ema, loss_fn, optimizer, Progress())
    done = state.restore(run)
    if done and done == config.fork_step:
        keep_state(run)  # a kill may have come between the checkpoint and this

    if config.cuda_graph and can_be_captured(network, config, accelerator):
        capture(network, batches[1][0], accelerator)
    forward = accelerator.prepare(network)  # averages gradients over the processes; `network` keeps the weights
    bar = ProgressBar(
        desc="train",
        unit=" images",
        total=config.steps * config.batch_size,
        initial=done * config.batch_size,
        disable=not accelerator.is_main_process,
    )
    numbered = iterate_batches(batches, first=done + 1)
    pace = Pace("train", config.steps)
    for step, (images, labels) in stoppable(numbered, lambda batch: state.save(run, batch[0])):
        if config.patience and state.progress.since_best >= config.patience:
            break
        lr = cosine_lr(config.lr, step, config.steps, config.warmup_steps)
        set_lr(optimizer, lr)
        images = images.to(accelerator.device, memory_format=torch.channels_last)  # (B, channels, H, W) in [-1, 1]
        labels = labels.to(accelerator.device)  # (B, H, W) int64, 255 = ignored
        with accelerator.autocast(), seeded_dropout(config.seed, step, accelerator.device):
            outputs = forward(images)  # (B, C, H, W), or a list of such where deeper maps are supervised
        logits, *deeper = outputs if isinstance(outputs, list) else [outputs]
        # this process's part of the loss; the parts add up
        loss = loss_fn(logits, labels, sum_over_processes)
        for deeper_logits in deeper:
            loss = loss + network.deep_supervision * loss_fn(deeper_logits, labels, sum_over_processes)
        accelerator.backward(loss * accelerator.num_processes)  # the mean over processes becomes the sum of the parts
        loss_fn.update_class_weights(logits.detach(), labels, sum_over_processes)  # not earlier: backward reads them
        optimizer.step()
        optimizer.zero_grad()
        if config.ema_decay:
            update_ema(ema, network, warm_up_ema(config.ema_decay, step, offset=1))
        bar.update(config.batch_size)
        if accelerator.is_main_process:
            pace.step(step)
        done = step

        validates = step % config.validate_every == 0 or step == config.steps
        if step % config.log_every == 0 or validates:
            train_loss = sum_over_processes(loss.detach()).item()  # waits for the GPU, so not every step
            refuse_nan({"training": train_loss}, step, f"the learning rate (lr={config.lr:g})")
            run.log(step, train_loss=train_loss, lr=lr)
        if validates:
            scores = validate(ema, loss_fn, dataset, accelerator)
            refuse_nan({"validation": scores["loss"]}, step, f"the learning rate (lr={config.lr:g})")
            run.log(step, **scores)
            if run.tracked:
                run.show(step, "validation", draw_validation(ema, dataset, accelerator))
            if state.progress.add(step, scores[config.best_metric], config.best_metric):
                run.save_weights(WEIGHTS, ema.state_dict(), **weights_record(config, dataset, step, scores, pretrained))
            bar.set_postfix({config.best_metric: scores[config.best_metric], "best": state.progress.best_score})
        if validates or step == config.fork_step:
            state.save(run, step)
        if step == config.fork_step:
            keep_state(run)
    bar.close()
    summary = summarise(run, config, dataset, extras, done, state.progress)
    summary["precision"] = "bf16" if accelerator.mixed_precision == "bf16" else "fp32"
    if config.calibrate and accelerator.is_main_process:
        summary["logit_shift"] = calibrate(run, ema, config.calibrate, dataset)
    run.finish(summary)
    accelerator.wait_for_everyone()  # the main process writes; afterwards the files are there for all
    return run.folder / WEIGHTS


# validation


def read_scenes(dataset: Dataset, indices: Sequence[int]) -> Iterator[Scene]:
    """Real scenes one at a time, in the order of `indices`."""
    return (dataset.scenes[index] for index in indices)


@torch.inference_mode()
def validate(
    network: nn.Module, loss_fn: nn.Module, dataset: Dataset, accelerator: Accelerator, block: int = VALIDATION_BATCH
) -> dict[str, float]:
    """Scores on the validation scenes, whole and unchanged; the processes take blocks of `block` scenes in turn.

    Returns:
        loss (mean over scenes), mean_iou and iou_NAME of each class in [0, 1]; NaN where a class is in neither the
        label maps nor the predictions.
    """
    network.eval()
    classes, val = dataset.scenes.classes, dataset.split.val
    confusion = np.zeros((len(classes), len(classes)), np.int64)
    losses = np.zeros(len(val))  # of each scene; 0 for those of other processes
    for start in range(accelerator.process_index * block, len(val), accelerator.num_processes * block):
        done = start
        for batch in batches_of_one_shape(read_scenes(dataset, val[start : start + block]), block):
            indices = np.stack([scene.indices for scene in batch])
            images = image_tensor(np.stack([scene.image for scene in batch])).to(accelerator.device)
            with accelerator.autocast():
                logits = predict_whole(network, images.contiguous(memory_format=torch.channels_last))[:, : len(classes)]
            losses[done : done + len(batch)] = loss_fn(logits, label_tensor(indices).to(accelerator.device)).item()
            confusion += confusion_matrix(indices, logits.argmax(1).cpu().numpy(), len(classes))
            done += len(batch)
    network.train()
    confusion, losses = (sum_arrays(array, accelerator.device) for array in (confusion, losses))
    return named_scores(confusion, classes) | {"loss": float(np.mean(losses))}


def named_scores(confusion: np.ndarray, classes: ClassSet) -> dict[str, float]:
    """(C, C) pixel counts -> {"mean_iou": ..., "iou_soil": ..., ...}; NaN where a class cannot be scored."""
    ious = {f"iou_{name}": float(v) for name, v in zip(classes.names, iou_per_class(confusion), strict=True)}
    return {"mean_iou": float(mean_iou(confusion)), **ious}


def calibrate(run: Run, network: nn.Module, factor: float, dataset: Dataset) -> dict[str, float]:
    """Choose the logit shifts of the rare classes (`choose_shifts`) and store them beside the best weights.

    Returns:
        class name -> shift of its logit; 0 for classes that are not rare.
    """
    best = read_weights(run.folder / WEIGHTS)
    network.load_state_dict(best.tensors)
    shifts = choose_shifts(network.eval(), dataset, factor, VALIDATION_BATCH)
    run.save_weights(WEIGHTS, best.tensors, **best.record | {"logit_shift": shifts})
    return dict(zip(dataset.scenes.classes.names, shifts, strict=True))


# what is written beside the weights


def weights_record(
    config: TrainConfig, dataset: Dataset, step: int, scores: dict[str, float], pretrained: dict[str, str] | None = None
) -> dict[str, object]:
    """The record of best.safetensors: what `load_segmenter` needs, the initial weights, and the validation scores."""
    return {
        "step": step,
        "network": config.model_dump(mode="json", include={"network", config.network, "void_weight"}),
        **({"pretrained": pretrained} if pretrained else {}),
        "channels": dataset.scenes.channels,
        "classes": dataset.scenes.classes.to_dict(),
        "best_metric": config.best_metric,
        "scores": scores,
    }


def summarise(
    run: Run, config: TrainConfig, dataset: Dataset, extras: Sequence[SceneSource], steps: int, progress: Progress
) -> dict[str, object]:
    """The content of DONE: the best step, its validation scores, and how much was trained on."""
    best = next((m for m in run.metrics() if m["step"] == progress.best_step and "mean_iou" in m), {})
    return {
        "best_step": progress.best_step,
        "best_metric": config.best_metric,
        "best_score": progress.best_score,
        "scores": {key: value for key, value in best.items() if key != "step"},
        "steps": steps,
        "stopped_early": steps < config.steps,
        "images_seen": steps * config.batch_size,
        "real_scenes": len(dataset.split.train),
        "rare_scenes": len(dataset.train_scenes_with(dataset.scenes.classes.rare)),
        "extra_scenes": sum(len(extra) for extra in extras),
        "val_scenes": len(dataset.split.val),
        "data": dataset.describe(),
    }
