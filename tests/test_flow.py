"""The commands of the README and of docs/studies.md, run as they stand there, on simulated files of those names."""

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from in_process import InProcess

from marsgen.commands.demo import DemoConfig, demo_steps, playground_command, run_demo
from marsgen.core.errors import RunError
from marsgen.core.rehearsal import Estimate
from marsgen.engines.task import Outcome, PerJob, Task
from marsgen.scenes.simulate import simulate_scene

pytestmark = pytest.mark.usefixtures("plain_figures_of_module")
ROOT = Path(__file__).parent.parent


def _sets(*settings: str) -> list[str]:
    return [word for setting in settings for word in ("--set", setting)]


TINY = {
    "inspect": ["--config", str(ROOT / "configs/tiny/inspect.yaml"), "--set", "autoencoder_steps=5"],
    "train-generator": ["--config", str(ROOT / "configs/tiny/train-generator.yaml"), "--set", "steps=4"],
    "preview": ["--set", "rows=2", "--set", "variants=2"],
    "score": ["--features", "judge", "--set", "resamples=50", "--set", "splits=2"],
    "synthesize": ["--set", "n=24"],
    "train": ["--config", str(ROOT / "configs/tiny/segmenter.yaml"), *_sets("steps=6", "batch_size=4", "unet.width=4")],
    "compare": ["--set", "resamples=200"],
    "report": ["--set", "resamples=200"],
}
"""what makes each command quick; everything else is the README's own words"""


def call(*words: str) -> int:
    """Run a command line in this process, as its console script would; return the exit code."""
    from marsgen.cli import main as marsgen
    from segmenter.cli import main as segmenter

    argv, sys.argv = sys.argv, list(words)
    try:
        {"marsgen": marsgen, "segmenter": segmenter}[words[0]]()
    except SystemExit as stop:
        return int(stop.code or 0)
    finally:
        sys.argv = argv
    return 0


def commands_of(page: Path) -> list[str]:
    """Every marsgen and segmenter command in a page's code blocks, or a yaml's comments, continued lines joined."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".yaml":
        code = "\n".join(line.removeprefix("#") for line in text.splitlines() if line.startswith("#  "))
    else:
        code = "\n".join(re.findall(r"```(?:sh|console)\n(.*?)```", text, flags=re.S))
    lines = code.replace("\\\n", " ").splitlines()
    commands = [line.split("  #")[0].strip().removeprefix("$ ") for line in lines]
    commands = [re.sub(r"^torchrun .*-m (marsgen|segmenter)\.cli ", r"\1 ", c) for c in commands]
    return [c for c in commands if c.startswith(("marsgen ", "segmenter "))]


def refuse_what_does_not_exist(words: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Fail where a command, one of its options or a yaml that it names is not there."""
    assert call(words[0], words[1], "--help") == 0
    page = capsys.readouterr().out
    for word in words[2:]:
        assert not word.startswith("--") or word in page, f"{words[:2]} has no {word}"
        assert not word.startswith("configs/") or (ROOT / word).is_file(), f"{words[:2]}: no {word}"


