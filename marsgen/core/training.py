"""Which number format the heavy arithmetic uses."""

import torch


def arithmetic(precision: str, device: torch.device) -> torch.dtype:
    """The number format of the heavy arithmetic.

    Args:
        precision: "fp32", "bf16", or "auto" = bf16 where the device has instructions for it.
    """
    if precision != "auto":
        return {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        # oneDNN emulates bf16 on other CPUs, slower than fp32
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    else:
        fast = False
    return torch.bfloat16 if fast else torch.float32
