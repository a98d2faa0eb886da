"""`erlangen papers` lists what is there, with what was published and no more."""

import pytest

from erlangen import papers
from erlangen.evidence.published import load_published
from erlangen.runs.config import available
from erlangen.runs.pairing import model_class, partners


def test_every_paper_is_listed_with_what_it_fits(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "200")
    papers.main([])
    text = capsys.readouterr().out
    for name in available("model"):
        assert f" {name} " in text
        assert model_class(name).arxiv in text


def test_rows_hold_the_partners_and_the_first_published_result_of_each_benchmark():
    rows = {row[0][0].text: row for row in papers.papers_section().rows}
    assert [line.text for line in rows["egnn"][1]] == ["E(n) Equivariant Graph Neural Networks", "arXiv:2102.09844"]
    assert rows["egnn"][3][0].text.split(", ") == partners("egnn")
    headline = [line.text for line in rows["egnn"][4]]
    assert headline[:3] == ["qm9 mae_gap 48 meV", "arXiv:2306.12059 Table 5", "verified"]
    assert headline[3:] == ["nbody mse 0.007", "README of ebekkers/ponita", "verified"]
    published = {row.paper for row in load_published()}
    assert all(not row[4] for name, row in rows.items() if name not in published)


def test_help_is_there(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        papers.main(["--help"])
    assert ended.value.code == 0
    assert "usage: erlangen papers" in capsys.readouterr().out
