"""The device: precision, random numbers that repeat, and CUDA graphs."""

import copy
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import nn

from marsgen.core.errors import RunError
from marsgen.core.process_group import join_process_group
from marsgen.core.storage.reading import first_line
from marsgen.core.training import computes_in_bf16
from segmenter.training.config import TrainConfig
from segmenter.training.distributed import SyncDropout


def open_accelerator(precision: str) -> Accelerator:
    """The device to train on, with autocast to bf16 where `precision` (auto, bf16, fp32) and the device allow it."""
    join_process_group()
    # accelerate keeps one state per process and refuses another precision; commands of one process may differ in it
    AcceleratorState._reset_state()
    accelerator = Accelerator(mixed_precision="bf16" if precision == "bf16" else "no")
    if precision == "auto" and computes_in_bf16(accelerator.device):
        AcceleratorState._reset_state()
        accelerator = Accelerator(mixed_precision="bf16")
    return accelerator


@contextmanager
def seeded_dropout(seed: int, step: int, device: torch.device) -> Iterator[None]:
    """Inside, dropout depends on seed and step alone; torch's global random state is restored afterwards."""
    drawn = int(np.random.default_rng([seed, step, 1]).integers(2**63))
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.manual_seed(drawn)
        if on_gpu:
            torch.cuda.manual_seed(drawn)
        yield


def can_be_captured(network: nn.Module, config: TrainConfig, accelerator: Accelerator) -> bool:
    """Whether a CUDA graph can hold a training step: one process, one image size, no random numbers from the CPU."""
    uses_dropout = any(isinstance(module, SyncDropout) and module.p for module in network.modules())
    one_gpu = accelerator.device.type == "cuda" and accelerator.num_processes == 1
    return one_gpu and len(config.scales) == 1 and not uses_dropout


def capture(network: nn.Module, images: torch.Tensor, accelerator: Accelerator) -> None:
    """Turn forward and backward pass of `network` in training mode into CUDA graphs, one launch each.

    A small network's kernels take less time than their launches. Weights and batch norm averages are unchanged.

    Args:
        images: (B, channels, H, W), a batch of the size of every later one.
    Raises:
        RunError: the network does what a graph cannot hold.
    Source: Nguyen et al. 2021, "Accelerating PyTorch with CUDA Graphs", PyTorch blog.
    """
    before = copy.deepcopy(network.state_dict())
    images = images.to(accelerator.device, memory_format=torch.channels_last)
    dtype = torch.bfloat16 if accelerator.mixed_precision == "bf16" else torch.float32
    try:
        # the graph casts the weights again in each step; a cached cast would be that of the first
        with torch.autocast("cuda", dtype, enabled=dtype != torch.float32, cache_enabled=False):
            torch.cuda.make_graphed_callables(network, (images,), allow_unused_input=True)
    except torch.cuda.OutOfMemoryError:
        raise
    except RuntimeError as problem:
        reason = first_line(problem)
        raise RunError(
            f"the network cannot become a CUDA graph ({reason}); repeat the command with --set cuda_graph=false"
        ) from None
    network.load_state_dict(before)  # the warm-up passes moved the averages of batch norm
    # torch accumulates gradients of a graph on another stream and waits for it; the warning is only about speed
    warnings.filterwarnings("ignore", "The AccumulateGrad node's stream does not match")
