"""Jobs run once each, after what they need; a failure stops only what needs it; workers share one folder."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from marsgen.core.errors import RunError
from marsgen.core.process_group import SINGLE_PROCESS
from segmenter.study.child_process import Usage, environment_of_child
from segmenter.study.jobs import Job, _claim, is_finished, read_cost, run_jobs

VERSION = ("marsgen", "--version")
WRONG = ("marsgen", "inspect", "--data", "nowhere.npz")


def acting(said: list[str], name: str, *needs: str) -> Job:
    return Job(name, needs=needs, action=lambda: said.append(name))


def test_jobs_run_once_each_after_what_they_need(tmp_path):
    said: list[str] = []
    jobs = [acting(said, "runs/b", "a"), acting(said, "a"), acting(said, "c", "runs/b")]
    for _ in range(2):
        run_jobs(jobs, tmp_path, SINGLE_PROCESS)
    assert said == ["a", "runs/b", "c"]


def test_a_command_leaves_its_cost_and_what_it_said(tmp_path):
    run_jobs([Job("sets/x", (VERSION,), "n: 3\n")], tmp_path, SINGLE_PROCESS)
    cost = read_cost(tmp_path, "sets/x")
    assert 0 < cost["cpu_seconds"] < 60
    assert 0 < cost["seconds"] < 60
    assert 5 < cost["peak_mb"] < 4000
    assert not cost["resumed"]
    assert (tmp_path / "jobs/sets/x.log").read_text().startswith("$ marsgen --version\nmarsgen ")
    assert (tmp_path / "jobs/sets/x.yaml").read_text() == "n: 3\n"


def test_a_failure_stops_only_what_needs_it_and_is_tried_again(tmp_path):
    said: list[str] = []
    jobs = [Job("bad", (WRONG,)), acting(said, "after", "bad"), acting(said, "later", "after"), acting(said, "other")]
    with pytest.raises(RunError, match=r"1 of 4 jobs failed, first bad: nowhere\.npz.*jobs/bad\.log"):
        run_jobs(jobs, tmp_path, SINGLE_PROCESS)
    assert said == ["other"]
    run_jobs([Job("bad", (VERSION,)), *jobs[1:]], tmp_path, SINGLE_PROCESS)
    assert said == ["other", "after", "later"]


def test_a_job_that_was_finished_with_other_settings_is_refused(tmp_path):
    run_jobs([Job("a", (VERSION,), "n: 1\n")], tmp_path, SINGLE_PROCESS)
    assert is_finished(tmp_path, Job("a", (VERSION,), "n: 1\n"))
    with pytest.raises(RunError, match=r"jobs/a\.json: finished with other settings .* another\s+name"):
        run_jobs([Job("a", (VERSION,), "n: 2\n")], tmp_path, SINGLE_PROCESS)


def test_a_folder_of_finished_jobs_may_be_moved(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    run_jobs([Job("a", (("marsgen", "inspect", "--help", "--out", str(here / "a")),))], here, SINGLE_PROCESS)
    here.rename(there)
    assert is_finished(there, Job("a", (("marsgen", "inspect", "--help", "--out", str(there / "a")),)))


def test_a_file_named_like_the_folder_is_not_inside_it(tmp_path):
    job = Job("a", (("marsgen", "inspect", "--classes", "mars.yaml", "--out", "mars/a"),))
    moved = Job("a", (("marsgen", "inspect", "--classes", "mars.yaml", "--out", f"{tmp_path}/a"),))
    assert job.identity(Path("mars")) == moved.identity(tmp_path)
    words = ["marsgen", "inspect", "--classes", "mars.yaml", "--out", "./a"]
    assert job.identity(Path("mars"))["commands"] == [words]


def test_data_of_a_finished_job_may_be_moved_but_its_options_may_not_change(tmp_path):
    job = Job("a", (("marsgen", "inspect", "--help", "--data", "here.npz", "--against", "a.npz"),))
    run_jobs([job], tmp_path, SINGLE_PROCESS)
    assert is_finished(
        tmp_path, Job("a", (("marsgen", "inspect", "--help", "--data", "there.npz", "--against", "a.npz"),))
    )
    with pytest.raises(RunError, match="finished with other settings"):
        is_finished(tmp_path, Job("a", (("marsgen", "inspect", "--help", "--data", "here.npz", "--against", "b.npz"),)))


def test_a_command_that_is_killed_is_said_to_be(tmp_path, monkeypatch):
    def killed(command, log, lock):
        log.write("train: 40%")
        return -9, Usage()

    monkeypatch.setattr("segmenter.study.jobs.run_command", killed)
    with pytest.raises(RunError, match="first a: killed by signal 9"):
        run_jobs([Job("a", (VERSION,))], tmp_path, SINGLE_PROCESS)


def test_a_damaged_record_is_named(tmp_path):
    run_jobs([acting([], "a")], tmp_path, SINGLE_PROCESS)
    (tmp_path / "jobs/a.json").write_text("{")
    with pytest.raises(RunError, match=r"jobs/a\.json: not readable json .* the job runs again"):
        run_jobs([acting([], "a")], tmp_path, SINGLE_PROCESS)


def test_two_workers_share_the_jobs(tmp_path):
    said: list[str] = []

    def slow(name: str) -> Job:
        return Job(name, action=lambda: (time.sleep(0.05), said.append(f"{name} {threading.get_ident()}")))

    jobs = [slow(f"runs/{n}") for n in range(8)]
    workers = [threading.Thread(target=run_jobs, args=(jobs, tmp_path, SINGLE_PROCESS)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(20)
    assert sorted(line.split()[0] for line in said) == [job.name for job in jobs]
    assert len({line.split()[1] for line in said}) == 2


def test_a_child_that_outlives_its_worker_is_waited_for(tmp_path):
    with _claim(tmp_path, "a") as lock:
        child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock.descriptor,))
    try:
        with _claim(tmp_path, "a") as lock:
            assert lock is None
    finally:
        child.communicate(b"\n")
    with _claim(tmp_path, "a") as lock:
        assert lock is not None


def test_a_child_sees_no_variable_of_torchrun(monkeypatch):
    kept = environment_of_child(
        {"RANK": "1", "WORLD_SIZE": "2", "MASTER_PORT": "1", "TORCHELASTIC_RUN_ID": "x", "A": "b"}
    )
    assert kept["A"] == "b"
    assert not {"RANK", "WORLD_SIZE", "MASTER_PORT", "TORCHELASTIC_RUN_ID"} & set(kept)


def test_each_local_process_gives_its_children_one_gpu(monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    for visible, expected in ((None, "1"), ("4,6", "6")):
        given = {"LOCAL_RANK": "3"} | ({"CUDA_VISIBLE_DEVICES": visible} if visible else {})
        assert environment_of_child(given)["CUDA_VISIBLE_DEVICES"] == expected


def test_costs_are_plain_json(tmp_path):
    run_jobs([Job("a", (VERSION,))], tmp_path, SINGLE_PROCESS)
    assert set(json.loads((tmp_path / "jobs/a.json").read_text())) == {
        "job",
        "seconds",
        "cpu_seconds",
        "peak_mb",
        "resumed",
    }
    assert os.listdir(tmp_path) == ["jobs"]
