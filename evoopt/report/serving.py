"""The report of a run that goes on, or of a folder of runs, as a page that a browser reloads."""

from __future__ import annotations

import http.server
import ipaddress
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from evoopt.errors import EvooptError, one_line, read_as_data
from evoopt.report.html import render_index, render_page
from evoopt.report.writing import make_page
from evoopt.runs.lock import is_in_use
from evoopt.runs.run import CONFIG_FILE, Run

LOOPBACK = "127.0.0.1"
_COLUMNS = ("run", "space", "type", "generations", "best", "trainings", "state", "verdict")
_PATIENCE = 15  # an index is loaded anew more rarely than a report, for a choice made on it is lost then
_BESIDE = Markup("<style>body{margin:0}iframe{width:49.5%;height:98vh;border:0}</style>")

Row = dict[str, Any]


class ReportServer(http.server.ThreadingHTTPServer):
    """Serves the report of one run, or an index of the runs in a folder and the report of each.

    Nothing is written, and a run is open only while its page is made. Who asks by another name than the
    server's own address is refused, so that no page of the web reads what is served here.

    Args:
        folder: A run folder, or one that holds such.
        host: Address to listen on; by default nobody on other machines can ask.
        port: Port; 0 for any that is free.
        every: Seconds after which the page of a run in progress is loaded anew.

    Raises:
        EvooptError: Neither a run folder nor one with runs in it, or the port is taken.
    """

    daemon_threads = True

    def __init__(
        self, folder: str | Path, host: str = LOOPBACK, port: int = 8788, every: float = 2.0
    ) -> None:
        self.folder, self.every, self._host = Path(folder), every, host
        if not (self.folder / CONFIG_FILE).is_file() and not self.runs():
            raise EvooptError(f"{folder} is no run folder and holds none")
        try:
            super().__init__((host, port), _Handler)
        except OSError as error:
            raise EvooptError(f"cannot listen on {host}:{port}: {error.strerror or error}") from None

    @property
    def url(self) -> str:
        """Where a browser finds it."""
        return f"http://{self._host}:{self.server_address[1]}/"

    def runs(self) -> dict[str, Path]:
        """The runs in the folder, by name."""
        return {path.parent.name: path.parent for path in sorted(self.folder.glob(f"*/{CONFIG_FILE}"))}

    def answers_to(self, host: str) -> bool:
        """Whether a name that a browser asks for is one of ours."""
        try:
            name = urllib.parse.urlsplit(f"//{host}").hostname
        except ValueError:
            return False
        address = str(self.server_address[0])
        local = ipaddress.ip_address(address).is_loopback
        return not local or name in (self._host.lower(), address, LOOPBACK, "localhost")

    def page(self, path: str, query: Mapping[str, list[str]]) -> tuple[str, float] | None:
        """HTML and seconds after which it is loaded anew, 0 for never; None for what there is not."""
        if path == "/" and (self.folder / CONFIG_FILE).is_file():
            return self._report(self.folder)
        if path == "/":
            return _index(
                self.folder.resolve().name, self.runs(), query.get("sort", ["run"])[0]
            ), _PATIENCE * self.every
        if path == "/beside":
            chosen = [name for name in query.get("run", []) if name in self.runs()]
            frames = (Markup('<iframe src="/run/{}"></iframe>').format(urllib.parse.quote(n)) for n in chosen)
            return str(_BESIDE + Markup("\n").join(frames)), 0.0
        name = urllib.parse.unquote(path.removeprefix("/run/"))
        return self._report(self.runs()[name]) if name in self.runs() else None

    def _report(self, folder: Path) -> tuple[str, float]:
        written = is_in_use(folder)
        with Run(folder) as run, read_as_data(str(folder)):
            return render_page(make_page(run)), self.every if written or not run.finished else 0.0


class _Handler(http.server.BaseHTTPRequestHandler):
    server: ReportServer

    def do_GET(self) -> None:
        if not self.server.answers_to(self.headers.get("Host", "")):
            self.send_error(403)
            return
        asked = urllib.parse.urlsplit(self.path)
        try:
            found = self.server.page(asked.path, urllib.parse.parse_qs(asked.query))
            body = found[0].encode("utf-8", "surrogateescape") if found else b""
        except (EvooptError, UnicodeEncodeError) as error:
            found = str(escape(one_line(error))), self.server.every
            body = found[0].encode("utf-8", "backslashreplace")
        if found is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        if found[1]:
            self.send_header("Refresh", f"{found[1]:g}")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


def _index(title: str, runs: Mapping[str, Path], by: str) -> str:
    rows = [_row(name, folder) for name, folder in runs.items()]
    by = by if by in _COLUMNS else "run"
    numbers = by in ("generations", "best", "trainings")
    rows.sort(
        key=lambda row: (row[by] is None, -row[by] if numbers and row[by] is not None else str(row[by]))
    )
    return render_index(title, _COLUMNS, rows)


def _row(name: str, folder: Path) -> Row:
    try:
        with Run(folder) as run, read_as_data(str(folder)):
            verdict = run.verdict
            (verdict or "").encode("utf-8", "surrogateescape")  # what fails here would fail the whole index
            records = run.generations
            state = "finished" if run.finished else "in progress" if is_in_use(folder) else "unfinished"
            return {
                "run": name,
                "space": run.config.name,
                "type": run.config.individual,
                "generations": len(records),
                "best": records[-1]["best"] if records else None,
                "trainings": sum(run.store.outcome_counts().values()) or None,
                "state": state,
                "verdict": verdict,
            }
    except EvooptError as error:
        return {**dict.fromkeys(_COLUMNS), "run": name, "state": one_line(error)}
