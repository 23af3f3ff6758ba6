"""The demo from records to report."""

import csv
from html.parser import HTMLParser

import pytest

from sciml.__main__ import main
from sciml.demo import CONTENDERS

PICTURES = ("data", "all_years", "fits", "forecasts", "interaction")


class Page(HTMLParser):
    """Rows of each table, and what the page would load."""

    def __init__(self, text):
        HTMLParser.__init__(self)
        self.loads, self.tables, self.titles = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        self.loads += [given[name] for name in ("src", "href", "srcset", "data") if name in given]
        if tag == "table":
            self.tables.append(0)
        if tag == "tr":
            self.tables[-1] += 1
        assert tag not in {"script", "iframe", "object", "embed"}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo") / "out"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder.parent)  # nothing may be written elsewhere
        status = main(["demo", "--quick", "--output", "out"])
    return status, folder


@pytest.mark.slow
def test_the_quick_demo_writes_every_picture_and_the_report(run):
    status, folder = run
    assert status == 0
    names = {path.name for path in folder.iterdir()}
    assert names == {*(f"{name}.png" for name in PICTURES), "errors.csv", "report.html"}
    assert [path.name for path in folder.parent.iterdir()] == ["out"]
    for name in PICTURES:
        assert (folder / f"{name}.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_report_holds_its_pictures_and_loads_nothing(run):
    _, folder = run
    text = (folder / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert len(page.loads) == len(PICTURES) + 1  # and an empty icon
    assert all(load.startswith("data:") for load in page.loads)
    assert "url(" not in text
    assert "@import" not in text


@pytest.mark.slow
def test_the_report_has_a_row_for_each_estimate_and_each_model(run):
    _, folder = run
    page = Page((folder / "report.html").read_text(encoding="utf-8"))
    assert page.tables == [1 + 6, 1 + len(CONTENDERS)]


@pytest.mark.slow
def test_every_seed_of_every_model_has_its_errors_in_the_file(run):
    _, folder = run
    with (folder / "errors.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["model"] for row in rows] == [contender.name for contender in CONTENDERS]
    assert all(float(row["forecast_log"]) > 0 for row in rows)
    assert {"mechanistic", "universal", "neural ODE"} <= {row["model"] for row in rows}
