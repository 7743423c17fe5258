"""What the training loops of both packages share: precision, learning rate, running average, NaN guard, batch share."""

import math
from collections.abc import Mapping

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from marsgen.core.errors import ConfigError, RunError
from marsgen.core.process_group import ProcessGroup

# number format


def computes_in_bf16(device: torch.device) -> bool:
    """Whether `device` has bf16 instructions; where they are emulated, bf16 is slower than fp32."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known = [getattr(torch.cpu, f"_is_{feature}_supported", None) for feature in ("avx512_bf16", "amx_tile")]
    return device.type == "cpu" and any(is_supported() for is_supported in known if is_supported)


def arithmetic(precision: str, device: torch.device) -> torch.dtype:
    """The number format of matrix products and convolutions.

    Args:
        precision: "fp32", "bf16", or "auto" = bf16 where the device has instructions for it.
    """
    if precision == "auto":
        precision = "bf16" if computes_in_bf16(device) else "fp32"
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]


# one batch, several processes


def share_batch(batch_size: int, process_group: ProcessGroup) -> range:
    """The positions in each batch that this process computes: neighbours, since they share their augmentation.

    Raises:
        ConfigError: the batch does not divide among the processes.
    """
    share, rest = divmod(batch_size, process_group.num_processes)
    if rest:
        raise ConfigError(
            f"batch_size is {batch_size}; it has to be a multiple of the {process_group.num_processes} processes"
        )
    return range(share * process_group.process_index, share * (process_group.process_index + 1))


# learning rate; steps count from 1


def cosine_lr(peak: float, step: int, steps: int, warmup_steps: int) -> float:
    """Linear warm-up to `peak`, then half a cosine down towards 0."""
    warmup = min(warmup_steps, steps - 1)
    if step <= warmup:
        return peak * step / warmup
    return peak * 0.5 * (1 + math.cos(math.pi * (step - 1 - warmup) / (steps - warmup)))


def linear_lr(peak: float, step: int, steps: int, decay_fraction: float, warmup_steps: int = 0) -> float:
    """Linear warm-up to `peak`, constant, then linear decay to 0 over the last `decay_fraction` of the steps."""
    left = steps - step + 1
    return peak * min(1.0, step / max(1, warmup_steps), left / max(1.0, decay_fraction * steps))


def set_lr(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every parameter group `lr` times its own `lr_factor` (1 where it has none)."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_factor", 1.0)


# weights


def warm_up_ema(decay: float, step: int, offset: int) -> float:
    """Decay of the running average in step 1, 2, ...: smaller at first, so that the initial weights fade quickly.

    Args:
        decay: the decay that is approached.
        offset: a in (a + step) / (10 + step); 0 forgets the initial weights faster than 1.
    Source: a = 1 is TensorFlow's ExponentialMovingAverage(num_updates).
    """
    return min(decay, (offset + step) / (10 + step))


@torch.no_grad()
def update_ema(ema: nn.Module, network: nn.Module, decay: float) -> None:
    """ema = decay * ema + (1 - decay) * network, for parameters and float buffers; other buffers are copied."""
    pairs = list(zip(ema.state_dict().values(), network.state_dict().values(), strict=True))
    kept, new = zip(*(pair for pair in pairs if pair[0].is_floating_point()), strict=True)
    # all tensors in one call: on a GPU, a launch for each takes longer than the rest of a step
    get_ema_multi_avg_fn(decay)(kept, new, 0)
    for counter, now in (pair for pair in pairs if not pair[0].is_floating_point()):
        counter.copy_(now)


def refuse_nan(losses: Mapping[str, float], step: int, rates: str) -> None:
    """Stop before broken weights reach a checkpoint.

    Args:
        losses: name -> value.
        rates: the settings that may be too high, in words.
    Raises:
        RunError: one of the losses is NaN or infinite.
    """
    for name, value in losses.items():
        if not math.isfinite(value):
            raise RunError(
                f"{name} loss is {value} at step {step}; lower {rates}, or set precision=fp32, and give a new --out"
            )
