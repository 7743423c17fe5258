"""A tiny world of scenes that every test can use, painted by the simulator."""

import gc
import html
import math
import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import hypothesis
import numpy as np
import pytest
import warm_python
from simulated import simulated_npz

# tests run two at a time: one thread each, and the same bytes on every machine
os.environ.setdefault("OMP_NUM_THREADS", "1")

QUICK_SECONDS = 8
"""CPU seconds after which a test should be marked slow"""

# the same examples at every run: a merge must not depend on luck
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None)
hypothesis.settings.load_profile("repeatable")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_setupnodes(config: pytest.Config, specs: list) -> None:
    """Fork the workers of pytest-xdist and notebooks from one process that has imported torch: they start at once.

    Not where coverage is measured, which has to see every import, and not beside a GPU, which forks may not share.
    """
    forks = sys.platform == "linux" and not Path("/dev/nvidiactl").exists()
    if forks and not config.getoption("cov_source", None):
        warm_python.ensure_server("all")
        os.environ["JUPYTER_PATH"] = str(Path(__file__).parent / "jupyter")
        for spec in specs:
            spec.python = shlex.join([sys.executable, "-I", "-S", warm_python.__file__])
    if config.args_source is pytest.Config.ArgsSource.TESTPATHS and not sys.dont_write_bytecode:
        _rewrite_tests(config)


def _rewrite_tests(config: pytest.Config) -> None:
    """Let pytest rewrite the asserts of all tests once, while the server imports, not once in every worker.

    After the first time all are kept. pytest has no public name for it; where its own are others, workers do it.
    """
    with suppress(ImportError, AttributeError, TypeError):
        from _pytest.assertion import rewrite

        for path in sorted(Path(__file__).parent.rglob("test_*.py")):
            folder = rewrite.get_cache_dir(path)
            kept = folder / (path.stem + rewrite.PYC_TAIL)
            if rewrite._read_pyc(path, kept) is None and rewrite.try_makedirs(folder):
                digest, code = rewrite._rewrite_test(path, config)
                rewrite._write_pyc(config.stash[rewrite.assertstate_key], code, digest, kept)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Leave what is imported out of every garbage collection, and collect less often: a tenth of the time."""
    gc.disable()
    found = yield
    gc.collect()
    gc.freeze()
    gc.set_threshold(200_000, 20, 100)
    gc.enable()
    return found


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Notebooks are slow, and first; then the modules with slow tests: what takes long must not start last.

    A worker that has no tests left takes some of another's, but never the other's last two.
    """
    limits: dict[Path, float] = {}
    for item in items:
        if item.path.suffix == ".ipynb":
            item.add_marker("slow")
        limit = item.get_closest_marker("timeout")
        seconds = limit.args[0] if limit else 1 if item.get_closest_marker("slow") else 0
        seconds = math.inf if item.path.suffix == ".ipynb" else seconds
        limits[item.path] = max(seconds, limits.get(item.path, 0))
    items.sort(key=lambda item: -limits[item.path])


def _measure(item: pytest.Item) -> Iterator[None]:
    """Note the CPU seconds of a phase of a test, which say the same beside other work; those of forks are not seen."""
    began = sum(os.times()[:4])
    try:
        return (yield)
    finally:
        item.user_properties.append(("cpu_seconds", sum(os.times()[:4]) - began))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> Iterator[None]:
    return (yield from _measure(item))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    return (yield from _measure(item))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tests that take long and are not marked slow, with what they share with those after them."""
    for report in terminalreporter.stats.get("passed", []):
        seconds = sum(value for name, value in report.user_properties if name == "cpu_seconds")
        if seconds > QUICK_SECONDS and "slow" not in report.keywords:
            line = f"{seconds:.0f} s of CPU, but not marked slow: {report.nodeid}"
            terminalreporter.write_line(line, yellow=True)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let no test find what an earlier version has kept in the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MARSGEN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True)
def _own_bars() -> None:
    """Let no test meet the switches of progress bars that a command of an earlier one has set in this process."""
    for name in [name for name in os.environ if name.startswith("TQDM_")]:
        del os.environ[name]


@pytest.fixture(scope="session", autouse=True)
def _unsynced() -> Iterator[None]:
    """Let no test wait for the disk: kills leave what was written, and power cuts (core/test_power_cut.py) are played.

    Commands in processes of their own sync as ever.
    """
    import marsgen.core.storage.files

    class Library:
        syncfs = staticmethod(lambda descriptor: 0)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        patch.setattr(marsgen.core.storage.files, "_c_library", Library)
        yield


@pytest.fixture(scope="session")
def tiny_npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 simulated pairs of 64 x 128 (about 7 outliers, at least 12 with a big rock) and 6 unlabelled images."""
    return simulated_npz(tmp_path_factory.mktemp("data") / "tiny.npz")


@pytest.fixture(scope="session")
def tiny_test_npz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 other labelled pairs, keys images and labels: a test set of its own."""
    from marsgen.scenes.simulate import SimulationConfig, simulate_scene

    config = SimulationConfig(seed=77, rock_scene_fraction=0.5, outlier_fraction=0)
    pairs = [simulate_scene(i, config) for i in range(24)]
    path = tmp_path_factory.mktemp("data") / "tiny_test.npz"
    np.savez_compressed(
        path, images=np.stack([i[..., 0] for i, _ in pairs]), labels=np.stack([labels for _, labels in pairs])
    )
    return path


@pytest.fixture(scope="session")
def tiny_scenes(tiny_npz: Path):
    """The labelled scenes of `tiny_npz`."""
    from marsgen.scenes.sources import open_scenes

    return open_scenes(str(tiny_npz))


@contextmanager
def _figures_only_named() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "segmenter.results.page.figures._svg",
            lambda figure, label: f'<svg role="img" aria-label="{html.escape(label)}"></svg>',
        )
        yield


@pytest.fixture
def plain_figures() -> Iterator[None]:
    """Pages of results whose figures are only named, not drawn, which takes a second or two a page.

    Drawn ones are tested in segmenter/results/test_page.py and test_report.py.
    """
    with _figures_only_named():
        yield


@pytest.fixture(scope="module")
def plain_figures_of_module() -> Iterator[None]:
    """`plain_figures` for all of a module, its own fixtures too."""
    with _figures_only_named():
        yield


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with mars_for_students.npz and its companions; its tests are skipped where it is absent."""
    root = Path(__file__).parent.parent
    for folder in (os.environ.get("MARSGEN_DATA"), root.parent / "shared" / "data", root / "shared" / "data"):
        if folder and (Path(folder) / "mars_for_students.npz").is_file():
            return Path(folder)
    pytest.skip("real data are not here; set MARSGEN_DATA to their folder")
