"""`erlangen report`: measured beside published, from run folders alone."""

import argparse
import os
from pathlib import Path

from .errors import UserError
from .evidence.collect import Table, build_tables, find_runs, group_runs
from .evidence.compare import compare_runs
from .evidence.document import Section, comparison_section, table_section, unfinished_section
from .evidence.gallery import table_pictures
from .evidence.overview import has_overview, overview_sections
from .evidence.published import load_published
from .evidence.render import Picture, console, html_page, markdown, print_sections
from .evidence.sweeps import sweep_section
from .runs.folder import write_text
from .runs.manifest import sweeps_in


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
    """Every table, with its pictures if they are wanted, and what is in none: the rest of a sweep, other runs."""
    sweeps = [sweep for path in paths for sweep in sweeps_in(path)]
    groups, left = group_runs(find_runs(paths, expected=bool(sweeps)))
    tables = build_tables(groups, load_published())
    parts = [part for table in tables for part in table_parts(table, pictures)]
    of_sweeps = {folder.resolve() for sweep in sweeps for _, folder in sweep.jobs}
    others = [run for run in left if run.state == "repeated" or run.path.resolve() not in of_sweeps]
    sections = [*map(sweep_section, sweeps), unfinished_section(others)]
    return [*parts, *((section, []) for section in sections if section)]


def table_parts(table: Table, pictures: bool) -> list[tuple[Section, list[Picture]]]:
    """All of a table, at a glance first where there is much of it; then only what was published is told in full."""
    overview = overview_sections(table, console().width) if has_overview(table) else []
    full = table_section(table, only_published=bool(overview))
    sections = [*overview, *([full] if full.rows else [])]
    shown = table_pictures(table) if pictures else []
    return [(section, []) for section in sections[:-1]] + [(sections[-1], shown)]


def write(path: Path, content: str) -> None:
    """Replaces a file at once; what is no file (/dev/stdout) is written to."""
    try:
        if path.exists() and not path.is_file():
            path.write_text(content, encoding="utf-8")
        else:
            write_text(path, content)
    except OSError as error:
        raise UserError(f"cannot write {path}: {error.strerror}") from None
    print(f"wrote {path}")
