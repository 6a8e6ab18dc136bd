"""The study as a LaTeX document that plain pdflatex compiles: prose, tables, figures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from analysis.report import paper_text, summary
from analysis.report.figures import Exhibit, Exhibits
from analysis.tables import Table, latex
from analysis.tables.latex import escape_latex
from analysis.verdicts.results import StudyResults

_FLOATS = 6
_README = """Compile this folder twice, for the references: pdflatex report.tex && pdflatex report.tex
report.tex holds the prose; tables/ and figures/ are made to be taken into a paper of your own with \\input and
\\includegraphics: it must load the packages that report.tex loads.
"""
_HEAD = "\\documentclass[11pt,a4paper]{article}\n"
_SETTINGS = r"""\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
\usepackage[margin=2.2cm]{geometry}
\usepackage[hidelinks]{hyperref}
\setlength{\parindent}{0pt}
\setlength{\parskip}{6pt plus 2pt}
\setlength{\abovecaptionskip}{4pt}
\setlength{\belowcaptionskip}{6pt}
\emergencystretch=3em
"""


def write(findings: StudyResults, tables: Sequence[Table], exhibits: Exhibits, folder: Path) -> Path:
    """Write `report.tex`, `tables/*.tex` and a README into `folder` (made if missing).

    Files of tables and figures that an earlier report left there are replaced or stay; report.tex takes in its own.

    Args:
        exhibits: whose PDFs are in `folder/figures` already; the others are left out.

    Returns:
        The path of report.tex.
    """
    for part in ("tables", "figures"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for table in tables:
        (folder / "tables" / f"{table.id}.tex").write_text(latex.to_latex(table), encoding="utf-8")
    figures = [figure for figure in exhibits.every if (folder / "figures" / f"{figure.id}.pdf").is_file()]
    (folder / "README").write_text(_README, encoding="utf-8")
    main = folder / "report.tex"
    main.write_text(_document(findings, tables, figures), encoding="utf-8")
    return main


def _document(findings: StudyResults, tables: Sequence[Table], figures: Sequence[Exhibit]) -> str:
    study = findings.records.study
    parts = [_HEAD + latex.PREAMBLE + _SETTINGS, "\\begin{document}"]
    parts.append(f"{{\\LARGE\\bfseries {escape_latex(study.study or 'Study')}\\par}}")
    if study.description:
        parts.append(f"\\medskip{{\\large {escape_latex(study.description)}\\par}}")
    for sentence in summary.notices(findings):
        parts.append(f"\\fbox{{\\parbox{{0.95\\linewidth}}{{{escape_latex(sentence)}}}}}\\par")
    parts += ["\\section*{Summary}", *map(escape_latex, paper_text.paragraphs(findings)), "\\section*{Tables}"]
    parts += _break_pages([f"\\input{{tables/{table.id}.tex}}" for table in tables])
    parts += _break_pages(list(map(_figure, figures)))
    parts.append("\\end{document}\n")
    return "\n\n".join(parts)


def _break_pages(floats: Sequence[str]) -> Iterator[str]:
    """With a break after every few: LaTeX gives up when too many floats wait for a page."""
    for start in range(0, len(floats), _FLOATS):
        yield from floats[start : start + _FLOATS]
        yield "\\clearpage"


def _figure(figure: Exhibit) -> str:
    title, caption = escape_latex(figure.title), escape_latex(figure.caption)
    return (
        "\\begin{figure}[htbp]\n\\centering\n"
        f"\\includegraphics[width=\\linewidth,height=0.7\\textheight,keepaspectratio]{{figures/{figure.id}.pdf}}\n"
        f"\\caption[{{{title}}}]{{{title}. {caption}}}\n\\label{{fig:{figure.id}}}\n\\end{{figure}}"
    )
