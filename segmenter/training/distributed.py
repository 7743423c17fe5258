"""One training step in several processes: sums over all of them, batch norm and dropout over the whole batch.

Parameters, running averages and buffers stay equal in all processes, since all apply the same sums.
"""

from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn

from marsgen.core.errors import ConfigError


def count_processes() -> int:
    """Processes that train together; 1 without torchrun."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


class _Sum(torch.autograd.Function):
    """Sum over processes. Every process's tensor enters the sum of every process, so gradients are summed as well."""

    @staticmethod
    def forward(ctx: Any, tensor: torch.Tensor) -> torch.Tensor:
        total = tensor.contiguous().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
        return _Sum.forward(ctx, gradient)


def sum_over_processes(tensor: torch.Tensor) -> torch.Tensor:
    """The sum of the tensors of all processes, with the same bits in each; differentiable.

    All processes have to call it, with tensors of one shape. A single process gets its tensor back.
    """
    return _Sum.apply(tensor) if count_processes() > 1 else tensor  # type: ignore[no-untyped-call]


def sum_arrays(array: np.ndarray, device: torch.device) -> np.ndarray:
    """`sum_over_processes` of a numpy array; `device` is where the processes exchange tensors."""
    if count_processes() == 1:
        return array
    return sum_over_processes(torch.from_numpy(array).to(device)).cpu().numpy()


class SyncDropout(nn.Module):
    """Dropout2d for the batch of all processes: each computes the mask of the whole batch and uses its own part.

    The mask comes from torch's CPU generator, which has to be in the same state in all processes, so that one process
    and several give the same mask. Every process has to pass equally many pictures.

    Args:
        p: probability that a channel of a picture is set to 0; the others are divided by 1 - p.
    Source: Tompson et al. 2015, arXiv:1411.4280 (torch.nn.Dropout2d).
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> the same shape; unchanged in eval mode."""
        if not self.training or not self.p:
            return input
        batch, channels = input.shape[:2]
        rank = dist.get_rank() if count_processes() > 1 else 0
        kept = torch.rand(count_processes() * batch, channels)[rank * batch : (rank + 1) * batch] >= self.p
        return input * (kept / (1 - self.p)).to(input)[:, :, None, None]


class SyncBatchNorm(nn.BatchNorm2d):
    """Batch norm with mean and variance of the batch over all processes.

    Every process has to pass equally many pixels.
    """

    # torch.nn.SyncBatchNorm computes the same on a GPU, but raises "SyncBatchNorm expected input tensor to be on GPU"
    # on a CPU, where torchrun trains through gloo; this one is the same code on both

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) of any float type -> the same shape and type."""
        if not self.training:
            return super().forward(input)
        x = input.float()
        own_var, own_mean = torch.var_mean(x, (0, 2, 3), correction=0)  # (C,)
        # in float64, since the variance is a small difference of large numbers
        moments = torch.stack([own_mean.double(), own_var.double() + own_mean.double() ** 2])
        mean, square = sum_over_processes(moments) / count_processes()
        var = (square - mean**2).float()
        self._track(mean.float().detach(), var.detach(), count_processes() * x[:, 0].numel())
        scale = self.weight * torch.rsqrt(var + self.eps)
        return ((x - mean.float()[:, None, None]) * scale[:, None, None] + self.bias[:, None, None]).to(input.dtype)

    @torch.no_grad()
    def _track(self, mean: torch.Tensor, var: torch.Tensor, pixels: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(var * (pixels / max(pixels - 1, 1)), self.momentum)


class SyncBatchNormAct(SyncBatchNorm):
    """`SyncBatchNorm` with the activation that timm's BatchNormAct2d has inside."""

    drop: nn.Module
    act: nn.Module

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) of any float type -> the same shape and type."""
        return self.act(self.drop(super().forward(input)))


def convert_dropout(network: nn.Module) -> nn.Module:
    """Replace every Dropout2d inside `network` by a SyncDropout; returns `network`.

    Also for one process, so that several processes train what one would.
    """
    for name, layer in network.named_children():
        if type(layer) is nn.Dropout2d:
            setattr(network, name, SyncDropout(layer.p))
        else:
            convert_dropout(layer)
    return network


def convert_batch_norm(network: nn.Module) -> nn.Module:
    """Replace every BatchNorm2d inside `network` by a SyncBatchNorm with the same weights; returns `network`.

    Raises:
        ConfigError: a batch norm of another kind, which would normalise each process's part of the batch by itself.
    """
    for name, layer in network.named_children():
        if (
            isinstance(layer, nn.modules.batchnorm._BatchNorm) and layer.training
        ):  # a frozen one normalises by stored averages
            setattr(network, name, _synchronised(layer))
        else:
            convert_batch_norm(layer)
    return network


def _synchronised(layer: nn.modules.batchnorm._BatchNorm) -> SyncBatchNorm:
    shared: SyncBatchNorm
    if type(layer) is nn.BatchNorm2d:
        shared = SyncBatchNorm(layer.num_features, layer.eps, layer.momentum)
    else:
        from timm.layers import BatchNormAct2d  # loaded already where a layer can be one

        if type(layer) is not BatchNormAct2d:
            raise ConfigError(
                f"the network has a layer {type(layer).__name__}, which several processes cannot share; train with one "
                "process, or name another encoder"
            )
        shared = SyncBatchNormAct(layer.num_features, layer.eps, layer.momentum)
        shared.drop, shared.act = layer.drop, layer.act
    shared.load_state_dict(layer.state_dict())
    for name, parameter in layer.named_parameters(recurse=False):
        getattr(shared, name).requires_grad_(parameter.requires_grad)
    return shared
