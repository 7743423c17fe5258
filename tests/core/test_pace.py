"""What a training says of the time it will take."""

import logging

import numpy as np
import pytest

from marsgen.core.pace import Pace


@pytest.mark.parametrize(("seconds", "said"), [(3.5, ["pix2pix: 1,195 more steps of 3.5 s, about 70 min"]), (0.01, [])])
def test_the_hours_are_said_after_a_few_steps_where_there_are_any(seconds, said, monkeypatch, caplog):
    clock = iter(np.cumsum([100, *[seconds] * 20]))
    monkeypatch.setattr("marsgen.core.pace.time.monotonic", lambda: float(next(clock)))
    pace = Pace("pix2pix", 1200)
    with caplog.at_level(logging.INFO, "marsgen"):
        for step in range(1, 20):
            pace.step(step)
    assert [record.getMessage() for record in caplog.records] == said
