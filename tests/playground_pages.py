"""What the tests of the playground share: a generator to make pages with, onnxruntime-web, and Chromium."""

import functools
import http.server
import io
import os
import shutil
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from marsgen.commands.places import ORT_FILES, find_ort
from marsgen.core.errors import ConfigError
from marsgen.scenes.stated import mars_classes

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


@dataclass
class Seen:
    """The open page, as a user has it before them; positions are (x, y) in pixels of the scene."""

    browser: Any
    page: Path
    downloads: Path

    def at(self, name: str) -> Any:
        return self.browser.find_element("id", name)

    def all(self, selector: str) -> list[Any]:
        return self.browser.find_elements("css selector", selector)

    def run(self, script: str, *words: Any) -> Any:
        return self.browser.execute_script(script, *words)

    def tell(self, command: str, **words: Any) -> None:
        self.browser.execute_cdp_cmd(command, words)

    def wait_for(self, what: Callable[[], Any], seconds: float = 20) -> Any:
        end = time.monotonic() + seconds
        while not (found := what()):
            assert time.monotonic() < end, f"the page did not do it in time; it says {self.at('status').text!r}"
            time.sleep(0.03)
        return found

    def choose(self, name: str, value: str) -> None:
        self.run(
            "const e = document.getElementById(arguments[0]); e.value = arguments[1];"
            "for (const kind of ['input', 'change']) e.dispatchEvent(new Event(kind, { bubbles: true }))",
            *(name, value),
        )

    def click(self, name: str) -> None:
        self.run("document.getElementById(arguments[0]).click()", name)

    def tool(self, name: str) -> None:
        self.run("document.querySelector(`[data-tool=${arguments[0]}]`).click()", name)

    def after_drawing(self, action: Callable[[], Any]) -> None:
        count = "return document.body.dataset.drawn ?? '0'"
        before = self.run(count)
        action()
        self.wait_for(lambda: self.run(count) != before or self.at("status").get_attribute("class"))
        assert not self.at("status").get_attribute("class"), self.at("status").text

    def spots(self, element: Any, points: Sequence[tuple[float, float]]) -> list[dict[str, float]]:
        """Where pixels of a canvas of 128 x 64 are in the window."""
        box = self.run(
            "arguments[0].scrollIntoView({ block: 'center' }); const b = arguments[0].getBoundingClientRect();"
            "return [b.left, b.top, b.width / 128, b.height / 64]",
            element,
        )
        return [{"x": box[0] + x * box[2], "y": box[1] + y * box[3]} for x, y in points]

    def press(self, element: Any, *points: tuple[float, float]) -> None:
        """The mouse goes down at the first point, along the others, and up."""
        spots = self.spots(element, points)
        for number, spot in enumerate(spots):
            kind = "mouseMoved" if number else "mousePressed"
            self.tell("Input.dispatchMouseEvent", type=kind, button="left", buttons=1, clickCount=1, **spot)
        self.tell("Input.dispatchMouseEvent", type="mouseReleased", button="left", clickCount=1, **spots[-1])

    def touch(self, element: Any, *points: tuple[float, float]) -> None:
        for number, spot in enumerate(self.spots(element, points)):
            self.tell("Input.dispatchTouchEvent", type="touchMove" if number else "touchStart", touchPoints=[spot])
        self.tell("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])

    def downloaded(self, pattern: str) -> bytes:
        path = self.wait_for(lambda: next(iter(self.downloads.glob(pattern)), None))
        content = path.read_bytes()
        path.unlink()
        return content

    def saved(self) -> tuple[np.ndarray, np.ndarray]:
        """Picture and class indices, as the page saves them."""
        self.click("save")
        with zipfile.ZipFile(io.BytesIO(self.downloaded("*.zip"))) as file:
            assert file.testzip() is None
            image, labels = (
                np.asarray(Image.open(io.BytesIO(file.read(name))))
                for name in sorted(file.namelist())
                if name.endswith(".png")
            )
            file.extractall(self.downloads / "saved")
        return image, mars_classes().to_indices(labels)

    def scene(self) -> tuple[np.ndarray, np.ndarray]:
        """Grey picture and class indices of the first scene."""
        stored = np.frombuffer((self.page / "data" / "scene-000.bin").read_bytes(), np.uint8).reshape(2, 64, 128)
        return stored[0], stored[1]

    def complaints(self) -> list[str]:
        """What stands in the console since it was asked."""
        return [line["message"] for line in self.browser.get_log("browser") if line["level"] in ("SEVERE", "WARNING")]
