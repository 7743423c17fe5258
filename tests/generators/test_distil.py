"""Distilling diffusion: a student learns where its teacher's steps lead, and draws with its own number of them."""

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from painted import CLASSES, Killed, Painted, painted_dataset
from test_diffusion import untrained
from test_pix2pix import request
from test_train_diffusion import TINY, files_of, start

from marsgen.core.errors import ConfigError, RunError
from marsgen.core.runs import Run
from marsgen.core.storage.onnx_files import OnnxNetwork
from marsgen.generators import DrawConfig, load_generator
from marsgen.generators.config import TrainDistilledConfig
from marsgen.generators.diffusion.diffusion import Diffusion, Distilled, noise_levels
from marsgen.generators.diffusion.distil import Teacher, draw_student_levels, next_levels, open_teacher
from marsgen.generators.diffusion.export import drawings, on_cpu, write_files
from marsgen.generators.diffusion.train import train

QUICK = TrainDistilledConfig(
    steps=6,
    teacher_steps=2,
    batch_size=4,
    crop_px=32,
    warmup_steps=2,
    precision="fp32",
    log_every=1,
    sample_every=3,
    checkpoint_every=3,
)


@pytest.fixture(scope="module")
def taught(tmp_path_factory) -> Path:
    """The run of a teacher, six steps."""
    folder = tmp_path_factory.mktemp("teacher")
    config = TINY.model_copy(update={"sample_every": 1000})
    train(config, start(folder, config), painted_dataset(Painted(8), 6), [Painted(4)])
    return folder


def distil(folder: Path, taught: Path, config: TrainDistilledConfig = QUICK, scenes: Painted | None = None) -> None:
    scenes = scenes or Painted(8)
    run = Run.start(folder, "marsgen train-generator", config, {"data": "painted"})
    try:
        train(config, run, painted_dataset(scenes, 4), teacher=open_teacher(str(taught), config, scenes))
    finally:
        run.close()


@pytest.fixture(scope="module")
def student(taught, tmp_path_factory) -> Path:
    """An undisturbed run of a student."""
    folder = tmp_path_factory.mktemp("student")
    distil(folder, taught)
    return folder


@pytest.mark.parametrize(("sampling_steps", "strength", "guidance"), [(1, 1.0, 1.5), (1, 1.0, 1.0), (2, 1.0, 1.5)])
def test_a_student_that_learned_all_draws_what_its_teacher_draws(sampling_steps, strength, guidance):
    """Steps are taken with the velocities that it is asked to learn, real surroundings put back between them."""
    teacher = untrained(strength=strength, guidance=guidance, sampling_steps=4 * sampling_steps)
    lesson = Teacher(teacher, TrainDistilledConfig(sampling_steps=sampling_steps, teacher_steps=4))
    draw = torch.Generator().manual_seed(0)
    pictures, noise = torch.randn(3, 1, 32, 48, generator=draw), torch.randn(3, 1, 32, 48, generator=draw)
    labels, style = torch.randint(0, 4, (3, 32, 48), generator=draw), torch.rand(3, 3, generator=draw)
    inpainting_mask = torch.rand(3, 1, 32, 48, generator=draw)
    inpainting_mask[:, :, :16], inpainting_mask[:, :, 24:] = 1, 0
    with torch.inference_mode():
        wanted = teacher._denoise(pictures, labels, inpainting_mask, style, noise)
        levels = noise_levels(strength, sampling_steps)
        x = torch.lerp(pictures, noise, levels[0])
        for level, following in pairwise(levels):
            velocity = lesson.velocity(x, noise, level.expand(3), labels, pictures, inpainting_mask, style)
            x = x + (following - level) * velocity
            x = torch.lerp(torch.lerp(pictures, noise, following), x, inpainting_mask)
    # two steps: the teacher's second order begins anew at the second
    assert (x - wanted).abs().max() < (2e-6 if sampling_steps == 1 else 0.1 * wanted.std())


@pytest.mark.parametrize("sampling_steps", [1, 2])
@pytest.mark.parametrize("strength", [1.0, 0.97, 0.51, 0.5, 0.3, 0.02])
def test_where_a_step_ends_is_known_from_where_it_begins(sampling_steps, strength):
    levels = noise_levels(strength, sampling_steps)
    torch.testing.assert_close(next_levels(levels[:-1], sampling_steps), levels[1:])


def test_half_of_the_drawings_are_at_full_strength_and_each_sample_depends_on_its_seed():
    seeds = np.arange(2000, dtype=np.uint64)
    levels = draw_student_levels(seeds, 2)
    assert (levels > 0.998).mean() == pytest.approx(0.25, abs=0.03)  # its first step; as often its second one
    assert (np.abs(levels - 0.4995) < 1e-6).mean() == pytest.approx(0.25, abs=0.03)
    assert levels.min() >= 0.01
    np.testing.assert_array_equal(levels[7:9], draw_student_levels(seeds[7:9], 2))


@pytest.mark.parametrize(
    "killed_at_step", [pytest.param(2, marks=pytest.mark.slow), 5]
)  # before and after a checkpoint
def test_a_killed_run_ends_with_the_same_bytes(taught, student, tmp_path, killed_at_step):
    scenes = Painted(8)

    def kill(index: int) -> None:
        lines = tmp_path / "metrics.jsonl"
        if lines.exists() and len(lines.read_text().splitlines()) == killed_at_step - 1:
            raise Killed

    scenes.before_read = kill
    with pytest.raises(Killed):
        distil(tmp_path, taught, scenes=scenes)
    assert (tmp_path / "last.safetensors").exists() == (killed_at_step > 3)
    distil(tmp_path, taught)
    assert files_of(tmp_path) == files_of(student)


