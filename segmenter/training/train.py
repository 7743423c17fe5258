"""`segmenter train`: the loop, top to bottom.

Started by torchrun, several processes share every batch; they compute what one process would, up to rounding.
"""

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn
from tqdm import tqdm

from marsgen.cleaning.counts import class_weights
from marsgen.cleaning.dataset import Dataset
from marsgen.core.checkpoints import load_optimizer_tensors, optimizer_tensors, prefixed, read_weights, without_prefix
from marsgen.core.errors import ConfigError, DataError, RunError, nearest
from marsgen.core.files import write_json
from marsgen.core.process_group import join_process_group
from marsgen.core.runs import Run
from marsgen.scenes.classes import ClassSet
from marsgen.scenes.confusion import confusion_matrix, iou_per_class, mean_iou
from marsgen.scenes.scene import Scene, SceneSource, batches_of_one_shape, scene_key
from marsgen.scenes.tensors import image_tensor, label_tensor
from segmenter.config import TrainConfig
from segmenter.inference.calibration import find_shifts
from segmenter.networks import EncoderUNet, build_network
from segmenter.networks.encoder import load_pretrained
from segmenter.training.batches import TrainingBatches, iterate_batches, trained_on
from segmenter.training.distributed import SyncDropout, convert_sync_batch_norm, sum_arrays, sum_over_processes
from segmenter.training.losses import SegmentationLoss, cap_class_weights


@dataclass
class Progress:
    """What the loop knows beyond its tensors; goes into every checkpoint."""

    best_step: int = 0
    best_score: float | None = None
    since_best: int = 0
    """validations since then"""

    def add(self, step: int, score: float, metric: str) -> bool:
        """Count a validation; True if it is the best so far (least loss, or most of anything else)."""
        sign = -1 if metric == "loss" else 1
        if self.best_score is not None and sign * score <= sign * self.best_score:  # a tie keeps the earlier step
            self.since_best += 1
            return False
        self.best_step, self.best_score, self.since_best = step, score, 0
        return True


