"""The page in headless Chromium: no errors, no requests, charts and tables that answer."""

from __future__ import annotations

import io
import json
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evoopt.report import write_report
from tests.report.runs import compare, search_optimizer
from tests.report.test_escaping import HOSTILE

webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium: pip install selenium")

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    binary = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.skip("needs a browser: Debian's packages chromium and chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield chrome
    chrome.quit()


def show(chrome: Any, page: Path, width: int = 1200, dark: bool = False) -> None:
    """Open a page, and scroll through it so that all charts are drawn."""
    metrics = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": scheme})
    for kind in ("browser", "performance"):
        chrome.get_log(kind)
    chrome.get(page.as_uri())
    for figure in find(chrome, ".lines"):
        scroll(chrome, figure, "start")
        wait(lambda figure=figure: figure.find_elements("css selector", "canvas"), "a chart is drawn")


def scroll(chrome: Any, element: Any, block: str = "center") -> None:
    chrome.execute_script(f"arguments[0].scrollIntoView({{block: '{block}', behavior: 'instant'}})", element)


def mouse(chrome: Any) -> Any:
    """What the mouse does, at once."""
    return webdriver.ActionChains(chrome, duration=0)


def find(chrome: Any, selector: str) -> list[Any]:
    found: list[Any] = chrome.find_elements("css selector", selector)
    return found


def wait(condition: Any, what: str) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, f"not within a minute: {what}"
        time.sleep(0.02)


def assert_quiet(chrome: Any) -> None:
    """No messages in the console, and no request but the one for the page."""
    assert chrome.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in chrome.get_log("performance")]
    urls = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert urls
    assert [url for url in urls if not url.startswith(("file://", "data:"))] == []
    assert len([url for url in urls if url.startswith("file://")]) == 1


def pixels(chrome: Any) -> Any:
    from PIL import Image

    with Image.open(io.BytesIO(chrome.get_screenshot_as_png())) as image:
        return np.asarray(image.convert("L"), np.float64)


@pytest.mark.parametrize("width", [1200, 390])
def test_a_page_renders_without_errors_or_requests(browser: Any, any_page: Path, width: int) -> None:
    show(browser, any_page, width)
    assert_quiet(browser)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    inked = browser.execute_script(
        "return [...document.querySelectorAll('.lines canvas')].map(c => c.getContext('2d')"
        ".getImageData(0, 0, c.width, c.height).data.some(x => x > 0))"
    )
    assert inked
    assert all(inked)
    boxes = [element.size for element in find(browser, "math[display=block]")]
    assert all(box["height"] > 10 and box["width"] > 20 for box in boxes)


def test_the_screenshot_is_not_blank_and_follows_the_colour_scheme(
    browser: Any, optimizer_page: Path
) -> None:
    show(browser, optimizer_page)
    light = pixels(browser)
    show(browser, optimizer_page, dark=True)
    dark = pixels(browser)
    for picture in (light, dark):
        assert picture.std() > 5
    assert light.mean() > 200
    assert dark.mean() < 60


def test_hovering_a_chart_tells_its_values_and_dragging_zooms(browser: Any, optimizer_page: Path) -> None:
    show(browser, optimizer_page)
    figure = find(browser, "#figure-fitness")[0]
    scroll(browser, figure)
    plot = figure.find_element("css selector", ".u-over")
    half = plot.size["width"] // 2

    def told() -> list[str]:
        values = figure.find_elements("css selector", ".u-series:not(.edge-of-band) .u-value")
        return [value.text for value in values]

    def move(x: int) -> list[str]:
        mouse(browser).move_to_element_with_offset(plot, x, 10).perform()
        return told()

    first, last = move(-half + 2), move(half - 2)
    assert (first[0], last[0]) == ("0", "3")
    assert first[1:3] != last[1:3]
    assert all(value != "–" for value in first[:3])
    assert "to" in first[3], "the band is told with its line"
    chain = mouse(browser).move_to_element_with_offset(plot, -half + 2, 10)
    chain.click_and_hold().move_by_offset(half // 2, 0).release().perform()
    assert move(half - 2)[0] in ("0", "1"), "zoomed in on the first quarter"
    mouse(browser).move_to_element(plot).double_click().perform()
    assert move(half - 2)[0] == "3"


def test_small_charts_tell_their_values_in_their_heading(browser: Any, optimizer_page: Path) -> None:
    show(browser, optimizer_page)
    panel = find(browser, "#figure-genes .panel")[0]
    scroll(browser, panel)
    mouse(browser).move_to_element(panel.find_element("css selector", ".u-over")).perform()
    readout = panel.find_element("css selector", ".readout").text
    assert readout.startswith(("1: ", "2: "))
    assert " · " in readout


def test_a_legend_entry_hides_its_line(browser: Any, optimizer_page: Path) -> None:
    show(browser, optimizer_page)
    entry = find(browser, "#figure-fitness .u-series:not(.edge-of-band)")[3]
    scroll(browser, entry)
    canvas = find(browser, "#figure-fitness canvas")[0]
    before = browser.execute_script("return arguments[0].toDataURL()", canvas)
    entry.find_element("css selector", "th").click()
    wait(lambda: "u-off" in entry.get_attribute("class"), "the entry is off")
    wait(lambda: browser.execute_script("return arguments[0].toDataURL()", canvas) != before, "redrawn")


def test_a_click_on_a_heading_sorts(browser: Any, optimizer_page: Path) -> None:
    show(browser, optimizer_page)
    table = next(t for t in find(browser, "table") if "on fresh seeds" in t.text)
    column = [head.text for head in table.find_elements("css selector", "th")].index("in the search")
    button = table.find_elements("css selector", "th button")[column]
    scroll(browser, button)

    def values() -> list[float]:
        rows = table.find_elements("css selector", "tbody tr")
        return [float(row.find_elements("css selector", "td")[column].text) for row in rows]

    button.click()
    assert values() == sorted(values(), reverse=True)
    assert len(set(values())) > 1
    button.click()
    assert values() == sorted(values())
    head = table.find_elements("css selector", "th")[column]
    assert head.get_attribute("aria-sort") == "ascending"


def test_an_ancestor_tells_about_itself(browser: Any, optimizer_page: Path) -> None:
    show(browser, optimizer_page)
    node = find(browser, "circle.node")[0]
    scroll(browser, node)
    mouse(browser).move_to_element(node).perform()
    tip = find(browser, ".tip")[0]
    assert tip.is_displayed()
    assert tip.text == node.get_attribute("data-tip")
    assert "w -= lr" in tip.text
    mouse(browser).move_to_element(find(browser, "h1")[0]).perform()
    wait(lambda: not tip.is_displayed(), "the tip is gone")


def test_hostile_names_run_nothing(browser: Any, tmp_path: Path) -> None:
    folder = tmp_path / HOSTILE.replace("/", "|")
    search_optimizer(folder)
    compare(folder, {HOSTILE: {HOSTILE: [0.9, 0.8, 0.7], "adam": [0.5, 0.6, 0.7]}})
    show(browser, write_report(folder, tmp_path / "page.html"))
    assert browser.execute_script("return window.hacked") is None
    assert_quiet(browser)
    assert "window.hacked=1" in find(browser, "h1")[0].text
