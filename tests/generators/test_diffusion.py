"""The diffusion generator: its dial, its solver, what it may look at, and that nothing depends on the company."""

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from test_pix2pix import changed, class_set, request

from marsgen.core.errors import RunError
from marsgen.generators import DrawConfig
from marsgen.generators.diffusion.denoiser import Denoiser
from marsgen.generators.diffusion.diffusion import Diffusion, draw_noise, flow_solver, noise_levels
from marsgen.generators.style import StyleTable
from marsgen.scenes.tensors import image_tensor


def untrained(count: int = 4, channels: int = 1, fold: int = 2, precision: str = "fp32", **draw: float) -> Diffusion:
    """A generator with random weights, made far from the constant velocity that it starts with."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        network = Denoiser(count, channels, (8, 16), blocks=1, fold=fold)
        for name, parameter in network.named_parameters():
            if name.endswith("weight") and not parameter.any():
                torch.nn.init.normal_(parameter, std=0.1)
        shares = torch.rand(5, count + 1)
        styles = torch.rand(5, 3 * channels) * 0.5 + 0.1
    table = StyleTable(shares / shares.sum(1, keepdim=True), styles)
    return Diffusion(network, table, class_set(count), DrawConfig(**draw), precision=precision)


@pytest.mark.parametrize(
    ("count", "channels", "height", "width", "fold"),
    [(4, 1, 64, 128, 2), (2, 3, 33, 47, 4), (40, 1, 32, 100, 1), (255, 3, 32, 32, 8)],
)
def test_every_size_and_class_count_is_drawn_and_real_pixels_stay(count, channels, height, width, fold):
    asked = request(count, channels, height, width)
    drawn = untrained(count, channels, fold).draw(asked)
    assert (drawn.shape, drawn.dtype) == (asked.composites.shape, np.uint8)
    outside, inside = asked.inpainting_mask == 0, asked.inpainting_mask == 1
    np.testing.assert_array_equal(drawn[outside], asked.composites[outside])
    assert (drawn[inside] != asked.composites[inside]).mean() > 0.9


def test_no_strength_is_exactly_copy_paste_and_more_of_it_moves_further_away():
    asked = request(4, 1, 64, 64)
    np.testing.assert_array_equal(untrained(strength=0).draw(asked), asked.composites)
    far = [
        np.abs(untrained(strength=s, guidance=1).draw(asked).astype(int) - asked.composites)[
            asked.inpainting_mask == 1
        ].mean()
        for s in (0.05, 0.3, 0.9)
    ]
    assert far == sorted(far)
    assert far[0] < far[2] / 3


def test_at_full_strength_what_lies_under_the_hole_is_not_seen_and_at_less_it_is():
    asked = request(4, 1, 32, 48)
    hidden = asked.inpainting_mask == 1
    other = asked.composites.copy()
    other[hidden] = 255 - other[hidden]
    full, half = untrained(strength=1), untrained(strength=0.5)
    same = np.abs(full.draw(asked).astype(int) - full.draw(changed(asked, composites=other)))[hidden]
    # a thousandth of the picture is left in the noise, the solver divides by that share
    assert same.mean() < 2
    assert np.abs(half.draw(asked).astype(int) - half.draw(changed(asked, composites=other)))[hidden].mean() > 10


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_sample_has_the_same_bytes_whatever_its_neighbours(precision):
    asked = request(4, 1, 64, 64, batch=4)
    generator = untrained(precision=precision)
    drawn = generator.draw(asked)
    order = np.array([2, 3, 3, 0])  # other places in the batch, other company
    shuffled = type(asked)(**{name: value[order] for name, value in vars(asked).items()})
    np.testing.assert_array_equal(generator.draw(shuffled), drawn[order])


@pytest.mark.parametrize("whole", [True, False])
def test_another_seed_draws_another_picture_and_the_same_seed_the_same(whole):
    asked = request(4, 1, 64, 64)
    if whole:
        asked = changed(asked, inpainting_mask=np.ones_like(asked.inpainting_mask))
    generator = untrained()
    drawn = generator.draw(asked)
    np.testing.assert_array_equal(drawn, generator.draw(asked))
    other = generator.draw(changed(asked, seeds=asked.seeds + np.uint64(1)))
    assert (drawn[asked.inpainting_mask == 1] != other[asked.inpainting_mask == 1]).mean() > 0.3


def test_the_label_map_matters_where_it_says_the_same_everywhere():
    """A normalisation over space would lose the class of a map that has only one; ignored is not a class of its own."""
    asked = request(4, 1, 32, 32, batch=1)
    pictures = [untrained().draw(changed(asked, indices=np.full_like(asked.indices, index))) for index in (0, 1, 255)]
    assert len({picture.tobytes() for picture in pictures}) == 3


def test_the_null_condition_is_neither_a_class_nor_ignored_ground():
    network = untrained().network
    pictures, inpainting_mask = torch.zeros(1, 1, 32, 32), torch.ones(1, 1, 32, 32)
    style = torch.zeros(1, 3)

    def features(index: int, known: bool) -> torch.Tensor:
        labels = torch.full((1, 32, 32), index)
        return network.condition(labels, torch.tensor([known]), pictures, inpainting_mask, style).features[0]

    assert torch.equal(features(0, False), features(2, False))
    assert not torch.allclose(features(255, True), features(255, False))
    assert not torch.allclose(features(0, True), features(255, True))


def test_guidance_moves_away_from_the_picture_without_a_label_map():
    asked = request(4, 1, 32, 32)
    guided = [image_tensor(untrained(guidance=g).draw(asked)) for g in (0, 1, 3)]
    without, plain, more = guided
    assert (more - without).abs().mean() > 1.5 * (plain - without).abs().mean() > 0


def test_guidance_without_a_null_condition_is_refused_in_words():
    trained = untrained()
    with pytest.raises(RunError, match=r"guidance is 2, but .* without a null condition .* set draw\.guidance=1"):
        Diffusion(trained.network, trained.styles, trained.classes, DrawConfig(guidance=2), null_condition=False)
    assert Diffusion(trained.network, trained.styles, trained.classes, null_condition=False).drawing["guidance"] == 1


def test_noise_levels_run_from_the_strength_to_nothing_in_proportional_steps():
    torch.testing.assert_close(noise_levels(0.5, 8), torch.tensor([0.5, 0.375, 0.25, 0.125, 0]))
    assert len(noise_levels(0.01, 10)) == 2
    assert noise_levels(1, 10)[0] == pytest.approx(0.999)


def test_the_solver_ends_where_many_small_euler_steps_of_diffusers_end():
    """On a curved path, with an analytic velocity: data that are normal with spread 0.3 round 0.5."""

    def velocity(x: torch.Tensor, t: float) -> torch.Tensor:
        spread = ((1 - t) * 0.3) ** 2 + t**2
        mean = 0.5 * (1 - t)
        noise = t * (x - mean) / spread
        return noise - (x - t * noise) / max(1 - t, 1e-6)

    start = torch.linspace(-2, 2, 9)[None]
    reference = FlowMatchEulerDiscreteScheduler()
    reference.set_timesteps(sigmas=np.linspace(0.999, 0.002, 500).tolist())
    exact = start.clone()
    for timestep in reference.timesteps:
        exact = reference.step(velocity(exact, timestep.item() / 1000), timestep, exact).prev_sample

    def solve(steps: int) -> torch.Tensor:
        levels = noise_levels(1, steps)
        solver, x = flow_solver(levels), start.clone()
        for timestep in solver.timesteps:
            x = solver.step(velocity(x, timestep.item() / 1000), timestep, x).prev_sample
        return x

    few, more = ((solve(steps) - exact).abs().max().item() for steps in (10, 20))
    assert few < 0.12
    assert more < few / 2  # second order; Euler would halve its error at best


def test_noise_of_a_sample_is_its_seeds_alone():
    choice, noise = draw_noise([7, 8], (1, 4, 4))
    again, alone = draw_noise([8], (1, 4, 4))
    assert torch.equal(choice[1:], again)
    assert torch.equal(noise[1:], alone)
    assert abs(draw_noise(range(200), (1, 8, 8))[1].std().item() - 1) < 0.02


def test_a_saved_denoiser_comes_back_through_diffusers(tmp_path):
    network = untrained().network
    network.save_pretrained(tmp_path)
    again = Denoiser.from_pretrained(tmp_path, low_cpu_mem_usage=False)
    assert dict(again.config)["widths"] == [8, 16] or dict(again.config)["widths"] == (8, 16)
    for name, value in network.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