def train(config: TrainConfig, run: Run, dataset: Dataset, extras: Sequence[SceneSource] = ()) -> Path:
    """Fit a segmenter to real and extra scenes; go on where an interrupted run of the same folder stopped.

    Args:
        extras: sources that `mixing.open_extras` has checked; they join training, never validation.
    Returns:
        best.safetensors: the weights that did best on the real validation scenes.
    Raises:
        ConfigError: best_metric names nothing that is measured, or the batch does not divide among the processes.
        DataError: nothing to train on, or best_metric cannot be measured on the validation scenes.
        RunError: the loss is no longer a number.
    """
    best_path = run.folder / "best.safetensors"
    if run.finished:
        return best_path
    accelerator = open_accelerator(config.precision)
    classes = dataset.scenes.classes
    check_best_metric(config, dataset)
    write_split_keys(run, dataset, extras)

    # data: extra scenes may join training, never validation
    batches = TrainingBatches(config, dataset, extras, accelerator)

    # model
    network, pretrained = draw_network(config, dataset.scenes.channels, len(classes))
    network = network.to(accelerator.device)
    if accelerator.num_processes > 1:
        convert_sync_batch_norm(network)
    average = copy.deepcopy(network) if config.ema_decay else network
    weights = class_weights(dataset.survey.pixels[list(dataset.split.train)], config.class_weight_power)
    weights = cap_class_weights(weights, config.class_weight_max)
    if config.void_weight:
        weights = np.append(weights, np.float32(config.void_weight) * weights.min())
    follows_iou = config.class_weights == "iou"
    loss_fn = SegmentationLoss(
        config.loss,
        weights,
        config.class_weight_offset if follows_iou else None,
        config.class_weight_max,
    ).to(accelerator.device)
    optimizer = torch.optim.AdamW(group_parameters(network, config), lr=config.lr, weight_decay=config.weight_decay)

    # where an interrupted run stopped
    progress, done = Progress(), 0
    if checkpoint := run.load_checkpoint():
        network.load_state_dict(without_prefix("network", checkpoint.tensors))
        average.load_state_dict(without_prefix("average", checkpoint.tensors) or network.state_dict())
        load_optimizer_tensors(optimizer, checkpoint.tensors, "optimizer")
        if follows_iou:
            loss_fn.load_state_dict(without_prefix("loss", checkpoint.tensors))
        progress, done = Progress(**checkpoint.record["progress"]), checkpoint.step

    if config.cuda_graph and can_be_captured(network, config, accelerator):
        capture(network, batches, accelerator)
    compute = accelerator.prepare(network)  # with gradients averaged over the processes; `network` has the weights
    bar = tqdm(
        desc="train",
        unit=" images",
        total=config.steps * config.batch_size,
        initial=done * config.batch_size,
        disable=not accelerator.is_main_process,
    )
    for step, (images, labels) in iterate_batches(batches, first=done + 1):
        if config.patience and progress.since_best >= config.patience:
            break
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(config, step) * group["lr_factor"]
        images = images.to(accelerator.device, memory_format=torch.channels_last)  # (B, channels, H, W) in [-1, 1]
        with accelerator.autocast(), drawn_from(config.seed, step, accelerator.device):
            found = compute(images)  # (B, C, H, W)
        logits, *deeper = found if isinstance(found, list) else [found]
        # (B, H, W) int64, 255 = ignored
        labels = labels.to(accelerator.device)
        # this process's part of the loss, the parts add up
        loss = loss_fn(logits, labels, sum_over_processes)
        for of_deeper_map in deeper:
            loss = loss + network.deep_supervision * loss_fn(of_deeper_map, labels, sum_over_processes)
        accelerator.backward(loss * accelerator.num_processes)  # the mean over processes becomes the sum of the parts
        loss_fn.follow(logits.detach(), labels, sum_over_processes)  # not earlier: backward reads the weights
        optimizer.step()
        optimizer.zero_grad()
        if config.ema_decay:
            update_average(average, network, config.ema_decay, step)
        bar.update(config.batch_size)
        done = step

        validates = step % config.validate_every == 0 or step == config.steps
        if step % config.log_every == 0 or validates:
            train_loss = sum_over_processes(loss.detach()).item()  # waits for the GPU, so not every step
            refuse_broken_loss(train_loss, step, config)
            run.log(step, train_loss=train_loss, lr=learning_rate(config, step))
        if validates:
            scores = validate(average, loss_fn, dataset, accelerator)
            refuse_broken_loss(scores["loss"], step, config)
            run.log(step, **scores)
            if progress.add(step, scores[config.best_metric], config.best_metric):
                record = weights_record(config, dataset, step, scores, pretrained)
                run.save_weights("best.safetensors", average.state_dict(), **record)
            bar.set_postfix({config.best_metric: scores[config.best_metric], "best": progress.best_score})
            tensors = {**prefixed("network", network.state_dict()), **optimizer_tensors(optimizer, "optimizer")}
            if config.ema_decay:
                tensors |= prefixed("average", average.state_dict())
            if follows_iou:
                tensors |= prefixed("loss", loss_fn.state_dict())
            run.save_checkpoint(step, tensors, progress=asdict(progress))
    bar.close()
    summary = summary_of(run, config, dataset, extras, done, progress)
    summary["precision"] = "bf16" if accelerator.mixed_precision == "bf16" else "fp32"
    if config.calibrate and accelerator.is_main_process:
        summary["logit_shift"] = shift_rare_logits(run, average, config, dataset, accelerator)
    run.finish(summary)
    accelerator.wait_for_everyone()  # the first process writes; the files are there for all
    return best_path


# device, weights, schedule


def open_accelerator(precision: str) -> Accelerator:
    """The device to train on, with autocast to bf16 where `precision` (auto, bf16, fp32) and the device say so."""
    join_process_group()
    # the state is one per process and refuses another precision; commands of one process may differ in it
    AcceleratorState._reset_state()
    accelerator = Accelerator(mixed_precision="bf16" if precision == "bf16" else "no")
    if precision == "auto" and computes_in_bf16(accelerator.device):
        AcceleratorState._reset_state()
        accelerator = Accelerator(mixed_precision="bf16")
    return accelerator


