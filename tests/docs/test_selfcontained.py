"""The check that the built site sends no request elsewhere."""

import subprocess
import sys
from pathlib import Path

import pytest

CHECK = Path(__file__).parents[2] / "docs" / "check_selfcontained.py"


def run(site: Path, body: str) -> subprocess.CompletedProcess:
    (site / "index.html").write_text(f"<html><body>{body}</body></html>")
    return subprocess.run([sys.executable, CHECK, site], capture_output=True, text=True)


@pytest.mark.parametrize(
    "body",
    [
        '<a href="https://example.org">elsewhere</a>',
        '<img src="here.png"> <img src="data:image/png;base64,AAAA">',
        '<script>const f = "#part"</script>',
    ],
)
def test_links_and_local_files_pass(tmp_path, body):
    (tmp_path / "here.png").write_bytes(b"")
    assert run(tmp_path, body).returncode == 0


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ('<script src="https://example.org/a.js"></script>', "https://example.org/a.js"),
        ('<link rel="stylesheet" href="//example.org/a.css">', "//example.org/a.css"),
        ('<p style="background: url(https://example.org/a.png)">', "https://example.org/a.png"),
        ("<style>@import 'https://example.org/a.css';</style>", "https://example.org/a.css"),
        ('<img srcset="https://example.org/a.png 2x">', "https://example.org/a.png"),
        ('<img src="absent.png">', "absent.png, which is not in the site"),
    ],
)
def test_what_a_page_would_load_from_elsewhere_is_named(tmp_path, body, named):
    found = run(tmp_path, body)
    assert found.returncode == 1
    assert named in found.stderr


def test_a_folder_that_holds_no_site_is_refused(tmp_path):
    found = subprocess.run([sys.executable, CHECK, tmp_path], capture_output=True, text=True)
    assert "holds no built site" in found.stderr
