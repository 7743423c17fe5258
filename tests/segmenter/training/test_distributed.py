"""Shares of a batch: together they are the batch. tests/test_torchrun.py has real processes do it."""

from threading import Barrier, Thread
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from segmentation_models_pytorch.losses import MULTICLASS_MODE, DiceLoss

from segmenter.config import LossConfig, TrainConfig
from segmenter.networks.unet import UNet
from segmenter.training.batches import TrainingBatches
from segmenter.training.distributed import SyncBatchNorm, SyncDropout, convert_batch_norm
from segmenter.training.losses import SegmentationLoss, dice_loss

WEIGHTS = np.array([0.5, 1.0, 3.0], np.float32)


def process_group(index: int, processes: int):
    return SimpleNamespace(process_index=index, num_processes=processes, is_main_process=index == 0)


# data


@pytest.mark.parametrize(
    "settings", [{}, {"crop": (32, 48), "rare_fraction": 0.25}, {"augment": {"windows_per_transform": 3}}]
)
def test_the_shares_of_a_batch_are_the_batch_of_one_process(simulated, make_dataset, settings):
    dataset = make_dataset(simulated(8), range(8), ())
    config = TrainConfig.model_validate({"steps": 2, "batch_size": 8, **settings})
    for processes in (2, 4):
        shares = [TrainingBatches(config, dataset, (), process_group(i, processes)) for i in range(processes)]
        for step in (1, 2):
            images, labels = TrainingBatches(config, dataset)[step]
            parts = [share[step] for share in shares]
            assert torch.equal(torch.cat([part for part, _ in parts]), images)
            assert torch.equal(torch.cat([part for _, part in parts]), labels)


def test_a_process_reads_only_its_own_scenes(simulated, make_dataset, array_scenes):
    class Counting(array_scenes):
        read_so_far = 0

        def read(self, index):
            self.read_so_far += 1
            return super().read(index)

    source = simulated(8)
    scenes = Counting(source.images, source.labels)
    dataset = make_dataset(scenes, range(8), ())
    config = TrainConfig(batch_size=8, crop=(32, 48))
    batches = TrainingBatches(config, dataset, (), process_group(1, 4))
    scenes.read_so_far = 0
    batches[1]
    assert scenes.read_so_far == 2


# losses


def together(loss_fn, logits: torch.Tensor, labels: torch.Tensor, sizes: tuple[int, ...]) -> list[float]:
    """This loss's part of each share of the batch, computed by threads that add up as processes do."""
    barrier, brought = Barrier(len(sizes)), {}
    parts = [0.0] * len(sizes)

    def work(rank: int, x: torch.Tensor, y: torch.Tensor) -> None:
        def add_up(tensor: torch.Tensor) -> torch.Tensor:
            brought[rank] = tensor
            barrier.wait(20)
            total = sum(brought[other] for other in range(len(sizes)))
            barrier.wait(20)
            return total

        parts[rank] = loss_fn(x, y, add_up).item()

    shares = zip(logits.split(sizes), labels.split(sizes), strict=True)
    threads = [Thread(target=work, args=(rank, x, y)) for rank, (x, y) in enumerate(shares)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return parts


@pytest.mark.parametrize("term", ["cross_entropy", "bce", "dice", "focal", "weighted"])
def test_the_parts_of_a_loss_add_up_to_the_loss_of_the_batch(term):
    rng = np.random.default_rng(0)
    logits = torch.from_numpy(rng.normal(size=(6, 3, 8, 8)).astype(np.float32))
    labels = torch.from_numpy(rng.integers(0, 2, (6, 8, 8)))
    labels[0, :4] = 2  # the heavy class, in one share only
    labels[1, 2:] = 255
    labels[4:] = 255  # the last share has no label at all
    terms = {"dice": 2, "focal": 2, "weighted": ("dice", "focal")} if term == "weighted" else {term: 2}
    loss_fn = SegmentationLoss(LossConfig(**{"cross_entropy": 0.0, **terms}), WEIGHTS)
    whole = loss_fn(logits, labels).item()
    parts = together(loss_fn, logits, labels, (2, 2, 2))
    assert sum(parts) == pytest.approx(whole, rel=1e-5)
    means = [loss_fn(x, y).item() for x, y in zip(logits.split(2), labels.split(2), strict=True)]
    assert np.mean(means) != pytest.approx(whole, rel=0.05)  # the mean of separate losses is another number


def test_dice_is_that_of_segmentation_models_pytorch():
    rng = np.random.default_rng(1)
    logits = torch.from_numpy(rng.normal(size=(2, 4, 8, 8)).astype(np.float32))
    labels = torch.from_numpy(rng.integers(0, 3, (2, 8, 8)))  # class 3 is absent
    labels[0, :3] = 255
    expected = DiceLoss(MULTICLASS_MODE, ignore_index=255)(logits, labels)
    assert dice_loss(logits, labels).item() == pytest.approx(expected.item(), rel=1e-5)


# dropout and batch norm


def test_processes_drop_what_one_would(monkeypatch):
    x = torch.ones(6, 5, 2, 2)

    def drop(part: torch.Tensor, rank: int, processes: int) -> torch.Tensor:
        monkeypatch.setattr("segmenter.training.distributed.count_processes", lambda: processes)
        monkeypatch.setattr("segmenter.training.distributed.dist.get_rank", lambda: rank)
        torch.manual_seed(0)
        return SyncDropout(0.5)(part)

    whole = drop(x, 0, 1)
    assert torch.equal(torch.cat([drop(part, rank, 3) for rank, part in enumerate(x.split(2))]), whole)
    assert 0 < (whole == 0).float().mean() < 1


def test_shared_batch_norm_of_one_process_is_batch_norm():
    generator = torch.Generator().manual_seed(0)
    images = 100 + torch.randn(4, 3, 6, 5, generator=generator)
    plain, shared = torch.nn.BatchNorm2d(3), SyncBatchNorm(3)
    inputs = [images.clone().requires_grad_() for _ in range(2)]
    for norm, x in zip((plain, shared), inputs, strict=True):
        torch.nn.init.constant_(norm.weight, 2.0)
        torch.nn.init.constant_(norm.bias, -1.0)
        for _ in range(2):
            out = norm(x)
        (out**3).sum().backward()
    for ours, theirs in (
        (shared(inputs[1]), plain(inputs[0])),
        (inputs[1].grad, inputs[0].grad),
        (shared.weight.grad, plain.weight.grad),
        *zip(shared.buffers(), plain.buffers(), strict=True),
        (shared.eval()(images), plain.eval()(images)),
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-3)
    assert shared(images.bfloat16()).dtype == torch.bfloat16


def test_every_batch_norm_of_a_network_is_replaced_and_keeps_its_tensors():
    plain = UNet(1, 4, width=4)
    before = {name: tensor.clone() for name, tensor in plain.state_dict().items()}
    shared = convert_batch_norm(plain)
    norms = [layer for layer in shared.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    assert len(norms) == 14
    assert {type(norm) for norm in norms} == {SyncBatchNorm}
    after = shared.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], before[name]) for name in before)
