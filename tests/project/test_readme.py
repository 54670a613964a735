"""The README is short, its pictures are from runs, and the index's page of the package shows it."""

from __future__ import annotations

import re

import pytest

from sqla_typedpool.embedded import Postgres
from tests.project.test_packaging import PROJECT
from tests.support.commands import ROOT
from tests.support.finding_picture import PICTURE, TUTORIAL, output_of_the_check, picture

README = (ROOT / "README.md").read_text()
SHOWN = re.sub(r"<!--.*?-->\n\n?", "", README, flags=re.DOTALL)
URLS: dict[str, str] = PROJECT.get("urls", {})
LINK = re.compile(r"(!?)\[[^\]]*\]\(([^)\s]+)\)")
IS_RELEASED = f"## {PROJECT['version']} (unreleased)" not in (ROOT / "CHANGELOG.md").read_text()


def test_the_two_commands_are_on_the_first_screen() -> None:
    assert {"$ make demo", "$ make test"} <= {
        line.partition("    #")[0] for line in README.splitlines()[:20]
    }


def test_the_readme_is_short() -> None:
    assert len(SHOWN.splitlines()) <= 120


def test_the_readme_links_only_to_places_that_exist() -> None:
    """Relative links work in a clone only; with a URL of the project all links are absolute."""
    targets = [target for _, target in LINK.findall(README)]
    absolute = [target for target in targets if "://" in target]
    assert [each for each in absolute if not each.startswith(tuple(URLS.values()))] == []
    assert not URLS or absolute == targets, "make the links and pictures absolute"
    assert len(targets) > 15


def test_every_picture_has_a_text_for_pages_that_do_not_show_it() -> None:
    texts = re.findall(r"!\[([^\]]*)\]", README)
    assert len(texts) == 2
    assert [text for text in texts if len(text) < 80] == []


def test_the_readme_names_the_package_for_pip_once_it_is_released() -> None:
    from_the_index = re.search(r'pip install "?sqla-typedpool', README)
    assert (from_the_index is not None) == IS_RELEASED


def test_the_query_in_the_readme_is_that_of_the_tutorial() -> None:
    found = re.search(r'@query\("""\n.*?"""\)\nasync def find.*?\]:', README, re.DOTALL)
    assert found is not None
    assert found[0] in TUTORIAL.read_text()


def finding_in(svg: str) -> list[str]:
    """The lines of a picture, without the summary, which names the server and the time."""
    return re.findall(r"<text.*", svg.partition("1 error")[0])[:-1]


@pytest.mark.timeout(120)
def test_the_picture_of_a_finding_shows_what_the_check_prints(postgres: Postgres) -> None:
    pytest.importorskip("asyncpg")
    shown = finding_in(PICTURE.read_text())
    assert finding_in(picture(output_of_the_check())) == shown
    assert "error[TP101]" in "".join(shown)