def computes_in_bf16(device: torch.device) -> bool:
    """Whether `device` has bf16 arithmetic; without it, bf16 is slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known = [getattr(torch.cpu, f"_is_{feature}_supported", None) for feature in ("avx512_bf16", "amx_tile")]
    return device.type == "cpu" and any(is_supported() for is_supported in known if is_supported)


def draw_network(config: TrainConfig, channels: int, num_classes: int) -> tuple[nn.Module, dict[str, str] | None]:
    """A network with weights drawn from `config.seed`; torch's global random state is left as it was.

    Returns:
        the network, and what its encoder starts from (`load_pretrained`), None where all of it was drawn.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(config.seed)
        network = build_network(config, channels, num_classes)
    pretrained = None
    if isinstance(network, EncoderUNet):
        pretrained = load_pretrained(network, config.encoder, channels)
    return network.to(memory_format=torch.channels_last), pretrained


def group_parameters(network: nn.Module, config: TrainConfig) -> list[dict[str, Any]]:
    """The optimizer's groups, each with the factor on the learning rate; a frozen encoder is in none of them."""
    if not isinstance(network, EncoderUNet):
        return [{"params": list(network.parameters()), "lr_factor": 1.0}]
    encoder = {id(parameter) for parameter in network.encoder.parameters()}
    rest = [parameter for parameter in network.parameters() if id(parameter) not in encoder]
    groups: list[dict[str, Any]] = [{"params": rest, "lr_factor": 1.0}]
    if not network.freeze:
        groups.append({"params": list(network.encoder.parameters()), "lr_factor": config.encoder.lr_factor})
    return groups


def can_be_captured(network: nn.Module, config: TrainConfig, accelerator: Accelerator) -> bool:
    """Whether a CUDA graph can hold what `network` does in a step: one process, one shape, nothing drawn on the CPU."""
    draws = any(isinstance(module, SyncDropout) and module.p for module in network.modules())
    one_gpu = accelerator.device.type == "cuda" and accelerator.num_processes == 1
    return one_gpu and len(config.scales) == 1 and not draws


def capture(network: nn.Module, batches: TrainingBatches, accelerator: Accelerator) -> None:
    """From here on, forward and backward pass of `network` in training mode are one launch each on the GPU.

    A small network's kernels are shorter than their launches. Weights and averages of batch norm stay what they were.

    Raises:
        RunError: the network does what a graph cannot hold.
    Source: Nguyen et al. 2021, "Accelerating PyTorch with CUDA Graphs", PyTorch blog.
    """
    before = copy.deepcopy(network.state_dict())
    images = batches[1][0].to(accelerator.device, memory_format=torch.channels_last)
    dtype = torch.bfloat16 if accelerator.mixed_precision == "bf16" else torch.float32
    try:
        # the graph casts the weights anew in each step; a cached cast would be that of the first
        with torch.autocast("cuda", dtype, enabled=dtype != torch.float32, cache_enabled=False):
            torch.cuda.make_graphed_callables(network, (images,), allow_unused_input=True)
    except torch.cuda.OutOfMemoryError:
        raise
    except RuntimeError as problem:
        reason = str(problem).splitlines()[0]
        raise RunError(
            f"the network cannot become a CUDA graph ({reason}); repeat the command with --set cuda_graph=false"
        ) from None
    network.load_state_dict(before)  # warming up moved the averages of batch norm
    # torch wants a graph's gradients collected on the stream that it was captured on; it waits, and all is well
    warnings.filterwarnings("ignore", "The AccumulateGrad node's stream does not match")


