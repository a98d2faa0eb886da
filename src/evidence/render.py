"""A report's sections on a terminal, in Markdown and in HTML."""

import html
import os
import sys
from collections.abc import Iterable

from rich import box
from rich.cells import cell_len
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from .document import Cell, Line, Section

TONES = {"plain": "", "quiet": "dim", "warning": "yellow"}

EDGES = 2
"""Columns of the console that a column of a table takes beside its contents."""

PIPED_WIDTH = 120
"""Columns where there is no terminal to ask, so that a log shows tables."""


def console() -> Console:
    """Standard output, as wide as it is."""
    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    return Console(highlight=False, width=PIPED_WIDTH if piped else None)


def print_sections(sections: Iterable[Section], console: Console) -> None:
    """Tables where they fit, a list of blocks where the terminal is too narrow: a number is never cut."""
    for section in sections:
        room = console.width - EDGES * len(section.columns)
        fits = sum(longest_word(section, index) for index in range(len(section.columns))) <= room
        console.print(Text(section.title, style="bold"))
        console.print(rich_table(section, room) if fits else blocks(section))
        for index, note in enumerate(section.notes):
            console.print(Text(f"{mark(section, index)}{note}", style="dim"))
        console.print()


def mark(section: Section, index: int) -> str:
    """[1] before a note that a cell refers to, nothing before the others."""
    sign = f"[{index + 1}]"
    used = any(sign in line.text for row in section.rows for cell in row for line in cell)
    return f"{sign} " if used else ""


def rich_table(section: Section, room: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    widths = column_widths(section, room)
    for index in range(len(section.columns)):
        right = index in section.numeric
        heading = "\n".join(heading_lines(section, index))
        table.add_column(heading, justify="right" if right else "left", no_wrap=right, width=widths[index])
    for index, row in enumerate(section.rows):
        last = index + 1 in section.breaks
        table.add_row(*map(rich_cell, row), end_section=last)
    return table


def column_widths(section: Section, room: int) -> list[int]:
    """The longest word of each column, and of the room that is left what its longest line asks for, or a fair part of that.

    Rich's own widths may add up to more than a console has, and what stands beyond its edge is lost.
    """
    least = [longest_word(section, index) for index in range(len(section.columns))]
    wanted = [max(0, longest_line(section, index) - width) for index, width in enumerate(least)]
    spare = room - sum(least)
    share = min(1.0, spare / (sum(wanted) or 1))
    return [width + int(share * more) for width, more in zip(least, wanted, strict=True)]


def longest_line(section: Section, index: int) -> int:
    """How wide a column would like to be."""
    lines = (line.text for row in section.rows for line in row[index])
    return max(map(cell_len, [*heading_lines(section, index), *lines]))


def heading_lines(section: Section, index: int) -> list[str]:
    """Over numbers, which are narrow, a word to a line."""
    heading = section.columns[index]
    return heading.split() if index in section.numeric else [heading]


def longest_word(section: Section, index: int) -> int:
    """How narrow a column may become; narrower, and words would be broken."""
    texts = [line.text for row in section.rows for line in row[index]]
    words = texts if index in section.numeric else " ".join(texts).split()
    return max(map(cell_len, [*words, *section.columns[index].split()]))


def rich_cell(cell: Cell) -> Text:
    return Text("\n").join(Text(line.text, style=TONES[line.tone]) for line in cell)


def blocks(section: Section) -> Group:
    """Each row as lines "column: contents"."""
    lines = []
    for row in section.rows:
        for column, cell in zip(section.columns, row, strict=True):
            if cell and any(line.text for line in cell):
                lines.append(Text(f"{column}: ", style="bold") + Text(", ").join(map(rich_line, cell)))
        lines.append(Text())
    return Group(*lines)


def rich_line(line: Line) -> Text:
    return Text(line.text, style=TONES[line.tone])


def markdown(sections: Iterable[Section]) -> str:
    """Tables in GitHub's Markdown."""
    return "\n".join(markdown_section(section) for section in sections)


def markdown_section(section: Section) -> str:
    rules = ["---:" if index in section.numeric else "---" for index in range(len(section.columns))]
    rows = [[markdown_cell(cell) for cell in row] for row in section.rows]
    table = "\n".join(f"| {' | '.join(cells)} |" for cells in [section.columns, rules, *rows])
    notes = "\n".join(f"- {mark(section, i)}{escape_markdown(note)}" for i, note in enumerate(section.notes))
    title = section.title.replace("\n", "<br>")
    return f"## {title}\n\n{table}\n\n{notes}\n"


def markdown_cell(cell: Cell) -> str:
    shown = {"plain": "{}", "quiet": "<sub>{}</sub>", "warning": "*{}*"}
    return "<br>".join(shown[line.tone].format(escape_markdown(line.text)) for line in cell if line.text)


def escape_markdown(text: str) -> str:
    return "".join(f"\\{character}" if character in "|*_`<>" else character for character in text)


STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; color: #1c1c1c; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.1rem; margin-top: 2.5rem; white-space: pre-line; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: .35rem .9rem .35rem 0; }
th { border-bottom: 2px solid #1c1c1c; } td { border-bottom: 1px solid #ddd; }
tr.block td { border-top: 2px solid #999; }
th.number, td.number { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
.quiet { color: #767676; font-size: .85rem; } .warning { color: #a14400; font-size: .85rem; }
ul { color: #555; font-size: .85rem; padding-left: 1.1rem; }
figure { display: inline-block; margin: 1rem 1rem 0 0; vertical-align: top; } figure img { max-width: 100%; }
figcaption { color: #555; font-size: .85rem; }
"""

Picture = tuple[str, str]
"""Caption, and the PNG in base64."""


def html_page(parts: Iterable[tuple[Section, list[Picture]]]) -> str:
    """One file that needs no other: tables, each followed by its pictures."""
    body = "\n".join(html_section(section) + "".join(map(html_picture, pictures)) for section, pictures in parts)
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>erlangen report</title><style>{STYLE}</style></head>\n<body>\n<h1>Measured beside published</h1>\n"
        f"{body}\n</body>\n</html>\n"
    )


def html_section(section: Section) -> str:
    head = "".join(f"<th{number_class(section, i)}>{html.escape(c)}</th>" for i, c in enumerate(section.columns))
    rows = []
    for index, row in enumerate(section.rows):
        cells = "".join(f"<td{number_class(section, i)}>{html_cell(cell)}</td>" for i, cell in enumerate(row))
        start = "<tr class='block'>" if index in section.breaks else "<tr>"
        rows.append(f"{start}{cells}</tr>")
    notes = "".join(f"<li>{mark(section, i)}{html.escape(note)}</li>" for i, note in enumerate(section.notes))
    return (
        f"<h2>{html.escape(section.title)}</h2>\n<div class='scroll'><table>\n<tr>{head}</tr>\n"
        + "\n".join(rows)
        + f"\n</table></div>\n<ul>{notes}</ul>\n"
    )


def number_class(section: Section, index: int) -> str:
    return " class='number'" if index in section.numeric else ""


def html_cell(cell: Cell) -> str:
    return "".join(f"<div class='{line.tone}'>{html.escape(line.text)}</div>" for line in cell)


def html_picture(picture: Picture) -> str:
    caption, png = picture
    return (
        f"<figure><img alt='{html.escape(caption, quote=True)}' src='data:image/png;base64,{png}'>"
        f"<figcaption>{html.escape(caption)}</figcaption></figure>\n"
    )
