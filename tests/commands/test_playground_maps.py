"""Sets saved from the playground: where their label maps come from is in them, and `synthesize --maps` draws them."""

import io
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playground_pages import NO_BROWSER, WHY_NO_BROWSER, open_page

import marsgen as mg
from marsgen.cleaning.dataset import Dataset, clean_scenes
from marsgen.commands.playground import PlaygroundConfig, make_playground
from marsgen.core.config import DataConfig
from marsgen.core.errors import DataError
from marsgen.core.storage.reading import read_json
from marsgen.provenance import keys_of_part, read_set_head, refuse_leaking_extra
from marsgen.scenes.sources import open_scenes
from segmenter.training.extras import check_extra


@pytest.fixture(scope="module")
def dataset(tiny_npz) -> Dataset:
    return clean_scenes(open_scenes(str(tiny_npz)), DataConfig())


NPY = """
const done = arguments[0];
const bytes = Uint8Array.from(Array(30).keys());
import(new URL("files.js", location.href)).then(({ encodeNpy }) => done([...encodeNpy(bytes, 2, 3, 5)]));
"""
"""how pictures of more than three bands are saved"""


def wait_for(what: Callable[[], Any], seconds: float = 60) -> Any:
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "the page did not do it in time"
        time.sleep(0.1)
    return found


@pytest.fixture(scope="module")
def page(place) -> Path:
    config = PlaygroundConfig(scenes=3, regions=4, part="train", side_px=100)
    make_playground(str(place / "gen"), config, place / "page-train", ort=place / "ort")
    return place / "page-train"


def test_the_page_knows_where_its_scenes_and_regions_come_from(page, dataset):
    described = read_json(page / "data" / "page.json")
    keys = dict(zip(dataset.scenes.names, dataset.survey.keys, strict=True))
    train = set(keys_of_part(dataset, dataset.split.train))
    assert {scene["key"] for scene in described["scenes"]} <= train
    for scene in described["scenes"]:
        assert scene["key"] == keys[scene["name"]]
        assert scene["box"] == [0, 14, 64, 114]
    assert all(region["key"] == keys[region["donor"]] for region in described["regions"])
    head = read_set_head(page / "data")
    assert set(head["trained_on"]) == train == set(head["pictures"])


@pytest.fixture
def browser(page, tmp_path) -> Iterator[Any]:
    with open_page(page, tmp_path) as opened:
        yield opened


@pytest.mark.skipif(NO_BROWSER, reason=WHY_NO_BROWSER)
def test_kept_maps_are_saved_drawn_in_bulk_and_join_training(browser, page, place, dataset, tmp_path):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    def at(name: str) -> Any:
        return browser.find_element(By.ID, name)

    def saved(pattern: str) -> Path:
        path = wait_for(lambda: next(iter(tmp_path.glob(pattern)), None))
        folder = tmp_path / path.stem
        with zipfile.ZipFile(path) as file:
            assert file.testzip() is None
            file.extractall(folder)
        return folder

    wait_for(lambda: browser.execute_script("return document.body.dataset.drawn"))
    assert at("strength").is_displayed()
    assert not at("guidance").is_displayed()  # pix2pix has none
    at("keep").click()
    assert "nothing was changed" in at("status").text
    stroke = ActionChains(browser).move_to_element_with_offset(at("edit"), -60, 20).click_and_hold()
    stroke.move_by_offset(70, 10).release().perform()
    at("keep").click()
    Select(at("scene")).select_by_index(1)
    wait_for(lambda: not at("undo").is_enabled())  # the next scene is there
    browser.find_element(By.CSS_SELECTOR, "[data-tool=stamp]").click()
    ActionChains(browser).move_to_element_with_offset(at("edit"), 20, 30).click().perform()
    wait_for(lambda: at("undo").is_enabled())
    at("keep").click()
    assert "(2)" in at("save-maps").text
    at("save-maps").click()
    maps = saved("maps.zip")
    before = browser.execute_script("return document.body.dataset.drawn")
    at("next-seed").click()
    wait_for(lambda: browser.execute_script("return document.body.dataset.drawn") != before)
    at("save").click()
    pair = saved("*seed1.zip")
    npy = browser.execute_async_script(NPY)
    np.testing.assert_array_equal(np.load(io.BytesIO(bytes(npy))), np.arange(30, dtype=np.uint8).reshape(2, 3, 5))
    assert [line for line in browser.get_log("browser") if line["level"] in ("SEVERE", "WARNING")] == []

    # each names its parent, the second one a donor too
    scenes, described = open_scenes(str(maps)), read_json(page / "data" / "page.json")
    parents = [scene["key"] for scene in described["scenes"]]
    assert scenes.origin(0).ancestors == (parents[0],)
    assert scenes.origin(1).ancestors[0] == parents[1]
    assert set(scenes.origin(1).ancestors[1:]) <= {region["key"] for region in described["regions"]}
    small = Dataset(scenes, dataset.survey, {}, dataset.split)  # scenes as small as the maps
    with pytest.raises(DataError, match=r"pictures that do not show them yet; .*marsgen synthesize --maps"):
        check_extra(scenes, small)

    # drawn twice each: the parents' pixels but for what was changed
    made = mg.synthesize(dataset, place / "gen", maps=maps, n=4, out=tmp_path / "drawn")
    assert [made.origin(i).ancestors for i in range(4)] == [scenes.origin(i % 2).ancestors for i in range(4)]
    for index in range(4):
        parent = dataset.scenes[dataset.survey.keys.index(parents[index % 2])]
        same = (made[index].image == parent.image[:, 14:114]).all(2)
        assert 0.3 < same.mean() < 1
        changed = made[index].labels != parent.labels[:, 14:114]
        assert 30 < changed.sum() < 2000
    assert (made[0].image != made[2].image).any()
    assert refuse_leaking_extra(made, dataset) == ""

    # the pair that was drawn on the page names the same parent, and what its generator has seen
    drawn = open_scenes(str(pair))
    assert drawn.origin(0).ancestors == scenes.origin(1).ancestors
    assert refuse_leaking_extra(drawn, dataset) == ""
    held_out = Dataset(
        dataset.scenes, dataset.survey, {}, type(dataset.split)(dataset.split.val, dataset.split.train, ())
    )
    with pytest.raises(DataError, match="what made it has learned from training_set"):
        refuse_leaking_extra(drawn, held_out)
    np.testing.assert_array_equal(drawn[0].labels, scenes[1].labels)