@contextmanager
def drawn_from(seed: int, step: int, device: torch.device) -> Iterator[None]:
    """What dropout draws inside depends on seed and step alone; torch's global random state is left as it was."""
    drawn = int(np.random.default_rng([seed, step, 1]).integers(2**63))
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.manual_seed(drawn)
        if on_gpu:
            torch.cuda.manual_seed(drawn)
        yield


def learning_rate(config: TrainConfig, step: int) -> float:
    """Rate of step 1..steps: a straight line up to `lr`, then half a cosine down towards 0."""
    warmup = min(config.warmup_steps, config.steps - 1)
    if step <= warmup:
        return config.lr * step / warmup
    return config.lr * 0.5 * (1 + float(np.cos(np.pi * (step - 1 - warmup) / (config.steps - warmup))))


@torch.no_grad()
def update_average(average: nn.Module, network: nn.Module, decay: float, step: int) -> None:
    """Move `average` towards `network`; the first steps count more, so that the drawn weights are soon forgotten."""
    decay = min(decay, (1 + step) / (10 + step))
    pairs = list(zip(average.state_dict().values(), network.state_dict().values(), strict=True))
    kept, new = zip(*(pair for pair in pairs if pair[0].is_floating_point()), strict=True)
    # of all tensors together: on a GPU, a launch for each takes longer than the rest of a step
    get_ema_multi_avg_fn(decay)(kept, new, step)
    for counter, now in (pair for pair in pairs if not pair[0].is_floating_point()):
        counter.copy_(now)


def refuse_broken_loss(loss: float, step: int, config: TrainConfig) -> None:
    """Raise RunError where `loss` is NaN or infinite; nothing of such a step has been saved."""
    if not np.isfinite(loss):
        raise RunError(
            f"the training loss is {loss} at step {step}; lower the learning rate (lr={config.lr:g}) or set "
            "precision=fp32, with another --out"
        )


# validation


def read_scenes(dataset: Dataset, indices: Sequence[int]) -> Iterator[Scene]:
    """Real scenes one at a time, in the order of `indices`."""
    return (dataset.scenes[index] for index in indices)


