"""The pix2pix networks, their losses and what stands in front of the discriminator."""

import numpy as np
import pytest
import torch

from marsgen.generators import DrawRequest
from marsgen.generators.pix2pix.augment import Augmentation, draw_augmentation
from marsgen.generators.pix2pix.pix2pix import (
    DiscriminatorNetwork,
    GeneratorNetwork,
    Noise,
    Pix2Pix,
    adversarial_loss,
    discriminator_loss,
    draw_noise,
    feature_matching_loss,
    l1_loss,
    patch_weights,
)
from marsgen.generators.style import (
    StyleTable,
    denormalise,
    fill_smoothly,
    measure_style,
    normalise,
    visible_style,
)
from marsgen.scenes.classes import ClassSet


def class_set(count: int) -> ClassSet:
    ids = tuple(range(count))
    return ClassSet(tuple(f"terrain {i}" for i in ids), ids, tuple((i, i, i) for i in ids), ignored=count)


def untrained(count: int, channels: int, styles: int = 5, precision: str = "fp32") -> Pix2Pix:
    """A generator with random weights, made far from the almost constant picture that it starts with."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = GeneratorNetwork(count, channels, width=8)
        torch.nn.init.normal_(network.head.weight, std=0.2)
        shares = torch.rand(styles, count + 1)
        table = StyleTable(shares / shares.sum(1, keepdim=True), torch.rand(styles, 3 * channels))
    return Pix2Pix(network, table, class_set(count), precision=precision)


def request(count: int, channels: int, height: int, width: int, batch: int = 3) -> DrawRequest:
    """Random pictures and maps, some ids ignored; inpainting mask 0 in the left third, 1 in the right, soft between."""
    rng = np.random.default_rng(count)
    indices = rng.integers(0, count + 1, (batch, height, width), dtype=np.uint8)
    ramp = np.clip(np.linspace(-1, 2, width, dtype=np.float32), 0, 1)
    return DrawRequest(
        composites=rng.integers(0, 256, (batch, height, width, channels), dtype=np.uint8),
        indices=np.where(indices == count, np.uint8(255), indices),
        inpainting_mask=np.broadcast_to(ramp, (batch, height, width)).copy(),
        seeds=np.arange(10, 10 + batch, dtype=np.uint64),
    )


def changed(request: DrawRequest, **fields: np.ndarray) -> DrawRequest:
    return DrawRequest(**{**vars(request), **fields})


@pytest.mark.parametrize(
    ("count", "channels", "height", "width"),
    [(4, 1, 64, 128), (2, 3, 33, 47), (40, 1, 32, 100), (255, 3, 32, 32)],
)
def test_every_size_and_class_count_is_drawn_and_real_pixels_stay(count, channels, height, width):
    asked = request(count, channels, height, width)
    drawn = untrained(count, channels).draw(asked)
    assert (drawn.shape, drawn.dtype) == (asked.composites.shape, np.uint8)
    outside, inside = asked.inpainting_mask == 0, asked.inpainting_mask == 1
    np.testing.assert_array_equal(drawn[outside], asked.composites[outside])
    assert (drawn[inside] != asked.composites[inside]).mean() > 0.9


@pytest.mark.parametrize("whole", [True, False])
def test_what_lies_under_the_hole_is_not_seen(whole):
    asked = request(4, 1, 32, 48)
    if whole:
        asked = changed(asked, inpainting_mask=np.ones_like(asked.inpainting_mask))
    hidden = asked.inpainting_mask == 1
    other = asked.composites.copy()
    other[hidden] = 255 - other[hidden]
    generator = untrained(4, 1)
    drawn, again = generator.draw(asked), generator.draw(changed(asked, composites=other))
    np.testing.assert_array_equal(drawn[hidden], again[hidden])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_sample_has_the_same_bytes_whatever_its_neighbours(precision):
    asked = request(4, 1, 64, 64, batch=4)
    generator = untrained(4, 1, precision=precision)
    drawn = generator.draw(asked)
    order = np.array([2, 3, 3, 0])  # other places in the batch, other company
    shuffled = DrawRequest(**{name: value[order] for name, value in vars(asked).items()})
    np.testing.assert_array_equal(generator.draw(shuffled), drawn[order])


@pytest.mark.parametrize("whole", [True, False])
def test_another_seed_draws_another_picture_and_the_same_seed_the_same(whole):
    asked = request(4, 1, 64, 64)
    if whole:
        asked = changed(asked, inpainting_mask=np.ones_like(asked.inpainting_mask))
    generator = untrained(4, 1)
    drawn = generator.draw(asked)
    np.testing.assert_array_equal(drawn, generator.draw(asked))
    other = generator.draw(changed(asked, seeds=asked.seeds + np.uint64(1)))
    assert (drawn[asked.inpainting_mask == 1] != other[asked.inpainting_mask == 1]).mean() > 0.3


def test_the_label_map_matters_where_it_says_the_same_everywhere():
    """A normalisation over space would lose the class of a map that has only one."""
    asked = request(4, 1, 32, 32, batch=1)
    pictures = [
        untrained(4, 1, styles=1).draw(changed(asked, indices=np.full_like(asked.indices, index)))
        for index in (0, 1, 255)
    ]
    assert len({picture.tobytes() for picture in pictures}) == 3


def test_the_first_pictures_have_no_checkerboard():
    network = GeneratorNetwork(2, 3, width=8)
    with torch.no_grad():  # the last convolution looks over the borders of 2 x 2 blocks: let it look at its own pixel
        network.last.weight *= torch.tensor([[0, 0, 0], [0, 1, 0], [0, 0, 0]])
    asked = torch.randint(0, 2, (1, 32, 32)), torch.zeros(1, 3, 32, 32), torch.ones(1, 1, 32, 32), torch.zeros(1, 9)
    drawn = network(*asked, draw_noise([1], 32, 32))
    blocks = drawn.detach().reshape(1, 3, 16, 2, 16, 2).permute(0, 1, 2, 4, 3, 5).flatten(-2)
    torch.testing.assert_close(blocks.amax(-1), blocks.amin(-1))
    assert blocks.std() > 0


@pytest.mark.parametrize("scale", range(3))
def test_noise_of_each_scale_enters_where_it_belongs(scale):
    network, maps = untrained(2, 1).network, list(draw_noise([1], 64, 64).maps)
    given = (
        torch.zeros(1, 64, 64, dtype=torch.int64),
        torch.zeros(1, 1, 64, 64),
        torch.ones(1, 1, 64, 64),
        torch.zeros(1, 3),
    )
    still = Noise(torch.zeros(1), torch.zeros(1, 8), tuple(torch.zeros_like(m) for m in maps))  # type: ignore[arg-type]
    one = [m if i == scale else torch.zeros_like(m) for i, m in enumerate(maps)]
    moved = Noise(still.choice, still.whole, tuple(one))  # type: ignore[arg-type]
    assert (network(*given, moved) - network(*given, still)).std() > 0.01


# style and noise


def test_style_counted_by_hand():
    image = torch.tensor([[[[0.0, 0.5, 1.0], [0.0, 0.5, 1.0]]]])
    weight = torch.tensor([[[[1.0, 1.0, 0.0], [1.0, 1.0, 0.0]]]])
    # pixels 0, .5, 0, .5: mean .25, deviation .25; steps across .5 .5, down 0 0: mean .25, which is one deviation
    torch.testing.assert_close(style := measure_style(image, weight), torch.tensor([[0.25, 0.25, 1.0]]))
    pictures = normalise(image, style)
    torch.testing.assert_close(pictures[0, 0, 0], torch.tensor([-1.0, 1.0, 3.0]))
    torch.testing.assert_close(denormalise(pictures, style), image)


def test_few_visible_pixels_say_nothing_about_the_style():
    images = torch.linspace(-1, 1, 32 * 32).view(1, 1, 32, 32)
    inpainting_mask = torch.ones(1, 1, 32, 32)
    inpainting_mask[..., :4] = 0
    style, unknown = visible_style(images, inpainting_mask)
    torch.testing.assert_close(style, measure_style(images[..., :4], inpainting_mask[..., :4] + 1))
    assert not unknown
    style, unknown = visible_style(images, torch.ones_like(inpainting_mask))
    torch.testing.assert_close(style, measure_style(images, inpainting_mask * 0 + 1))
    assert unknown


def test_the_smooth_filling_carries_local_brightness_into_the_hole():
    pictures = torch.cat([torch.full((1, 1, 32, 32), -1.0), torch.full((1, 1, 32, 32), 2.0)], dim=3)
    inpainting_mask = torch.zeros(1, 1, 32, 64)
    inpainting_mask[..., 10:22, 4:28] = 1
    inpainting_mask[..., 10:22, 36:60] = 1
    filled = fill_smoothly(pictures * (1 - inpainting_mask), inpainting_mask)
    torch.testing.assert_close(filled[..., 4:24], torch.full((1, 1, 32, 20), -1.0), atol=0.03, rtol=0)
    torch.testing.assert_close(filled[..., 40:60], torch.full((1, 1, 32, 20), 2.0), atol=0.03, rtol=0)
    assert fill_smoothly(pictures * 0, torch.ones_like(inpainting_mask)).abs().max() == 0


def test_a_whole_scene_takes_the_style_of_scenes_with_similar_classes():
    shares = torch.tensor([[1.0, 0.0]] * 30 + [[0.0, 1.0]] * 30)
    table = StyleTable(shares, torch.arange(60.0)[:, None])
    choice = torch.linspace(0, 0.999, 200, dtype=torch.float64)
    chosen = table.choose(torch.tensor([[0.1, 0.9]]).expand(200, 2), choice)
    assert chosen.min() >= 30
    assert chosen.max() < 60
    assert len(chosen.unique()) == 24


def test_noise_depends_on_the_seed_of_its_sample_alone():
    both, alone = draw_noise([7, 2**64 - 1], 40, 64), draw_noise([2**64 - 1], 40, 64)
    for a, b in zip(both.maps, alone.maps, strict=True):
        assert torch.equal(a[1:], b)
        assert not torch.equal(a[:1], b)
    assert torch.equal(both.whole[1:], alone.whole)
    assert torch.equal(both.choice[1:], alone.choice)
    assert abs(both.maps[0].mean()) < 0.1
    assert abs(both.maps[0].std() - 1) < 0.1


# losses


def test_losses_counted_by_hand():
    real, fake = torch.tensor([[[[2.0, 0.5]]]]), torch.tensor([[[[-3.0, 0.0]]]])
    weights = torch.tensor([[[[1.0, 0.5]]]])
    # hinge: real (0, .5), fake (0, 1), weighted mean over 1.5
    assert discriminator_loss([real], [fake], [weights]).item() == pytest.approx(0.25 / 1.5 + 0.5 / 1.5)
    assert adversarial_loss([fake], [weights]).item() == pytest.approx(3.0 / 1.5)
    assert feature_matching_loss([real], [fake]).item() == pytest.approx((5 + 0.5) / 2 / 1.25)
    assert feature_matching_loss([real], [real]).item() == 0


def test_l1_counts_labelled_pixels_of_the_hole_only():
    images, drawn = torch.zeros(1, 3, 1, 4), torch.tensor([1.0, 2.0, 4.0, 8.0]).expand(1, 3, 1, 4)
    labels, inpainting_mask = torch.tensor([[[0, 1, 255, 1]]]), torch.tensor([[[[1.0, 0.5, 1.0, 0.0]]]])
    assert l1_loss(images, drawn, labels, inpainting_mask).item() == pytest.approx((1 + 0.5 * 2) / 1.5)
    assert l1_loss(images, drawn, torch.full_like(labels, 255), inpainting_mask).item() == 0


def test_patches_far_from_the_hole_have_no_weight():
    inpainting_mask = torch.zeros(1, 1, 64, 64)
    inpainting_mask[..., 20, 20] = 1
    small, large = patch_weights(inpainting_mask, [torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 8, 8)])
    assert small[0, 0].nonzero().tolist() == [[r, c] for r in (4, 5, 6) for c in (4, 5, 6)]
    assert large[0, 0].nonzero().tolist() == [[r, c] for r in (1, 2, 3) for c in (1, 2, 3)]


@pytest.mark.parametrize(("count", "channels", "height", "width"), [(2, 1, 33, 47), (40, 3, 32, 64)])
def test_the_discriminator_judges_any_size_at_two_scales(count, channels, height, width):
    seen = torch.rand(2, channels + count + 2, height, width)
    logits, features = DiscriminatorNetwork(count, channels, 8)(seen)
    rows, columns = -(-height // 8), -(-width // 8)
    assert [tuple(x.shape) for x in logits] == [(2, 1, 2 * rows, 2 * columns), (2, 1, rows, columns)]
    assert len(features) == 4


def test_the_discriminator_learns_to_tell_stripes_from_dots():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        discriminator = DiscriminatorNetwork(2, 1, 8)
    rng = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(discriminator.parameters(), 2e-3, betas=(0.0, 0.99))
    condition = torch.zeros(4, 4, 32, 32)
    whole = torch.ones(4, 1, 32, 32)
    losses = []
    for _ in range(40):
        dots = torch.randn(4, 1, 32, 32, generator=rng)
        stripes = torch.randn(4, 1, 32, 1, generator=rng).expand(4, 1, 32, 32)
        logits, _ = discriminator(torch.cat([torch.cat([x, condition], 1) for x in (stripes, dots)]))
        real, fake = zip(*(scale.chunk(2) for scale in logits), strict=True)
        loss = discriminator_loss(real, fake, patch_weights(whole, real))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(2, abs=0.3)
    assert losses[-1] < 0.8


# augmentation


def test_augmentation_without_strength_changes_nothing():
    images = torch.rand(2, 3, 32, 40) * 2 - 1
    nothing = draw_augmentation(32, 40, 0.0, [1, 2])
    torch.testing.assert_close(nothing.apply(images), images)
    assert torch.equal(nothing.move(images), images)


def test_augmentation_lets_gradients_through_where_it_keeps_pixels():
    images = torch.zeros(2, 1, 32, 40, requires_grad=True)
    augmentation = draw_augmentation(32, 40, 1.0, [1, 2])
    seen = augmentation.move(images + 1)
    seen.sum().backward()
    assert images.grad is not None
    assert images.grad.sum() == (seen != 0).sum()
    assert 0.3 * images.numel() < images.grad.sum() < images.numel()
    assert torch.equal(images.grad, torch.autograd.grad(_as_paddings(images, augmentation).sum(), images)[0])
    recoloured = augmentation.apply(images)
    assert torch.autograd.grad(recoloured.square().sum(), images)[0].abs().sum() > 0


def _as_paddings(images: torch.Tensor, augmentation: Augmentation) -> torch.Tensor:
    """Translation and cutout written out for autograd; negative padding cuts."""
    shifts = zip(images, augmentation.shifts, strict=True)
    moved = [torch.nn.functional.pad(sample, (x, -x, y, -y)) for sample, (y, x) in shifts]
    return torch.stack(moved) * augmentation.keep


def test_translation_is_that_of_its_parameters():
    marks = torch.arange(12.0).view(1, 1, 3, 4) + 1
    everything = torch.ones(1, 1, 3, 4)
    nothing = torch.zeros(1, 1, 1, 1)
    moved = Augmentation(nothing, nothing + 1, [(1, -2)], everything).move(marks)
    assert moved[0, 0].tolist() == [[0, 0, 0, 0], [3, 4, 0, 0], [7, 8, 0, 0]]
    assert any(shift != (0, 0) for shift in draw_augmentation(64, 128, 1.0, range(8)).shifts)


def test_label_map_and_image_move_together_and_the_map_keeps_its_values():
    marks = (torch.rand(6, 1, 32, 64) < 0.3).float()
    augmentation = draw_augmentation(32, 64, 1.0, range(6))
    image, condition = augmentation.apply(marks), augmentation.move(marks)
    assert set(condition.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(condition, marks)
    for sample in range(6):
        colours = image[sample][condition[sample] == 1].unique()
        assert len(colours) == 1, "all marked pixels of a sample have one colour: they moved as the map did"
        assert colours.item() != 1.0


def test_augmentation_depends_on_the_seed_of_its_sample_alone_and_leaves_the_global_stream_alone():
    before = torch.random.get_rng_state()
    both, alone = draw_augmentation(32, 32, 1.0, [3, 4]), draw_augmentation(32, 32, 1.0, [4])
    images = torch.rand(1, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    twice = images.expand(2, -1, -1, -1)
    assert torch.equal(both.apply(twice)[1:], alone.apply(images))
    assert not torch.equal(both.apply(twice)[:1], alone.apply(images))
    assert torch.equal(before, torch.random.get_rng_state())
