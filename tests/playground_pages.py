"""What the tests of the playground share: a generator to make pages with, onnxruntime-web, and Chromium."""

import functools
import http.server
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from marsgen.commands.playground import ORT_FILES, find_ort
from marsgen.core.errors import ConfigError

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")


def ort_here() -> Path | None:
    """onnxruntime-web, where somebody unpacked it."""
    try:
        return find_ort(Path(os.environ["MARSGEN_ORT"]) if "MARSGEN_ORT" in os.environ else None)
    except ConfigError:
        return None


NO_BROWSER = CHROMIUM is None or DRIVER is None or ort_here() is None
WHY_NO_BROWSER = "needs Chromium, chromedriver, and onnxruntime-web in node_modules/ or where MARSGEN_ORT says"


def make_place(folder: Path, npz: Path) -> Path:
    """A folder with gen/ (pix2pix of four large steps), synth/ (12 pairs of it) and ort/."""
    from marsgen.cleaning.dataset import clean_scenes
    from marsgen.cli import app
    from marsgen.core.config import DataConfig
    from marsgen.core.runs import Run
    from marsgen.generators.config import TrainPix2PixConfig
    from marsgen.generators.pix2pix.train import train
    from marsgen.scenes.sources import open_scenes

    tiny = TrainPix2PixConfig(
        steps=4, batch_size=2, generator_width=4, discriminator_width=4, generator_lr=0.03, ema_decay=0.0
    )
    dataset = clean_scenes(open_scenes(str(npz)), DataConfig())
    run = Run.start(folder / "gen", "marsgen train-generator", tiny, {"data": dataset.scenes.identity()})
    train(tiny, run, dataset)
    run.close()
    words = ["synthesize", "--generator", folder / "gen", "--n", "12", "--out", folder / "synth"]
    app([str(word) for word in words], standalone_mode=False)
    (folder / "ort").mkdir()
    there = ort_here()
    for name in ORT_FILES:
        if there is None:
            (folder / "ort" / name).write_text("not the package")
        else:
            shutil.copy(there / name, folder / "ort" / name)
    return folder


@contextmanager
def open_page(page: Path, downloads: Path) -> Iterator[Any]:
    """The page in a headless Chromium, from a server of its own; downloads go to a folder."""
    from selenium import webdriver

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, format: str, *words: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(page)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    options = webdriver.ChromeOptions()
    for switch in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1400,1000"):
        options.add_argument(switch)
    options.binary_location = CHROMIUM
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    several = "profile.default_content_setting_values.automatic_downloads"  # one after the other, without being asked
    options.add_experimental_option("prefs", {"download.default_directory": str(downloads), several: 1})
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        browser.get(f"http://127.0.0.1:{server.server_port}/")
        yield browser
    finally:
        browser.quit()
        server.shutdown()
        server.server_close()
