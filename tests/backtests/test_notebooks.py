"""The notebooks of backtests/studies: stored as executed, and they still run."""

import json
from pathlib import Path

import pytest

STUDIES = Path(__file__).parents[2] / "backtests" / "studies"
NOTEBOOKS = ("stress_my_book", "propose_and_explain", "backtest_and_judge")


def code_cells(name):
    notebook = json.loads((STUDIES / f"{name}.ipynb").read_text(encoding="utf-8"))
    return [c for c in notebook["cells"] if c["cell_type"] == "code"]


def shown_text(cell) -> str:
    """Text of a cell's outputs, whatever their kind."""
    parts = []
    for out in cell["outputs"]:
        data = out.get("data", {})
        parts += out.get("text", []), data.get("text/html", data.get("text/plain", []))
    return "".join(p if isinstance(p, str) else "".join(p) for p in parts)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_stored_as_executed_from_the_top(name):
    cells = code_cells(name)
    assert [c["execution_count"] for c in cells] == list(range(1, len(cells) + 1))
    assert not [o for c in cells for o in c["outputs"] if o["output_type"] == "error"]
    text = "".join(shown_text(c) for c in cells)
    assert "SYNTHETIC" in text
    assert str(STUDIES.parents[1]) not in text
    [first] = [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
    assert first is cells[0]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_question_takes_few_lines(name):
    lines = "".join(code_cells(name)[1]["source"]).splitlines()
    work = [x for x in lines if x.strip() and not x.startswith(("from", " ", "}"))]
    assert len(work) <= 12


def test_the_first_notebook_runs(monkeypatch, capsys):
    monkeypatch.chdir(STUDIES)
    names: dict = {}
    for cell in code_cells("stress_my_book")[:6]:
        exec(compile("".join(cell["source"]), "stress_my_book", "exec"), names)
    stored = shown_text(code_cells("stress_my_book")[1])
    # The tables; in the chart two bars of one length may change places.
    again = names["report"]._repr_html_()
    assert again.partition("<svg")[0] == stored.partition("<svg")[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebooks_run_in_a_kernel(name):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(STUDIES / f"{name}.ipynb", 4)
    before = [shown_text(c) for c in notebook.cells if c.cell_type == "code"]
    nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(STUDIES)}}
    ).execute()
    after = [shown_text(c) for c in notebook.cells if c.cell_type == "code"]
    assert [bool(x) for x in after] == [bool(x) for x in before]