@pytest.fixture(scope="module", autouse=True)
def _simulated_once() -> Iterator[None]:
    """Let the commands of a page draw each simulated scene once, though each command is another process to a user."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("marsgen.scenes.simulate.simulate_scene", cache(simulate_scene))
        yield


@pytest.fixture(scope="module")
def workplace(tmp_path_factory, tiny_npz, tiny_test_npz) -> Path:
    """A folder with the data files that the README names."""
    folder = tmp_path_factory.mktemp("workplace")
    shutil.copy(tiny_npz, folder / "mars_for_students.npz")
    shutil.copy(tiny_test_npz, folder / "mars_dev_test.npz")
    (folder / "configs").symlink_to(ROOT / "configs")
    rock = np.load(tiny_npz)["training_set"]
    for kind, part in (("images", 0), ("labels", 1)):
        (folder / "my_data" / kind).mkdir(parents=True)
        from PIL import Image

        for index in range(40):
            Image.fromarray(rock[index, part]).save(folder / "my_data" / kind / f"tile_{index:03d}.png")
    shutil.copy(ROOT / "configs" / "classes_mars.yaml", folder / "my_data" / "classes.yaml")
    return folder


def shortened(command: str) -> list[str]:
    words = [re.sub(r"^sim:\d\d\d", "sim:24,rocks=0.5", word) for word in shlex.split(command)]
    words = [word.replace("sim:48,", "sim:24,") for word in words]
    if words[1] == "synthesize":
        words = [w for i, w in enumerate(words) if w != "--n" and words[i - 1] != "--n"]
    extra = TINY.get(words[1], [])
    if words[1] == "study":
        words = [str(ROOT / "configs/tiny/study.yaml") if w.startswith("configs/studies/") else w for w in words]
        extra = ["--dry-run"] if "--folds" in words else []  # one study is enough; folds are run in test_study.py
    if "diffusion" in words:
        extra = ["--config", str(ROOT / "configs/tiny/diffusion.yaml")]
    if "--config" in words:
        extra = [w for i, w in enumerate(extra) if w != "--config" and extra[i - 1] != "--config"]
    return words + extra


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_every_command_of_the_readme_runs_in_its_order(workplace, monkeypatch, capsys):
    monkeypatch.chdir(workplace)
    # the commands of a study run in this process too: the same code, without importing torch for each
    monkeypatch.setattr("marsgen.engines.choose.open_engine", lambda *_: InProcess())
    monkeypatch.setattr("segmenter.dry_run.study", lambda study: Estimate(60, 0, 0))  # it is tested in test_dry_run.py
    commands = commands_of(ROOT / "README.md")
    used = {tuple(c.split()[:2]) for c in commands}
    assert used >= {
        *(("marsgen", c) for c in ("inspect", "train-generator", "preview", "synthesize", "score", "export")),
        *(("segmenter", c) for c in ("train", "evaluate", "compare", "report", "predict", "study", "study-report")),
    }
    for command in commands:
        if command == "marsgen demo":
            continue  # the same flow again; its commands are checked below
        code = call(*shortened(command))
        printed = capsys.readouterr()
        assert code == 0, f"{command}\n{printed.out}\n{printed.err}"
        assert "wrote" in printed.out or "--folds" in command, command


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_every_command_of_the_page_on_studies_runs_in_its_order(workplace, monkeypatch, capsys):
    monkeypatch.chdir(workplace)
    monkeypatch.setattr("marsgen.engines.choose.open_engine", lambda *_: InProcess())
    monkeypatch.setattr("segmenter.dry_run.study", lambda study: Estimate(60, 0, 0))  # it is tested in test_dry_run.py
    commands = commands_of(ROOT / "docs" / "studies.md")
    assert len(commands) == 8
    for command in commands:
        # the published counts are reported by test_published_results.py
        words = shortened(command.replace("docs/results/rare_class", "outputs/study/counts"))
        code = call(*words, *(["--set", "statistics.resamples=200"] if words[1] == "study" else []))
        printed = capsys.readouterr()
        assert code == 0, f"{command}\n{printed.out}\n{printed.err}"
        assert "wrote" in printed.out or "--folds" in command, command
    # the command with --workers belongs to the finished study of the first one
    assert sorted(path.name for path in Path("outputs/study/runs").iterdir()) == [
        *("oversampled-seed0", "oversampled-seed1", "pasted-seed0", "pasted-seed1"),
    ]


def test_the_demo_runs_commands_that_exist_on_data_that_exist(capsys):
    from marsgen.scenes.sources import open_scenes

    steps = demo_steps(DemoConfig(), Path("demo"))
    commands = [list(step.words) for step in steps.values()]
    for command in commands:
        refuse_what_does_not_exist(command, capsys)
        if "--data" in command:
            assert len(open_scenes(command[command.index("--data") + 1])) > 0
        if "--config" in command:
            assert Path(command[command.index("--config") + 1]).is_file()
    # a command that reads what another one writes waits for it
    out = {name: step.words[step.words.index("--out") + 1] for name, step in steps.items() if "--out" in step.words}
    for name, step in steps.items():
        read = {other for other, folder in out.items() if other != name and folder in step.words}
        waits_for = set(step.after)
        for _ in steps:
            waits_for |= {earlier for one in waits_for for earlier in steps[one].after}
        assert read <= waits_for <= set(list(steps)[: list(steps).index(name)]), name
        if step.shows is not None:
            assert step.shows == Path(out[name], "preview.png")
    offered = playground_command(Path("demo"))
    refuse_what_does_not_exist(offered, capsys)
    written = {command[command.index("--out") + 1] for command in commands if "--out" in command}
    read = {word for word in offered if word.startswith("demo/")} - {"demo/page"}
    assert read <= written
    assert len(read) == 4


class ScriptedPool:
    """In place of `LocalPool`: says what commands say, and lets one of them fail."""

    failing = "nothing"

    def __init__(self, workers: int, needs: PerJob) -> None:
        self.ran: list[str] = []

    def submit(self, task: Task) -> Future[Outcome]:
        (command,) = task.commands
        out = command[command.index("--out") + 1] if "--out" in command else command[2]
        task.log.write_text(f"$ an earlier start\nwrote old\n$ {command}\ntrain:  50%|###  | 5/10\rwrote {out}\n")
        done: Future[Outcome] = Future()
        done.set_result(Outcome("no room on the disk" if self.failing in command else ""))
        return done

    def close(self) -> None:
        pass


def test_the_demo_shows_what_its_commands_say_and_where_one_stopped(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("marsgen.commands.demo.LocalPool", ScriptedPool)
    assert run_demo(DemoConfig(seeds=1), tmp_path) == tmp_path / "report" / "report.html"
    printed = capsys.readouterr().out
    commands = [line for line in printed.splitlines() if line.startswith("$ ")]
    assert len(commands) == len(demo_steps(DemoConfig(seeds=1), tmp_path))
    assert re.search(rf"^look at {tmp_path / 'pasted' / 'preview.png'}, \d+ s after the start$", printed, flags=re.M)
    assert f"wrote {tmp_path / 'report'}\n" in printed
    assert "50%" not in printed
    assert "wrote old" not in printed
    monkeypatch.setattr(ScriptedPool, "failing", "train-generator")
    with pytest.raises(
        RunError, match=r"stopped at `marsgen train-generator`: no room on the disk \(see .*generator\.log\)"
    ):
        run_demo(DemoConfig(seeds=1), tmp_path)
    assert "--generator " + str(tmp_path / "generator") not in capsys.readouterr().out


def test_commands_of_other_pages_and_of_configs_exist(capsys):
    pages = [*(ROOT / "docs").glob("*.md"), *(ROOT / "configs").rglob("*.yaml")]
    commands = {page.stem: commands_of(page) for page in pages}
    assert [len(commands[name]) for name in ("studies", "rare_class_cpu", "multi_scale")] == [8, 1, 2]
    for command in {command for found in commands.values() for command in found}:
        words = [word for word in shlex.split(command) if word != "..."]
        refuse_what_does_not_exist(words, capsys)


def test_help_answers_within_a_second_or_so():
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "marsgen.cli", "--help"], capture_output=True, text=True, check=True
    )
    assert "train-generator" in done.stdout
    assert "torch" not in done.stderr
