"""Jobs run once each, after what they need, side by side; a failure stops only what needs it."""

import json
from concurrent.futures import Future
from pathlib import Path

import pytest
from in_process import InProcess

from marsgen.core.errors import RunError
from marsgen.engines.task import Outcome, Task, WorkerLost
from segmenter.study.jobs import Job, is_finished, read_cost, run_jobs

VERSION = ("marsgen", "--version")
WRONG = ("marsgen", "inspect", "--data", "nowhere.npz")


def acting(said: list[str], name: str, *needs: str) -> Job:
    return Job(name, needs=needs, action=lambda: said.append(name))


class Ended:
    """An `Engine` whose tasks end as they are told."""

    slots = 2

    def __init__(self, **ends: Outcome | Exception) -> None:
        self.ends, self.said = ends, list[str]()

    def submit(self, task: Task) -> Future[Outcome]:
        self.said.append(task.name)
        future: Future[Outcome] = Future()
        end = self.ends.get(task.name, Outcome())
        if isinstance(end, Exception):
            future.set_exception(end)
        else:
            task.log.write_text(f"$ {task.name}\nloading\n{end.reason}\n")
            future.set_result(end)
        return future

    def close(self) -> None:
        pass


def test_jobs_run_once_each_after_what_they_need(tmp_path):
    said: list[str] = []
    jobs = [acting(said, "runs/b", "a"), acting(said, "a"), acting(said, "c", "runs/b")]
    for _ in range(2):
        run_jobs(jobs, tmp_path, InProcess())
    assert said == ["a", "runs/b", "c"]


def test_a_failure_stops_only_what_needs_it_and_is_tried_again(tmp_path):
    said: list[str] = []
    jobs = [Job("bad", (WRONG,)), acting(said, "after", "bad"), acting(said, "later", "after"), acting(said, "other")]
    with pytest.raises(RunError, match=r"1 of 4 jobs failed, first bad: nowhere\.npz.*jobs/bad\.log"):
        run_jobs(jobs, tmp_path, InProcess())
    assert said == ["other"]
    run_jobs([Job("bad", (VERSION,)), *jobs[1:]], tmp_path, InProcess())
    assert said == ["other", "after", "later"]


def test_the_log_of_a_failed_job_is_shown_and_the_others_go_on(tmp_path, capsys):
    engine = Ended(bad=Outcome("no memory"), lost=WorkerLost())
    jobs = [Job(name, (VERSION,)) for name in ("bad", "lost", "c", "d")]
    with pytest.raises(RunError, match="2 of 4 jobs failed"):
        run_jobs(jobs, tmp_path, engine)
    assert engine.said == ["bad", "lost", "c", "d"]
    err = capsys.readouterr().err
    assert (
        f"failed: bad: no memory (full output: {tmp_path}/jobs/bad.log)\n    $ bad\n    loading\n    no memory" in err
    )
    assert "failed: lost: its worker was lost 11 times" in err


def test_a_job_that_was_finished_with_other_settings_is_refused(tmp_path):
    run_jobs([Job("a", (VERSION,), "n: 1\n")], tmp_path, InProcess())
    assert is_finished(tmp_path, Job("a", (VERSION,), "n: 1\n"))
    with pytest.raises(RunError, match=r"jobs/a\.json: finished with other settings .* another\s+name"):
        run_jobs([Job("a", (VERSION,), "n: 2\n")], tmp_path, InProcess())


def test_a_folder_of_finished_jobs_may_be_moved(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    run_jobs([Job("a", (("marsgen", "inspect", "--help", "--out", str(here / "a")),))], here, InProcess())
    here.rename(there)
    assert is_finished(there, Job("a", (("marsgen", "inspect", "--help", "--out", str(there / "a")),)))


def test_a_file_named_like_the_folder_is_not_inside_it(tmp_path):
    job = Job("a", (("marsgen", "inspect", "--classes", "mars.yaml", "--out", "mars/a"),))
    moved = Job("a", (("marsgen", "inspect", "--classes", "mars.yaml", "--out", f"{tmp_path}/a"),))
    assert job.identity(Path("mars")) == moved.identity(tmp_path)
    words = ["marsgen", "inspect", "--classes", "mars.yaml", "--out", "./a"]
    assert job.identity(Path("mars"))["commands"] == [words]


def test_data_of_a_finished_job_may_be_moved_but_its_options_may_not_change(tmp_path):
    words = ("marsgen", "inspect", "--help", "--data")
    run_jobs([Job("a", ((*words, "here.npz", "--against", "a.npz"),))], tmp_path, InProcess())
    assert is_finished(tmp_path, Job("a", ((*words, "there.npz", "--against", "a.npz"),)))
    with pytest.raises(RunError, match="finished with other settings"):
        is_finished(tmp_path, Job("a", ((*words, "here.npz", "--against", "b.npz"),)))


def test_a_record_is_plain_json_and_a_damaged_one_is_named(tmp_path):
    job = Job("a", (VERSION,), "n: 3\n")
    run_jobs([job], tmp_path, Ended(a=Outcome("", 4.0, 3.0, 200.0, True)))
    cost = {"seconds": 4.0, "cpu_seconds": 3.0, "peak_mb": 200.0, "resumed": True}
    assert read_cost(tmp_path, "a") == {"job": job.identity(tmp_path), **cost}
    assert (tmp_path / "jobs/a.yaml").read_text() == "n: 3\n"
    json.loads((tmp_path / "jobs/a.json").read_text())
    (tmp_path / "jobs/a.json").write_text("{")
    with pytest.raises(RunError, match=r"jobs/a\.json: not readable json .* the job runs again"):
        run_jobs([job], tmp_path, InProcess())
