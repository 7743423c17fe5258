"""Processes of one command: which of them speaks."""

import pytest

from marsgen.core.process_group import SINGLE_PROCESS, first_to_say, join_process_group


def test_one_process_is_the_first_and_waits_for_nobody(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    assert join_process_group() is SINGLE_PROCESS
    assert SINGLE_PROCESS.is_main_process
    SINGLE_PROCESS.wait_for_everyone()
    with SINGLE_PROCESS.main_process_first():
        assert first_to_say("no such file")
        assert first_to_say("no such file")


def test_of_several_processes_the_first_says_a_sentence(monkeypatch: pytest.MonkeyPatch):
    from torch.distributed import TCPStore

    meeting = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)  # as torchrun opens it
    for name, value in (("WORLD_SIZE", "2"), ("MASTER_ADDR", "127.0.0.1"), ("MASTER_PORT", str(meeting.port))):
        monkeypatch.setenv(name, value)
    assert [first_to_say(sentence) for sentence in ("no file", "no file", "no class")] == [True, False, True]
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")  # a new attempt says it again
    assert first_to_say("no file")


@pytest.mark.parametrize("port", [None, "none"])
def test_where_no_process_can_be_reached_all_say_it(port: str | None, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    if port is None:
        monkeypatch.delenv("MASTER_PORT", raising=False)
    else:
        monkeypatch.setenv("MASTER_PORT", port)
    assert [first_to_say("no file"), first_to_say("no file")] == [True, True]
