"""`erlangen papers`: what is implemented, which benchmarks it fits, and what was published."""

import argparse

from .evidence.document import Line, Section, text
from .evidence.published import Published, load_published
from .evidence.render import console, print_sections
from .runs.config import available
from .runs.pairing import default_data, mismatch, model_class


def parser() -> argparse.ArgumentParser:
    return argparse.ArgumentParser(
        prog="erlangen papers",
        description="Lists every paper that is implemented: the file to choose it by (model=...), its title and arXiv id, what "
        "its samples may be, the benchmarks it fits (data=...) and its headline result as published.",
    )


def main(argv: list[str] | None = None) -> None:
    """The command line; `erlangen papers --help` says more."""
    parser().parse_args(argv)
    print_sections([papers_section()], console())


def papers_section() -> Section:
    """One row a file in conf/model."""
    models = {name: model_class(name) for name in available("model")}
    benchmarks = {name: default_data(name) for name in available("data")}
    published = load_published()
    rows = []
    for name, paper in models.items():
        fits = [data for data, datamodule in benchmarks.items() if not mismatch(paper, datamodule)]
        rows.append(
            [
                text(name),
                [Line(paper.title), *([Line(f"arXiv:{paper.arxiv}", "quiet")] if paper.arxiv else [])],
                text(", ".join(sorted(paper.modalities))),
                text(", ".join(fits) or "none yet"),
                [line for row in headlines(name, published) for line in headline(row)],
            ]
        )
    columns = ["model", "paper", "samples", "data", "published headline"]
    return Section(f"{len(models)} papers, {len(benchmarks)} benchmarks", columns, rows)


def headlines(paper: str, published: list[Published]) -> list[Published]:
    """The first result of each protocol of a paper."""
    protocols: dict[tuple[str, str, str], Published] = {}
    for row in published:
        if row.paper == paper:
            protocols.setdefault((row.benchmark, row.split, row.experiment), row)
    return list(protocols.values())


def headline(row: Published) -> list[Line]:
    trust = "quiet" if row.confidence == "verified" else "warning"
    return [
        Line(f"{row.benchmark} {row.metric} {row.value:g} {row.unit}".rstrip()),
        Line(row.where, "quiet"),
        Line(row.confidence, trust),
    ]
