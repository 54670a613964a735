"""The picture of a finding: `python -m tests.support.finding_picture` writes it into docs/images.

It runs the first check of docs/tutorial.md, on the files of that page, and draws the output with
its colours. The picture is narrow, for phones, and has a background of its own.
"""

from __future__ import annotations

import re
import sys
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from xml.sax.saxutils import escape

from tests.support.commands import ROOT, run_python

PICTURE = ROOT / "docs" / "images" / "check-finding.svg"
TUTORIAL = ROOT / "docs" / "tutorial.md"
HEADING = "## 3. Check it"  # the files are above it, and the command below
COMMAND = ("sqla-typedpool", "check", "app", "--ephemeral", "--metadata", "app.tables:metadata")

CELLS = 52  # in a line
CELL, LINE, MARGIN = 8.4, 20, 18  # pixels
FILE = re.compile(r"^```python\n# (\S+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
STYLED = re.compile(r"\x1b\[([\d;]*)m")
STYLE = """\
.card { fill: #0d1117; stroke: #484f58 }
text { font: 14px ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; fill: #c9d1d9 }
text { white-space: pre }
.bold { font-weight: 700; fill: #f0f6fc }
.red { fill: #ff7b72 }
.blue { fill: #79c0ff }"""
CLASSES = {"1": "bold", "31": "red", "34": "blue"}


class Cell(NamedTuple):
    """One character, and the classes of its style."""

    character: str
    style: str


def output_of_the_check() -> str:
    """Run the first check of the tutorial, and return its output with colours."""
    page = TUTORIAL.read_text().partition("\n" + HEADING)[0]
    with TemporaryDirectory() as place:
        folder = Path(place)
        for name, code in FILE.findall(page):
            file = folder / name
            file.parent.mkdir(exist_ok=True)
            file.write_text(code)
        (folder / "app" / "__init__.py").touch()
        arguments = ("-m", "sqla_typedpool", *COMMAND[1:])
        ended = run_python(folder, *arguments, FORCE_COLOR="1", COLUMNS=str(CELLS))
    if ended.returncode != 1:
        raise AssertionError(f"the check ended with {ended.returncode}: {ended.stderr}")
    return ended.stdout


def cells_of(line: str) -> list[Cell]:
    """Return the characters of a line, without the escape sequences of its colours."""
    style, cells = "", list[Cell]()
    for index, part in enumerate(STYLED.split(line)):
        if index % 2:
            style = " ".join(CLASSES[code] for code in part.split(";") if code in CLASSES)
        else:
            cells += [Cell(character, style) for character in part]
    return cells


def folded(cells: list[Cell]) -> list[list[Cell]]:
    """Divide a line that is too long, at spaces; the other parts are indented."""
    if len(cells) <= CELLS:
        return [cells]
    end = max(at for at in range(CELLS + 1) if cells[at].character == " ")
    return [cells[:end], *folded([Cell(" ", "")] * 4 + cells[end + 1 :])]


def picture(output: str) -> str:
    """Draw the command and its output.

    :param output: with the escape sequences of colours.
    """
    command = " ".join(COMMAND).replace(" --metadata", " \\\n    --metadata")
    texts = ["$ " + command, *output.rstrip("\n").split("\n")]
    lines = [line for text in "\n".join(texts).split("\n") for line in folded(cells_of(text))]
    title = STYLED.sub("", output).splitlines()[0]
    width, height = round(CELLS * CELL + 2 * MARGIN), len(lines) * LINE + 2 * MARGIN
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    rect = f'x="0.5" y="0.5" width="{width - 1}" height="{height - 1}" rx="8"'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            f'<rect class="card" {rect}/>',
            *(drawn(line, number) for number, line in enumerate(lines) if line),
            "</svg>",
            "",
        ]
    )


def drawn(line: list[Cell], number: int) -> str:
    """Draw a line; its length is set, since fonts differ in their width."""
    spans = [
        f'<tspan class="{style}">{text}</tspan>' if style else text
        for style, group in groupby(line, lambda cell: cell.style)
        for text in [escape("".join(cell.character for cell in group))]
    ]
    place = f'x="{MARGIN}" y="{MARGIN + (number + 0.7) * LINE:g}"'
    length = f'textLength="{len(line) * CELL:g}" lengthAdjust="spacingAndGlyphs"'
    return f'<text {place} {length} xml:space="preserve">{"".join(spans)}</text>'


def main() -> None:
    PICTURE.write_text(picture(output_of_the_check()), encoding="utf-8")
    sys.stdout.write(f"{PICTURE}\n")


if __name__ == "__main__":
    main()
