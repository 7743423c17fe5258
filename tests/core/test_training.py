"""What the training loops share: schedules, running averages, NaN guard, precision, and a process's part of a batch."""

import types

import numpy as np
import pytest
import torch

from marsgen.core.errors import ConfigError, RunError
from marsgen.core.training import (
    arithmetic,
    computes_in_bf16,
    cosine_lr,
    linear_lr,
    refuse_nan,
    set_lr,
    share_batch,
    update_ema,
    warm_up_ema,
)


def test_the_cosine_schedule_warms_up_linearly_and_decays_to_almost_zero():
    rates = [cosine_lr(1.0, step, 110, 10) for step in range(1, 111)]
    np.testing.assert_allclose(rates[:10], np.linspace(0.1, 1, 10))
    assert rates[10] == 1
    assert rates[60] == pytest.approx(0.5)
    assert 0 < rates[-1] < 1e-3
    assert cosine_lr(1.0, 1, steps=1, warmup_steps=50) == 1


def test_the_linear_schedule_decays_over_the_last_steps_only():
    assert [linear_lr(2, step, 100, 0.4) for step in (1, 60, 61, 81, 100)] == [2, 2, 2, 1, 0.05]
    assert [linear_lr(1, step, 100, 0.4, warmup_steps=4) for step in (1, 2, 4, 5)] == [0.25, 0.5, 1, 1]
    assert linear_lr(1, 100, 100, 0) == 1


def test_a_parameter_group_keeps_its_factor_on_the_rate():
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": weights[:1]}, {"params": weights[1:], "lr_factor": 0.2}], lr=9.0)
    set_lr(optimizer, 0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.1]


def test_the_running_average_moves_weights_and_buffers_by_its_decay_and_copies_counters():
    ema, network = torch.nn.BatchNorm1d(1), torch.nn.BatchNorm1d(1)
    network.weight.data.fill_(2.0)
    network.running_mean.fill_(8.0)
    network.num_batches_tracked += 5
    update_ema(ema, network, 0.75)
    assert ema.weight.item() == pytest.approx(1.25)
    assert ema.running_mean.item() == pytest.approx(2.0)
    assert ema.num_batches_tracked == 5
    assert network.weight.item() == 2


def test_the_decay_of_the_average_starts_small():
    assert warm_up_ema(0.999, 1, offset=1) == pytest.approx(2 / 11)
    assert warm_up_ema(0.999, 1, offset=0) == pytest.approx(1 / 11)
    assert warm_up_ema(0.75, 1000, offset=1) == 0.75


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_is_refused_with_what_to_do(value):
    refuse_nan({"l1": 1.0}, 7, "lr")
    with pytest.raises(RunError, match=rf"l1 loss is {value} at step 7; lower lr, or set precision=fp32"):
        refuse_nan({"adversarial": 1.0, "l1": value}, 7, "lr")


def test_automatic_precision_is_bf16_only_where_the_device_has_instructions_for_it():
    cpu = torch.device("cpu")
    assert arithmetic("auto", cpu) == (torch.bfloat16 if computes_in_bf16(cpu) else torch.float32)
    assert (arithmetic("fp32", cpu), arithmetic("bf16", cpu)) == (torch.float32, torch.bfloat16)
    assert not computes_in_bf16(torch.device("meta"))


def test_the_parts_of_a_batch_are_neighbours_and_cover_it():
    groups = [types.SimpleNamespace(process_index=i, num_processes=3) for i in range(3)]
    assert [list(share_batch(6, group)) for group in groups] == [[0, 1], [2, 3], [4, 5]]
    with pytest.raises(ConfigError, match="batch_size is 4; it has to be a multiple of the 3 processes"):
        share_batch(4, groups[0])
