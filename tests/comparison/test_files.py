"""What is written: terminal tables, Markdown, CSV, LaTeX, results.json and the README of an experiment."""

import csv
import io
import json
import re
import shutil
import subprocess

import pytest
from rich.console import Console

from o3v.comparison.latex import CSV_HEADER, csv_text, escape, latex
from o3v.comparison.record import BEGIN, END, with_results, write_files, write_record
from o3v.comparison.text import grids, markdown, notes, print_whole
from o3v.errors import DataError
from tests.comparison.reports import HOSTILE, report


def test_the_terminal_shows_numbers_differences_and_what_is_missing():
    console = Console(width=400, record=True, file=io.StringIO())
    for grid in grids(report()):
        console.print(grid.rich())
    shown = console.export_text()
    assert "50.0 ± 2.0" in shown and "+20.0" in shown and "+15.0 to +25.0" in shown and "<0.001" in shown
    assert "no difference shown" in shown and "trivial: guess" in shown and "published: base" in shown
    assert "3 of 36 batches" in shown and "240, 80, 3" in shown
    told = "\n".join(notes(report()))
    assert "± is the 95 % interval over seeds (Student's t)" in told
    assert "acc rests on 240 questions, 80 videos, 3 seeds" in told


def test_no_table_is_cut_on_a_narrow_terminal():
    console = Console(width=40, file=io.StringIO())
    for grid in grids(report()):
        print_whole(console, grid.rich())
    shown = console.file.getvalue()
    assert "no difference shown" in shown and "questions, videos, seeds" in shown and console.width == 40
    assert "…" not in shown


def test_nothing_to_show_is_no_error():
    empty = report(tables=(), charts=(), examples=(), unfinished=(), notes=("nothing has finished",))
    assert list(grids(empty)) == [] and markdown(empty) == "- nothing has finished\n"
    assert csv_text(empty).count("\n") == 1 and latex(empty) == ""


def test_csv_has_every_number_in_full():
    rows = list(csv.DictReader(io.StringIO(csv_text(report()))))
    assert tuple(rows[0]) == CSV_HEADER
    found = {(row["row"], row["name"], row["metric"]): row for row in rows}
    better = found["arm", "x_1", "acc"]
    assert (float(better["mean"]), float(better["difference"]), better["verdict"]) == (0.7, 0.2, "better")
    assert (better["seeds"], better["videos"], better["questions"]) == ("3", "80", "240")
    assert found["arm", "base", "acc"]["difference"] == ""
    assert found["published", "base", "mAM"]["mean"] == "33.7" and found["trivial", "guess", "acc"]["mean_low"] == ""


def test_csv_cells_are_no_formulas():
    table = report().tables[0]
    arms = {"=HYPERLINK(1)": table.arms["base"], "base": table.arms["base"]}
    text = csv_text(report(tables=(type(table)(**{**table.__dict__, "arms": arms}),)))
    assert ",'=HYPERLINK(1)," in text


def test_latex_escapes_and_marks():
    text = latex(report())
    assert r"x\_1 & 70.0 $\pm$ 5.0$^{\uparrow}$ & 41.0 $\pm$ 2.0 \\" in text
    assert r"\toprule" in text and r"\bottomrule" in text and r"base (published) & -- & 33.7 \\" in text
    assert "A \\textless{}study\\textgreater{} \\& 5 \\%" in text
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 1
    body = text.split(r"\toprule")[1].split(r"\bottomrule")[0]
    assert {line.count("&") - line.count(r"\&") for line in body.splitlines() if line.endswith(r"\\")} == {2}


def test_every_special_character_of_latex_is_escaped():
    assert escape("\\{}$&#^_%~\n") == (r"\textbackslash{}\{\}\$\&\#\textasciicircum{}\_\%\textasciitilde{} ")


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="LaTeX is not installed")
def test_latex_reads_it(tmp_path):
    document = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}%s\\end{document}"
    (tmp_path / "a.tex").write_text(document % latex(report()).encode("ascii", "ignore").decode())
    subprocess.run(["pdflatex", "-halt-on-error", "a.tex"], cwd=tmp_path, check=True, capture_output=True)


def test_results_are_plain_json(tmp_path):
    files = write_files(report(question="Q", tables=report().tables), "<html>", tmp_path)
    assert list(files) == ["results.json", "table.csv", "table.tex", "table.md", "index.html"]
    found = json.loads(files["results.json"].read_text(), parse_constant=lambda name: pytest.fail(name))
    table = found["tables"][0]
    assert table["arms"]["x_1"]["acc"]["difference"]["spread"]["value"] == 0.2
    assert table["trivial"]["guess"]["acc"]["low"] is None
    assert found["unfinished"][0]["state"] == "failed" and found["states"] == {"finished": 22, "failed": 1}


def test_a_record_keeps_the_authors_words(tmp_path):
    plain = report(question="Q?", title="T")
    write_record(plain, tmp_path)
    begun = (tmp_path / "README.md").read_text()
    assert begun.startswith("# T\n\n**Question.** Q?\n\n    python -m o3v.compare study=made\n")
    mine = begun.replace("**Question.**", "**Question, by hand.**").replace(END, f"{END}\n\nAnd this is why.")
    (tmp_path / "README.md").write_text(re.sub(rf"{BEGIN}.*{END}", f"{BEGIN}\nold\n{END}", mine, flags=re.DOTALL))
    write_record(plain, tmp_path)
    written = (tmp_path / "README.md").read_text()
    assert "by hand" in written and written.endswith("And this is why.\n") and "\nold\n" not in written
    assert "| x_1 | 70.0 ± 5.0 | 41.0 ± 2.0 | 3 |" in written
    write_record(plain, tmp_path)
    assert (tmp_path / "README.md").read_text() == written
    assert json.loads((tmp_path / "results.json").read_text())["name"] == "made"


@pytest.mark.parametrize("text", [BEGIN, END, f"{END}{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}", f"{BEGIN}{BEGIN}{END}"])
def test_markers_that_do_not_pair_are_refused(text):
    with pytest.raises(DataError, match=r"README.md: wanted one line"):
        with_results(text, "new", "README.md")


def test_markdown_cells_stay_in_their_cells():
    table = markdown(report()).split("\n\n")[1]
    widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
    assert len(widths) == 1 and HOSTILE not in table.splitlines()[0]
