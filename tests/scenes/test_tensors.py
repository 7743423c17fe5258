"""Pixels folded into channels and back, and padding that copies nothing where there is nothing to pad."""

import pytest
import torch
import torch.nn.functional as F

from marsgen.scenes.tensors import fold_pixels, pad_to_multiple, unfold_pixels


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("side", [1, 2, 4])
def test_pixels_are_folded_as_torch_does_it_and_lie_as_convolutions_want_them(side, layout):
    images = torch.rand(2, 3, 8, 12).contiguous(memory_format=layout)
    folded = fold_pixels(images, side)
    assert torch.equal(folded, F.pixel_unshuffle(images, side))
    assert folded.is_contiguous(memory_format=torch.channels_last)
    features = torch.rand(2, 48, 4, 6).contiguous(memory_format=layout)
    unfolded = unfold_pixels(features, side)
    assert torch.equal(unfolded, F.pixel_shuffle(features, side))
    assert unfolded.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(unfold_pixels(folded, side), images)


def test_gradients_unfold_what_was_folded():
    images = torch.rand(1, 2, 4, 4, requires_grad=True)
    weights = torch.rand(1, 8, 2, 2)
    (fold_pixels(images, 2) * weights).sum().backward()
    assert images.grad is not None
    torch.testing.assert_close(images.grad, F.pixel_shuffle(weights, 2))


def test_an_image_that_fits_is_not_copied():
    images = torch.rand(1, 2, 8, 16)
    padded, size = pad_to_multiple(images, 8)
    assert padded is images
    assert size == (8, 16)
    padded, size = pad_to_multiple(images, 12)
    assert padded.shape == (1, 2, 12, 24)
    assert size == (8, 16)
    assert torch.equal(padded[..., 8:, :16], images[..., -1:, :].expand(-1, -1, 4, -1))