@torch.inference_mode()
def validate(
    network: nn.Module, loss_fn: nn.Module, dataset: Dataset, accelerator: Accelerator, block: int = 32
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
                logits = network(images.contiguous(memory_format=torch.channels_last))[:, : len(classes)]
            losses[done : done + len(batch)] = loss_fn(logits, label_tensor(indices).to(accelerator.device)).item()
            confusion += confusion_matrix(indices, logits.argmax(1).cpu().numpy(), len(classes))
            done += len(batch)
    network.train()
    confusion, losses = (sum_arrays(array, accelerator.device) for array in (confusion, losses))
    return named_scores(confusion, classes) | {"loss": float(np.mean(losses))}


@torch.inference_mode()
def shift_rare_logits(
    run: Run, network: nn.Module, config: TrainConfig, dataset: Dataset, accelerator: Accelerator, block: int = 32
) -> dict[str, float]:
    """Shift the logits of the rare classes as `config.calibrate` says; kept in the record of the best weights.

    Returns:
        class name -> shift of its logit; 0 for classes that are not rare.
    """
    assert config.calibrate is not None
    best = read_weights(run.folder / "best.safetensors")
    network.load_state_dict(best.tensors)
    network.eval()
    classes = dataset.scenes.classes

    def batches() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for batch in batches_of_one_shape(read_scenes(dataset, dataset.split.val), block):
            images = image_tensor(np.stack([scene.image for scene in batch])).to(accelerator.device)
            logits = network(images.contiguous(memory_format=torch.channels_last))[:, : len(classes)]
            yield logits.float().cpu().numpy(), np.stack([scene.indices for scene in batch])

    pixels = dataset.survey.pixels[list(dataset.split.train), : len(classes)].sum(0)
    rare = [classes.index(name) for name in classes.rare]
    wanted = {index: min(config.calibrate * float(pixels[index] / pixels.sum()), 1.0) for index in rare}
    shift = find_shifts(batches(), len(classes), wanted)
    run.save_weights("best.safetensors", best.tensors, **best.record | {"logit_shift": shift})
    return dict(zip(classes.names, shift, strict=True))


def named_scores(confusion: np.ndarray, classes: ClassSet) -> dict[str, float]:
    """(C, C) pixel counts -> {"mean_iou": ..., "iou_soil": ..., ...}; NaN where a class cannot be scored."""
    ious = {f"iou_{name}": float(v) for name, v in zip(classes.names, iou_per_class(confusion), strict=True)}
    return {"mean_iou": float(mean_iou(confusion)), **ious}


def check_best_metric(config: TrainConfig, dataset: Dataset) -> None:
    """Raise before training starts if `config.best_metric` is no score, or none that the validation scenes can give."""
    classes = dataset.scenes.classes
    known = ["mean_iou", "loss", *(f"iou_{name}" for name in classes.names)]
    if config.best_metric not in known:
        hint = nearest(config.best_metric, known)
        raise ConfigError(f"best_metric is '{config.best_metric}'{hint}; measured are {', '.join(known)}")
    if config.calibrate and not classes.rare:
        raise ConfigError(
            f"calibrate is {config.calibrate:g}, but {dataset.scenes.location} names no rare class; name one under "
            "`rare` in its classes file, or leave calibrate null"
        )
    labelled = dataset.survey.pixels[list(dataset.split.val), : len(classes)].sum(0)
    if config.best_metric.startswith("iou_"):
        labelled = labelled[[classes.index(config.best_metric.removeprefix("iou_"))]]
    if not labelled.sum():
        raise DataError(
            f"{dataset.scenes.location}: no validation scene has a pixel to measure {config.best_metric} on; "
            "raise data.val_fraction or choose another best_metric"
        )


# what is written beside the weights


def weights_record(
    config: TrainConfig, dataset: Dataset, step: int, scores: dict[str, float], pretrained: dict[str, str] | None = None
) -> dict[str, object]:
    """The record of best.safetensors: all that `predict.load_segmenter` needs, what it began from, how good it was."""
    return {
        "step": step,
        "network": config.model_dump(mode="json", include={"network", config.network, "void_weight"}),
        **({"pretrained": pretrained} if pretrained else {}),
        "channels": dataset.scenes.channels,
        "classes": dataset.scenes.classes.to_dict(),
        "best_metric": config.best_metric,
        "scores": scores,
    }


def write_split_keys(run: Run, dataset: Dataset, extras: Sequence[SceneSource]) -> None:
    """split.json: content keys (`scene_key`) of the scenes of each part, and of those behind the extras: real
    pictures among them, what the others were grown from (parents and donors), and all that what made them learned from.

    Later commands read it to tell a scene that this run has seen.
    """
    parts = {"train": dataset.split.train, "val": dataset.split.val, "test": dataset.split.test}
    if run.writes:
        behind = {key for extra in extras for index in range(len(extra)) for key in _real_keys(extra, index)}
        # the data may be synthetic or labelled by networks themselves
        behind |= {key for index in dataset.split.train for key in dataset.scenes.origin(index).ancestors}
        behind |= {key for source in (dataset.scenes, *extras) for key in trained_on(Path(source.location))}
        keys = {part: [dataset.survey.keys[i] for i in indices] for part, indices in parts.items()}
        write_json(run.folder / "split.json", keys | {"extra": sorted(behind)})


def _real_keys(extra: SceneSource, index: int) -> tuple[str, ...]:
    """Keys of the real scenes in an extra scene: itself, or what it was grown from."""
    origin = extra.origin(index)
    return origin.ancestors if origin.kind == "synthetic" else (scene_key(extra.read(index)[0]),)


def summary_of(
    run: Run, config: TrainConfig, dataset: Dataset, extras: Sequence[SceneSource], steps: int, progress: Progress
) -> dict[str, object]:
    """What DONE says: the best step and its validation scores, and how much was trained on."""
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
        "extra_scenes": sum(len(extra) for extra in extras),
        "val_scenes": len(dataset.split.val),
        "data": dataset.describe(),
    }
