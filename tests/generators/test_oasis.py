"""The discriminator that segments: what it is given, what it pays, and for which pixels."""

import math

import numpy as np
import pytest
import torch

from marsgen.generators.pix2pix.oasis import (
    SegmentationDiscriminator,
    SegmentationLoss,
    balance_classes,
    class_loss,
    mix_mask,
)


def seen_of(pictures: torch.Tensor, labels: torch.Tensor, inpainting_mask: torch.Tensor) -> torch.Tensor:
    return torch.cat([pictures, labels, inpainting_mask], dim=1)


def one_hot_rows(*classes: int, count: int) -> torch.Tensor:
    """(1, count, 1, W) one-hot; -1 = cut away by augmentation."""
    labels = torch.zeros(1, count, 1, len(classes))
    for column, index in enumerate(classes):
        if index >= 0:
            labels[0, index, 0, column] = 1
    return labels


@pytest.mark.parametrize(("count", "channels", "height", "width"), [(2, 1, 33, 47), (40, 3, 32, 64)])
def test_it_judges_every_pixel_of_any_size(count, channels, height, width):
    logits, features = SegmentationDiscriminator(count, channels, 8)(torch.rand(2, channels + count + 2, height, width))
    assert [tuple(x.shape) for x in logits] == [(2, count + 1, height, width)]
    assert len(features) == 4


def test_it_never_looks_at_the_label_map_but_sees_what_was_cut_away():
    discriminator = SegmentationDiscriminator(2, 1, 8)
    pictures, inpainting_mask = torch.rand(1, 1, 32, 32), torch.ones(1, 1, 32, 32)
    labels = torch.zeros(1, 3, 32, 32)
    verdicts = []
    for index in (0, 1, 2, None):
        labels.zero_()
        if index is not None:
            labels[:, index] = 1
        discriminator.eval()  # no further power iteration
        verdicts.append(discriminator(seen_of(pictures, labels, inpainting_mask))[0][0])
    torch.testing.assert_close(verdicts[0], verdicts[1])
    torch.testing.assert_close(verdicts[0], verdicts[2])
    assert not torch.allclose(verdicts[0], verdicts[3])


def test_a_pixel_without_a_label_is_real_of_any_class():
    # shares of two classes and of fake: 1/2, 1/4, 1/4
    logits = torch.tensor([2.0, 1.0, 1.0]).log()[None, :, None, None].expand(1, 3, 1, 4)
    loss = class_loss(logits, one_hot_rows(0, 1, 2, -1, count=3))
    expected = torch.tensor([math.log(2), math.log(4), math.log(4 / 3), 0.0])
    torch.testing.assert_close(loss[0, 0, 0], expected)


def test_every_class_weighs_the_same_unless_it_is_too_rare():
    torch.testing.assert_close(
        balance_classes(np.array([60, 30, 10, 900])), torch.tensor([100 / 180, 100 / 90, 100 / 30, 1])
    )
    assert balance_classes(np.array([9999, 1, 0, 5])).tolist()[1:] == [20, 20, 1]
    assert torch.isfinite(balance_classes(np.array([0, 0, 7]))).all()


def test_only_pixels_of_the_hole_are_fake_and_cut_ones_say_nothing():
    judging = SegmentationLoss(torch.tensor([1.0, 3.0, 1.0]))
    labels = one_hot_rows(0, 1, 2, -1, count=3)
    inpainting_mask = torch.tensor([[[[1.0, 0.5, 0.0, 0.0]]]])
    logits = torch.tensor([2.0, 1.0, 1.0]).log()[None, :, None, None].expand(3, 3, 1, 4)
    # real: 1 log 2 + 3 log 4 + log 4/3 over 3 pixels; fake: log 4; three equal verdicts are consistent
    real = (math.log(2) + 3 * math.log(4) + math.log(4 / 3)) / 3
    loss = judging.discriminator_loss([logits], torch.cat([labels, inpainting_mask], 1), [7])
    assert loss.item() == pytest.approx(real + math.log(4))
    paid = judging.adversarial_loss([logits[:1]], torch.cat([labels, inpainting_mask], 1))
    assert paid.item() == pytest.approx((math.log(2) + 0.5 * 3 * math.log(4)) / 1.5)
    assert judging.adversarial_loss([logits[:1]], torch.cat([labels, 0 * inpainting_mask], 1)).item() == 0


def test_label_mix_takes_whole_classes_from_real_or_fake_as_its_seed_says():
    labels = torch.nn.functional.one_hot(torch.randint(0, 4, (6, 8, 8)), 4).permute(0, 3, 1, 2).float()
    masks = mix_mask(labels, range(6))
    for mask, own in zip(masks, labels, strict=True):
        for index in range(4):
            assert len(mask[0][own[index] == 1].unique()) == 1
    assert 0.2 < masks.mean() < 0.8
    assert torch.equal(mix_mask(labels[4:], [4, 5]), masks[4:])
    real, fake = torch.ones(6, 6, 8, 8), torch.zeros(6, 6, 8, 8)
    joined = SegmentationLoss(torch.ones(4)).join(real, fake, torch.cat([labels, labels[:, :1]], 1), range(6))
    assert torch.equal(joined[12:], masks.expand(6, 6, 8, 8))


def test_inconsistent_verdicts_cost():
    judging, labels = SegmentationLoss(torch.ones(2)), torch.ones(1, 2, 1, 1) * torch.tensor([1.0, 0.0])[:, None, None]
    condition = torch.cat([labels, torch.ones(1, 1, 1, 1)], 1)
    same = torch.zeros(3, 2, 1, 1)
    other = same.clone()
    other[2] = 0.5
    first, second = (judging.discriminator_loss([logits], condition, [0]).item() for logits in (same, other))
    assert second - first == pytest.approx(10 * 0.25)


def test_it_learns_which_class_is_which_and_what_is_fake():
    """Stripes across are class 0, stripes down class 1, dots fake; pictures without a label teach no class."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        discriminator = SegmentationDiscriminator(2, 1, 8)
    rng = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(discriminator.parameters(), 1e-3, betas=(0.0, 0.99))
    judging, inpainting_mask = SegmentationLoss(torch.ones(3)), torch.ones(6, 1, 32, 32)
    labels = torch.zeros(6, 3, 32, 32)
    for sample, index in enumerate((0, 0, 1, 1, 2, 2)):
        labels[sample, index] = 1
    condition = torch.cat([labels, inpainting_mask], 1)

    def pictures() -> tuple[torch.Tensor, torch.Tensor]:
        across = torch.randn(3, 1, 32, 1, generator=rng).expand(3, 1, 32, 32)
        down = torch.randn(3, 1, 1, 32, generator=rng).expand(3, 1, 32, 32)
        real = torch.cat([across[:2], down[:2], across[2:], down[2:]])
        return real, torch.randn(6, 1, 32, 32, generator=rng)

    for step in range(60):
        real, fake = (torch.cat([x, condition], 1) for x in pictures())
        logits, _ = discriminator(judging.join(real, fake, condition, range(step, step + 6)))
        judging.discriminator_loss(logits, condition, range(step, step + 6)).backward()
        optimizer.step()
        optimizer.zero_grad()
    real, fake = (torch.cat([x, condition], 1) for x in pictures())
    with torch.no_grad():
        told = [discriminator(x)[0][0].argmax(1) for x in (real, fake)]
    wanted = torch.tensor([0, 0, 1, 1, 0, 1])[:, None, None]
    assert (told[0] == wanted).float().mean() > 0.8
    assert (told[1] == 2).float().mean() > 0.8