def test_it_comes_nearer_to_its_teacher_and_leaves_it_as_it_was():
    teacher = untrained(guidance=1.5)
    before = {name: value.clone() for name, value in teacher.network.state_dict().items()}
    lesson = Teacher(teacher, QUICK)
    network = lesson.first_student()
    optimizer = torch.optim.AdamW(network.parameters(), 5e-3)
    draw = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(25):
        noise = torch.randn(4, 1, 32, 32, generator=draw)
        labels, style = torch.randint(0, 4, (4, 32, 32), generator=draw), torch.rand(4, 3, generator=draw)
        time, whole, known = torch.full((4,), 0.999), torch.ones(4, 1, 32, 32), torch.ones(4, dtype=torch.bool)
        wanted = lesson.velocity(noise, noise, time, labels, noise, whole, style)
        condition = network.condition(labels, known, noise, whole, style)
        loss = (network(noise, time, condition) - wanted).square().mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.5 * np.mean(losses[:3])
    assert all(torch.equal(value, before[name]) for name, value in teacher.network.state_dict().items())


def test_a_student_opens_with_its_own_steps_and_with_all_that_it_has_seen(taught, student):
    teacher, generator = load_generator(str(taught)), load_generator(str(student), CLASSES, 1)
    assert (generator.name, generator.drawing) == (
        "diffusion",
        {"strength": 1.0, "guidance": 1.0, "sampling_steps": 1},
    )
    # its own four scenes, and the two that only its teacher has learned from
    assert sorted(generator.trained_on) == sorted(set(teacher.trained_on))
    assert len(generator.trained_on) == 6
    record = json.loads((student / "generator.json").read_text())
    assert record["distilled"] == {"teacher": teacher.fingerprint, "guidance": 1.5, "sampling_steps": 1}


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        ({"guidance": 2}, r"guidance is 2, but .* distilled to draw in 1, with a guidance of 1\.5 built in; leave"),
        ({"sampling_steps": 5}, r"sampling_steps is 5, but .* leave draw\.sampling_steps out"),
    ],
)
def test_what_is_built_in_is_no_setting(student, draw, message):
    with pytest.raises(RunError, match=message):
        load_generator(str(student), draw=DrawConfig(**draw))
    load_generator(str(student), draw=DrawConfig(guidance=1, sampling_steps=1, strength=0.3))


def test_two_steps_are_distilled_to_one_and_keep_the_first_guidance(taught, tmp_path):
    distil(tmp_path / "two", taught, QUICK.model_copy(update={"steps": 1, "sampling_steps": 2, "guidance": 3.0}))
    distil(tmp_path / "one", tmp_path / "two", QUICK.model_copy(update={"steps": 1, "teacher_steps": None}))
    two, one = (load_generator(str(tmp_path / name)) for name in ("two", "one"))
    assert two.drawing == {"strength": 1.0, "guidance": 1.0, "sampling_steps": 2}
    assert one.distilled == Distilled(two.fingerprint, 3.0, 1)
    assert Teacher(two, QUICK.model_copy(update={"teacher_steps": None}))._steps == 2
    assert [Teacher(untrained(), TrainDistilledConfig(sampling_steps=n))._steps for n in (1, 2)] == [5, 3]


def test_a_record_that_says_nothing_sensible_is_refused(student, tmp_path):
    for name, content in files_of(student).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    record = json.loads((tmp_path / "generator.json").read_text())
    for distilled, words in (
        (3, r"'distilled\.teacher'"),
        ({**record["distilled"], "sampling_steps": 3}, r"'distilled\.sampling_steps' is 3; 1 or 2 was expected"),
        ({**record["distilled"], "guidance": "much"}, r"'distilled\.guidance' is 'much'"),
    ):
        (tmp_path / "generator.json").write_text(json.dumps({**record, "distilled": distilled}))
        with pytest.raises(RunError, match=rf"do not make a diffusion generator \(.*{words}"):
            load_generator(str(tmp_path))


def test_what_cannot_teach_is_refused(taught, student):
    def refused(where: Path, message: str, scenes: Painted, **settings: float) -> None:
        with pytest.raises((ConfigError, RunError), match=message):
            open_teacher(str(where), QUICK.model_copy(update=settings), scenes)

    refused(student, "draws in 1 already, and sampling_steps is 1; name a generator that takes more", Painted(2))
    refused(student, "guidance is 2, but", Painted(2), guidance=2.0)
    other = Painted(2)
    other.classes = replace(CLASSES, names=("slab", "sand", "rock"))
    refused(taught, "has the classes of the data in another order, sand, slab, rock; list", other)
    refused(taught, r"draws grey \(1 channel\) images; the data are RGB", Painted(2, channels=3))


@pytest.mark.parametrize("sampling_steps", [1, 2])
def test_the_files_draw_what_torch_draws(sampling_steps, tmp_path):
    plain = untrained(3)
    distilled = Distilled("0" * 16, 1.5, sampling_steps)
    generator = Diffusion(plain.network, plain.styles, plain.classes, null_condition=False, distilled=distilled)
    exported = on_cpu(generator)
    assert exported.drawing == {"strength": 1.0, "guidance": 1.0, "sampling_steps": sampling_steps}
    write_files(tmp_path, exported)
    described = OnnxNetwork(tmp_path / "generator.onnx").metadata
    assert (described["steps"], described["guidance"], len(described["levels"])) == (
        sampling_steps,
        None,
        sampling_steps + 1,
    )
    assert described["distilled"] == {"teacher": "0" * 16, "guidance": 1.5, "sampling_steps": sampling_steps}
    for wanted, drawn in drawings(exported, tmp_path, request(3, 1, 32, 48)):
        assert np.abs(drawn - wanted).max() * 127.5 < 0.01
