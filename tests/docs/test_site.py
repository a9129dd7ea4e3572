"""The documents as a site: built strictly, whole in itself, and its links lead somewhere."""

import json
import os
import re
import subprocess
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
import yaml

from tests.docs.blocks import ROOT, pages

LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^()\s]+)\)", re.DOTALL)
CODE = re.compile(r"^(`{3,}).*?^\1\s*$|`[^`\n]+`", re.MULTILINE | re.DOTALL)
LOADED = {"script": "src", "img": "src", "link": "href", "iframe": "src", "source": "src"}
"""Elements that a browser loads something for by itself."""


class Page(HTMLParser):
    """What a page links to, loads, and can be linked at."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.classes: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids |= {given["id"]} if "id" in given else set()
        self.classes |= set(given.get("class", "").split())
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag in LOADED and LOADED[tag] in given:
            self.loads.append(given[LOADED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site. `--strict`: a warning of its generator is an error."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    ran = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def built(site: Path) -> dict[Path, Page]:
    return {path: Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}


def test_a_page_of_the_site_for_each_document(built: dict[Path, Page], site: Path) -> None:
    written = {path.stem for path in (ROOT / "docs").glob("*.md")}
    assert {path.stem for path in built if path.parent == site} == written | {"404"}
    assert not list(site.rglob("*.py"))


def test_links_and_anchors_lead_somewhere(built: dict[Path, Page], site: Path) -> None:
    """Of the built pages, so that what the theme adds is looked at too."""
    dead = []
    for path, page in built.items():
        if path.name == "404.html":
            continue  # its links are from the site's root
        for link in page.links:
            rest, anchor = urldefrag(link)
            if urlsplit(rest).scheme:
                continue
            target = (path.parent / unquote(rest)).resolve() if rest else path
            if target.is_dir():
                target /= "index.html"
            known = built[target].ids if target in built else set()
            if not target.is_file() or (anchor and unquote(anchor) not in known):
                dead.append(f"{path.relative_to(site)}: {link}")
    assert dead == []


def test_nothing_is_loaded_from_elsewhere(built: dict[Path, Page], site: Path) -> None:
    away = [
        f"{path.name}: {link}"
        for path, page in built.items()
        for link in page.loads
        if urlsplit(link).scheme not in ("", "data") or link.startswith("//")
    ]
    assert away == []
    # The theme's script would fetch a drawing library for these, and for nothing else.
    assert [path.name for path, page in built.items() if "mermaid" in page.classes] == []
    styles = "".join(path.read_text(encoding="utf-8") for path in site.rglob("*.css"))
    assert re.findall(r"@import|url\([\"']?(?:https?:)?//[^)]*", styles) == []


def test_the_search_has_every_page(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    found = {urldefrag(entry["location"])[0] for entry in index["docs"]}
    assert found == {f"{path.stem}.html" for path in (ROOT / "docs").glob("*.md")}
    said = [e["location"] for e in index["docs"] if "point of no return" in e["text"]]
    assert "architecture.html#the-walk-of-a-request" in said


def test_the_nav_has_each_page_once() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    named: list[str] = []

    def walk(entry: object) -> None:
        if isinstance(entry, str):
            named.append(entry)
        elif isinstance(entry, list):
            for each in entry:
                walk(each)
        elif isinstance(entry, dict):
            for each in entry.values():
                walk(each)

    walk(yaml.safe_load(text)["nav"])
    assert sorted(named) == sorted(path.name for path in (ROOT / "docs").glob("*.md"))


@cache
def anchors(path: Path) -> frozenset[str]:
    """The anchors of a Markdown file's headings, as GitHub makes them."""
    found: dict[str, int] = {}
    for head in re.findall(r"^#{1,6} +(.+)$", CODE_BLOCK.sub("", path.read_text()), re.MULTILINE):
        slug = re.sub(r"[^\w\- ]", "", head.strip().lower()).replace(" ", "-")
        found[slug] = found.get(slug, -1) + 1
    return frozenset(
        f"{slug}-{n}" if n else slug for slug, last in found.items() for n in range(last + 1)
    )


CODE_BLOCK = re.compile(r"^(`{3,}).*?^\1\s*$", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("path", pages(), ids=lambda path: path.name)
def test_the_links_work_on_github_too(path: Path) -> None:
    dead = []
    for link in LINK.findall(CODE.sub("", path.read_text(encoding="utf-8"))):
        rest, anchor = urldefrag(link)
        if urlsplit(rest).scheme:
            continue
        target = (path.parent / rest).resolve() if rest else path
        known = anchors(target) if target.suffix == ".md" and target.is_file() else frozenset()
        if not target.exists() or (anchor and anchor not in known):
            dead.append(link)
    assert dead == []
