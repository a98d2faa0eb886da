"""`erlangen report`: measured beside published, from run folders alone."""

import argparse
import os
from pathlib import Path

from .errors import UserError
from .evidence.collect import build_tables, find_runs, group_runs
from .evidence.compare import compare_runs
from .evidence.document import Section, comparison_section, table_section, unfinished_section
from .evidence.gallery import table_pictures
from .evidence.published import load_published
from .evidence.render import Picture, console, html_page, markdown, print_sections


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        prog="erlangen report",
        description="Tables of what runs measured, mean ± standard deviation over seeds, beside what was published. "
        "Whole benchmarks, subsets and miniatures stand in tables of their own; runs without a result are listed as such.",
    )
    p.add_argument(
        "runs",
        nargs="*",
        type=Path,
        help="run folders, or folders of runs (default: $ERLANGEN_RUNS, or runs; none with --compare)",
    )
    p.add_argument(
        "--compare",
        nargs=2,
        type=Path,
        metavar=("A", "B"),
        help="paired bootstrap of two runs' errors on the same test samples",
    )
    p.add_argument("--markdown", type=Path, metavar="FILE", help="write the tables there too")
    p.add_argument("--html", type=Path, metavar="FILE", help="write tables and plots there, in one file")
    return p


def main(argv: list[str] | None = None) -> None:
    """The command line; `erlangen report --help` says more."""
    args = parser().parse_args(argv)
    parts: list[tuple[Section, list[Picture]]] = []
    if args.compare:
        parts.append((comparison_section(compare_runs(*args.compare)), []))
    runs = args.runs or ([] if args.compare else [Path(os.environ.get("ERLANGEN_RUNS", "runs"))])
    if runs:
        parts += report_parts(runs, pictures=args.html is not None)
    sections = [section for section, _ in parts]
    print_sections(sections, console())
    if args.markdown:
        write(args.markdown, markdown(sections))
    if args.html:
        write(args.html, html_page(parts))


def report_parts(paths: list[Path], pictures: bool) -> list[tuple[Section, list[Picture]]]:
    """Every table, with its pictures if they are wanted, and the list of runs that are in none."""
    groups, left = group_runs(find_runs(paths))
    tables = build_tables(groups, load_published())
    parts = [(table_section(table), table_pictures(table) if pictures else []) for table in tables]
    unfinished = unfinished_section(left)
    return [*parts, (unfinished, [])] if unfinished else parts


def write(path: Path, content: str) -> None:
    try:
        path.write_text(content, encoding="utf-8")
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    print(f"wrote {path}")
