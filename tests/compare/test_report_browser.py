"""The report in a real browser: it sorts, filters, shows its pictures, and says nothing on the console."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dip_lightning.compare.jobs import COMPARISON
from dip_lightning.compare.report.command import write_report
from tests.compare.synthetic import METHODS, write_failure, write_run

NASTY = '<b onclick=alert(1)>x</b> & "y" </script>\''


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is in the dev extra")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("no Chromium with its driver: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    options.add_argument("--window-size=1400,1000")
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    session = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    yield session
    session.quit()


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("report")
    for task in ("ct", "mri"):
        for number in range(3):
            for method, (psnr, _, regret) in METHODS.items():
                write_run(root, method, task, f"m{number}", psnr=psnr + number, oracle=psnr + number + regret)
            write_run(root, "FBP", task, f"m{number}", psnr=24.0, oracle=None, rows=1)
    write_run(root, NASTY, "denoising", NASTY, psnr=27.0)
    write_failure(root, "DIP", NASTY, NASTY)
    (root / COMPARISON).write_text(json.dumps({"name": NASTY, "methods": ["DIP", "FBP"], "reference": "DIP"}))
    return write_report(root)


@pytest.fixture
def opened(browser: Any, page: Path) -> Iterator[Any]:
    browser.get(page.as_uri())
    yield browser
    assert browser.get_log("browser") == []


def column(browser: Any, selector: str, number: int = 1) -> list[str]:
    script = (
        f"return [...document.querySelectorAll('{selector} tbody tr')].filter(row => row.offsetParent !== null)"
        f".map(row => row.cells[{number - 1}].innerText.trim())"
    )
    return browser.execute_script(script)


def choose(browser: Any, selector: str, value: str) -> None:
    script = (
        "const c = document.querySelector(arguments[0]); c.value = arguments[1]; c.dispatchEvent(new Event('change'))"
    )
    browser.execute_script(script, selector, value)


def test_sorts_by_any_column(opened):
    table = "section[data-task=ct] table"
    assert column(opened, table)[:2] == ["DIP", "FBP"]
    header = opened.find_elements("css selector", f"{table} th button")[1]
    header.click()
    assert column(opened, table) == ["aSeqDIP", "TV-DIP", "DIP", "FBP"]
    header.click()
    assert column(opened, table) == ["FBP", "DIP", "TV-DIP", "aSeqDIP"]
    opened.find_elements("css selector", "#all-runs th button")[4].click()
    scores = [float(score) for score in column(opened, "#all-runs", 5)]
    assert scores == sorted(scores, reverse=True)


def test_filters_by_method_task_and_words(opened):
    chip = next(c for c in opened.find_elements("css selector", ".chip") if c.text == "aSeqDIP")
    chip.click()
    assert column(opened, "section[data-task=ct] table") == ["DIP", "FBP", "TV-DIP"]
    curves = "return [...document.querySelectorAll('section[data-task=ct] [data-curve]')].map(c => c.dataset.curve)"
    assert "aSeqDIP" not in opened.execute_script(curves)
    chip.click()
    opened.execute_script(
        "const t = document.querySelector('#task'); t.value = 'mri'; t.dispatchEvent(new Event('change'))"
    )
    shown = opened.execute_script(
        "return [...document.querySelectorAll('section[data-task]')].filter(s => !s.hidden).map(s => s.dataset.task)"
    )
    assert shown == ["mri"]
    assert set(column(opened, "#all-runs")) == {"mri"}
    opened.find_element("css selector", "#search").send_keys("tv")
    assert column(opened, "section[data-task=mri] table") == ["TV-DIP"]


def test_every_picture_is_drawn(opened):
    broken = opened.execute_script(
        "return [...document.querySelectorAll('.tile img')].filter(i => !i.complete || i.naturalWidth === 0).length"
    )
    count = opened.execute_script("return document.querySelectorAll('.tile img').length")
    assert broken == 0
    assert count == 2 * 3 * (1 + 2 * 5) + 1 + 2 * 2  # target, and initial and methods with their errors


def test_curves_have_lines_stops_and_values_under_the_pointer(opened):
    from selenium.webdriver import ActionChains

    plot = opened.find_element("css selector", "section[data-task=ct] .plot")
    names = "return [...arguments[0].querySelectorAll('[data-curve]')].map(c => c.dataset.curve)"
    lines = opened.execute_script(names, plot)
    assert set(lines) == {"aSeqDIP", "DIP", "TV-DIP", "FBP"}
    assert opened.execute_script("return arguments[0].querySelectorAll('.stop').length", plot) >= 9
    opened.execute_script("arguments[0].scrollIntoView({block: 'center'})", plot)
    ActionChains(opened).move_to_element(plot.find_element("css selector", "svg")).perform()
    tip = plot.find_element("css selector", ".tip")
    assert tip.is_displayed()
    assert "aSeqDIP" in tip.text
    for name, value in (("axis", "seconds"), ("log", "true")):
        choose(opened, f"section[data-task=ct] select[name={name}]", value)
    assert "seconds" in plot.text


def test_picture_opens_large_and_flips(opened):
    opened.execute_script("document.querySelector('section[data-task=ct] .tile button').click()")
    caption = opened.find_element("css selector", "dialog p")
    assert caption.text.startswith("m0 · target")
    for expected in ("initial", "DIP"):
        opened.find_element("css selector", "dialog [data-do=next]").click()
        assert expected in caption.text
    opened.find_element("css selector", "dialog [data-do=error]").click()
    assert caption.text.endswith("error")
    assert opened.execute_script("return document.querySelector('dialog .stage img').naturalWidth") > 0
    opened.find_element("css selector", "dialog [data-do=close]").click()
    assert not opened.find_element("css selector", "dialog").is_displayed()


def test_names_are_shown_as_they_are(opened):
    assert opened.find_element("css selector", "h1").text == NASTY
    assert NASTY in column(opened, "#overview table")
    assert NASTY in column(opened, "#all-runs", 2)
    assert opened.execute_script("return document.querySelectorAll('b[onclick]').length") == 0


def test_paper_shows_everything_but_the_controls(opened):
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    hidden = opened.execute_script("return getComputedStyle(document.querySelector('.bar')).display")
    assert hidden == "none"
    assert opened.find_element("css selector", "section[data-task=ct] table").is_displayed()
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
