"""Fails if reading the built site would send a request to another host, or miss a file.

Usage: python docs/check_selfcontained.py docs/_build/html

Links (`<a href>`) may lead anywhere: following one is the reader's choice. What a page loads by
itself may not: scripts, stylesheets, fonts, images, frames, media, and what its stylesheets name.
"""

import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {"src", "srcset", "poster", "data", "background"}
LOADED_LINKS = {
    "stylesheet",
    "icon",
    "preload",
    "prefetch",
    "preconnect",
    "dns-prefetch",
    "manifest",
}
CSS_URL = re.compile(r"""url\(\s*['"]?([^'")]+)|@import\s+['"]([^'"]+)""")


def css_urls(text: str) -> list[str]:
    return [first or second for first, second in CSS_URL.findall(text)]


class Page(HTMLParser):
    """Collects what a page loads by itself."""

    def __init__(self, text: str) -> None:
        HTMLParser.__init__(self)
        self.loads: list[str] = []
        self.inside = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.inside = tag
        given = {name: value or "" for name, value in attrs}
        self.loads += css_urls(given.get("style", ""))
        if tag == "link" and LOADED_LINKS & set(given.get("rel", "").lower().split()):
            self.loads.append(given.get("href", ""))
        elif tag in {"image", "use"}:  # in SVG
            self.loads += [value for name, value in given.items() if name in {"href", "xlink:href"}]
        elif tag != "a":
            for name in LOADED & given.keys():
                parts = given[name].split(",") if name == "srcset" else [given[name]]
                self.loads += [
                    part.split()[0] if name == "srcset" else part for part in parts if part
                ]

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "style":
            self.loads += css_urls(data)
        elif self.inside == "script":  # modules fetched by name
            self.loads += re.findall(r"""(?:import|from|fetch)[\s(]*['"](https?:[^'"]+)""", data)


def faults(site: Path) -> list[str]:
    found = []
    for path in sorted(site.rglob("*")):
        if path.suffix not in {".html", ".css"}:
            continue
        text = path.read_text(encoding="utf-8")
        for url in css_urls(text) if path.suffix == ".css" else Page(text).loads:
            parts = urlsplit(url)
            if parts.scheme in {"data", "about"} or url.startswith("#") or not url:
                continue
            if parts.scheme or parts.netloc:
                found.append(f"{path.relative_to(site)} loads {url}")
            elif not (path.parent / unquote(parts.path)).exists():
                found.append(f"{path.relative_to(site)} loads {url}, which is not in the site")
    return found


def main(folder: str) -> None:
    site = Path(folder)
    if not (site / "index.html").is_file():
        sys.exit(f"{site} holds no built site")
    if found := faults(site):
        sys.exit("The site is not self-contained:\n  " + "\n  ".join(found))
    print(f"The site is self-contained: {site / 'index.html'}")


if __name__ == "__main__":
    main(sys.argv[1])
