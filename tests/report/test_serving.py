"""``evoopt watch --serve``: the page of a run that lives, an index of runs, and nobody else's business."""

from __future__ import annotations

import re
import shutil
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from evoopt.cli import app
from evoopt.errors import EvooptError
from evoopt.report.serving import ReportServer
from evoopt.report.writing import write_report
from evoopt.runs import Run
from tests.report.runs import CONFIGS
from tests.report.test_browser import browser  # noqa: F401 (a fixture)


def ask(url: str, **headers: str) -> tuple[str, Message]:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=30) as answer:
        return answer.read().decode(), answer.headers


@pytest.fixture
def runs(optimizer_run: Path, tmp_path: Path) -> Path:
    """A folder with two runs, one of which is not finished, and something else."""
    for name in ("one", "a <two>"):
        shutil.copytree(optimizer_run, tmp_path / name)
    with Run(tmp_path / "a <two>", writable=True) as run:
        run.store.set_meta("winner", None)
    (tmp_path / "no run").mkdir()
    return tmp_path


@pytest.fixture
def server(request: pytest.FixtureRequest, runs: Path) -> Iterator[ReportServer]:
    with ReportServer(runs / getattr(request, "param", ""), port=0) as made:
        thread = threading.Thread(target=made.serve_forever)
        thread.start()
        yield made
        made.shutdown()
        thread.join()


@pytest.mark.parametrize("server", ["one"], indirect=True)
def test_the_page_is_that_of_the_report_and_rests_when_the_run_is_over(server: ReportServer) -> None:
    page, headers = ask(server.url)
    assert "Content-Security-Policy" in page
    assert "genealogy" in page
    assert headers["Refresh"] is None
    with pytest.raises(urllib.error.HTTPError, match="404"):
        ask(f"{server.url}run/../one")


def test_a_folder_gives_a_table_that_sorts_and_runs_beside_each_other(server: ReportServer) -> None:
    page, headers = ask(f"{server.url}?sort=verdict")
    assert headers["Refresh"]
    assert "a &lt;two&gt;" in page
    assert "<two>" not in page
    assert "no run" not in page
    assert "no detectable difference" in page or "need at least" in page
    report, headers = ask(f"{server.url}run/a%20%3Ctwo%3E")
    assert "genealogy" in report
    assert headers["Refresh"] == f"{server.every:g}", "somebody may go on with it"
    beside, _ = ask(f"{server.url}beside?run=one&run=a+%3Ctwo%3E&run=absent")
    assert beside.count("<iframe") == 2


def test_the_index_is_in_the_order_asked_for_and_says_what_state_a_run_is_in(tmp_path: Path) -> None:
    for name, best in (("a", 1), ("b", 3), ("c", 2), ("d", None)):
        with Run.create(tmp_path / name, CONFIGS["genetic"]) as run:
            if best is not None:
                run.store.save_generation({"generation": 0, "best": best}, {}, [])
            if name == "b":
                run.store.set_meta("winner", {})
    with ReportServer(tmp_path, port=0) as made, Run(tmp_path / "c", writable=True):

        def rows(**query: str) -> list[tuple[str, str]]:
            found = made.page("/", {key: [value] for key, value in query.items()})
            assert found is not None
            return re.findall(r'href="/run/(\w)".*?(unfinished|in progress|finished)', found[0], re.DOTALL)

        states = {"a": "unfinished", "b": "finished", "c": "in progress", "d": "unfinished"}
        for query, order in (({}, "abcd"), ({"sort": "best"}, "bcad"), ({"sort": "state"}, "bcad")):
            assert rows(**query) == [(name, states[name]) for name in order], query


def test_a_browser_sorts_shows_two_runs_beside_each_other_and_loads_anew(
    server: ReportServer,
    browser: Any,  # noqa: F811
) -> None:
    browser.get(server.url)
    browser.find_element("link text", "best").click()
    assert browser.current_url.endswith("?sort=best")
    for box in browser.find_elements("css selector", "input"):
        box.click()
    browser.find_element("css selector", "button").click()
    deadline = time.monotonic() + 30
    while len(browser.find_elements("css selector", "iframe")) != 2:
        assert time.monotonic() < deadline, browser.current_url
        time.sleep(0.2)
    browser.switch_to.frame(0)
    assert "finished" in browser.find_element("css selector", "header").text
    with Run(server.folder / "one", writable=True) as run:
        winner = run.winner
        run.store.set_meta("winner", None)
        browser.get(f"{server.url}run/one")
        assert "unfinished" in browser.find_element("css selector", "header").text
        run.store.set_meta("winner", winner)
    # At one go: between finding an element and reading it, the page may be loaded anew.
    header = "return document.querySelector('header')?.innerText ?? 'unfinished'"
    deadline = time.monotonic() + 30
    while "unfinished" in browser.execute_script(header):
        assert time.monotonic() < deadline, "the page was not loaded anew"
        time.sleep(0.2)


def test_only_those_who_ask_for_this_machine_are_answered(server: ReportServer) -> None:
    assert server.server_address[0] == "127.0.0.1"
    for name in ("evil.example", "["):
        with pytest.raises(urllib.error.HTTPError, match="403"):
            ask(server.url, Host=name)
    with ReportServer(server.folder, "localhost", port=0) as named:
        asked = [named.answers_to(name) for name in ("localhost:1", "127.0.0.1", "evil.example")]
    assert asked == [True, True, False]


def test_text_that_no_page_can_hold_costs_its_own_row_only(runs: Path) -> None:
    file = runs / "one" / "comparison.json"
    kept = file.read_bytes() if file.exists() else None
    file.write_text('{"verdict": ["\\ud800"]}')
    try:
        with ReportServer(runs, port=0) as made:
            assert "holds something that evoopt did not write" in made.page("/", {})[0]  # type: ignore[index]
        with pytest.raises(EvooptError, match="holds something that evoopt did not write"):
            write_report(runs / "one")
    finally:
        file.unlink() if kept is None else file.write_bytes(kept)


def test_what_cannot_be_served_is_said_in_one_line(runs: Path) -> None:
    with pytest.raises(EvooptError, match="no run folder and holds none"):
        ReportServer(runs / "no run", port=0)
    with ReportServer(runs, port=0) as made, pytest.raises(EvooptError, match="cannot listen on"):
        ReportServer(runs, port=made.server_address[1])


def test_the_command_serves_as_it_is_asked_to(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[ReportServer] = []

    def stopped(server: ReportServer) -> None:
        made.append(server)
        raise KeyboardInterrupt

    monkeypatch.setattr(ReportServer, "serve_forever", stopped)
    words = f"watch {runs} --serve --host localhost --port 0 --every 3"
    said = CliRunner().invoke(app, words.split())
    assert said.stdout == f"serving {runs} at {made[0].url} until Ctrl-C\n"
    assert made[0].url.startswith("http://localhost:")
    assert made[0].every == 3
