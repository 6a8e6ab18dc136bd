"""A `Table` as LaTeX with booktabs, and text escaped for pdflatex with T1 fonts and UTF-8 input."""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Callable, Sequence

from analysis.formatting import NONE
from analysis.tables import Column, Table, Value

# What a document that takes these tables must load.
PREAMBLE = r"""\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
\usepackage{textcomp}
\usepackage{array}
\usepackage{booktabs}
\usepackage{graphicx}
\usepackage{longtable}
\usepackage{pdflscape}
"""

# Of a page with LaTeX's own margins.
_MOST_LINES = 40  # of a float
_WIDEST = 105  # characters that a float may be wide: it is then set at 7 of 10 points
_UPRIGHT, _ON_ITS_SIDE = 90, 145  # characters of small print across a page
_TINY = 195  # of the smallest print, across a page on its side
_PARAGRAPH = 24  # characters of text above which a column is a paragraph, and its width in characters
_PARAGRAPH_CM = 3.6
_SENTENCE = 60  # the same in a longtable

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "%": r"\%",
    "&": r"\&",
    "_": r"\_",
    "#": r"\#",
    "$": r"\$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "[": "{[}",  # after a row's end it would begin an option
    "]": "{]}",
    "*": "{*}",
    '"': r"\textquotedbl{}",
    "'": r"\textquotesingle{}",
    "`": r"\textasciigrave{}",
    "\u00a0": "~",
    "\u00ad": "",  # a soft hyphen
    "\u200b": r"\allowbreak{}",
    "±": r"$\pm$",
    "−": r"$-$",
    "×": r"$\times$",
    "·": r"$\cdot$",
    "≤": r"$\le$",
    "≥": r"$\ge$",
    "≈": r"$\approx$",
    "≠": r"$\neq$",
    "∞": r"$\infty$",
    "→": r"$\rightarrow$",
    "←": r"$\leftarrow$",
    "²": r"\textsuperscript{2}",
    "³": r"\textsuperscript{3}",
    "µ": r"$\mu$",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "‘": "`",
    "’": "'",
    "“": "``",
    "”": "''",
    "€": r"\texteuro{}",
    "✓": "yes",
    "✗": "no",
}
_GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ζ": "zeta", "η": "eta", "θ": "theta",
    "ι": "iota", "κ": "kappa", "λ": "lambda", "μ": "mu", "ν": "nu", "ξ": "xi", "π": "pi", "ρ": "rho", "σ": "sigma",
    "τ": "tau", "υ": "upsilon", "φ": "phi", "χ": "chi", "ψ": "psi", "ω": "omega", "Γ": "Gamma", "Δ": "Delta",
    "Θ": "Theta", "Λ": "Lambda", "Σ": "Sigma", "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega",
}  # fmt: skip
_NOT_IN_T1 = "ªºµĦħĸĿŀŉŦŧ"  # of the Latin letters up to U+017E
_LIGATURES = ("--", ",,")  # of T1: a name's two hyphens are no dash


def escape_latex(text: str) -> str:
    """Text that pdflatex sets as it reads, on one line.

    What T1 has no letter for, such as Chinese, becomes its code point, [U+4F60]: it would stop the compiler.
    """
    text = " ".join(unicodedata.normalize("NFC", text).split())
    for pair in _LIGATURES:
        while pair in text:
            text = text.replace(pair, f"{pair[0]}\u2060{pair[1]}")
    return "".join(map(_escape_letter, text))


def _escape_letter(character: str) -> str:
    if character == "\u2060":  # a word joiner: between what would be a ligature
        return "{}"
    if character in _SPECIAL:
        return _SPECIAL[character]
    if character in _GREEK:
        return f"$\\{_GREEK[character]}$"
    if " " <= character <= "~" or character in "¡¿§¶°©®«»":
        return character
    if character.isalpha() and character < "ſ" and character not in _NOT_IN_T1:
        return character
    return f"{{[}}U+{ord(character):04X}{{]}}"


def to_latex(table: Table) -> str:
    """The table with caption, label (`tab:<id>`) and notes; it needs what PREAMBLE loads.

    A table for one page is a float, made smaller if it were a little too wide. A longer or much wider one is a
    longtable in small print: it breaks over pages, on its side if it must, and its columns share the page's width.
    """
    if not table.rows:
        notes = " ".join(map(_escape_cell, table.notes))
        return f"{{\\raggedright\\paragraph{{{escape_latex(table.title)}.}} {notes}\\par}}\n"
    grid = _sentences_below(table)
    if len(table.rows) <= _MOST_LINES or sum(_measure_widths(grid, _PARAGRAPH)) > _ON_ITS_SIDE - _SENTENCE:
        table = grid
    if sum(map(_count_lines, table.rows)) <= _MOST_LINES and sum(_measure_widths(table, _PARAGRAPH)) <= _WIDEST:
        return _format_float(table)
    widths = _measure_widths(table, _SENTENCE)
    if sum(widths) <= _UPRIGHT:
        return _format_longtable(table, widths)
    narrow = _narrow_widths(table, widths, _ON_ITS_SIDE)
    if sum(narrow) <= _ON_ITS_SIDE + 1:
        text = _format_longtable(table, narrow)
    else:
        text = _format_longtable(table, _narrow_widths(table, widths, _TINY), "tiny")
    return f"\\begin{{landscape}}\n{text}\\end{{landscape}}\n"


def _sentences_below(table: Table) -> Table:
    """Columns of sentences leave the grid and stand below it, row by row."""
    said = [
        index
        for index, column in enumerate(table.columns)
        if not column.numeric and any(len(row[index].text) > _SENTENCE for row in table.rows)
    ]
    kept = [index for index in range(len(table.columns)) if index not in said]
    if not kept:
        return table
    names = [index for index in kept if not table.columns[index].numeric][:3]
    notes = (
        f"{', '.join(row[name].text for name in names)}: {row[index].text}"
        for row in table.rows
        for index in said
        if row[index].text not in ("", NONE)
    )
    return dataclasses.replace(
        table,
        columns=tuple(table.columns[index] for index in kept),
        rows=tuple(tuple(row[index] for index in kept) for row in table.rows),
        notes=(*table.notes, *notes),
    )


def _format_caption(table: Table) -> str:
    title = escape_latex(table.title)
    label = re.sub(r"[^A-Za-z0-9]", "-", table.id)
    return f"\\caption[{{{title}}}]{{{title}. {escape_latex(table.caption)}}}\\label{{tab:{label}}}"


def _format_notes(table: Table) -> str:
    return "".join(
        f"\\par\\smallskip{{\\footnotesize\\raggedright {_escape_cell(note)}\\par}}\n" for note in table.notes
    )


def _measure_widths(table: Table, most: int) -> list[int]:
    """Characters of each column, with the gap behind it: text of more than `most` is set as a paragraph."""
    widths = []
    for index, column in enumerate(table.columns):
        inside = max(max(len(row[index].text), len(row[index].detail)) for row in table.rows)
        widths.append(max(min(inside, most), max(map(len, _split_heading(column.name))) + 2) + 2)
    return widths


def _count_lines(row: tuple[Value, ...]) -> int:
    return max(1 + len(value.text) // _PARAGRAPH + bool(value.detail) for value in row)


# -- on one page


def _format_float(table: Table) -> str:
    head = " & ".join(f"\\textbf{{{_stack_lines(_split_heading(column.name), column)}}}" for column in table.columns)
    body = "\n".join(_format_row(table, row, _stacked_cell) for row in table.rows)
    shape = "".join(_column_shape(table, index) for index in range(len(table.columns)))
    # Set in a box first: only a table wider than the text is made smaller.
    return (
        "\\begin{table}[htbp]\n\\centering\\small\n"
        f"{_format_caption(table)}\\vspace{{1ex}}\n"
        "\\sbox0{%\n"
        f"\\begin{{tabular}}{{@{{}}{shape}@{{}}}}\n\\toprule\n{head} \\\\\n\\midrule\n{body}\n\\bottomrule\n"
        "\\end{tabular}}%\n"
        "\\ifdim\\wd0>\\linewidth\\resizebox{\\linewidth}{!}{\\usebox0}\\else\\usebox0\\fi\n"
        f"{_format_notes(table)}"
        "\\end{table}\n"
    )


def _column_shape(table: Table, index: int) -> str:
    if table.columns[index].numeric:
        return "r"
    wide = any(len(row[index].text) > _PARAGRAPH for row in table.rows)
    return f">{{\\raggedright\\arraybackslash}}p{{{_PARAGRAPH_CM}cm}}" if wide else "l"


def _split_heading(name: str) -> list[str]:
    """One line, or two that part at the blank nearest to the middle."""
    blanks = [index for index, letter in enumerate(name) if letter == " "]
    if len(name) <= 9 or not blanks:
        return [name]
    middle = min(blanks, key=lambda index: abs(2 * index - len(name)))
    return [name[:middle], name[middle + 1 :]]


def _stack_lines(lines: list[str], column: Column) -> str:
    inside = r" \\ ".join(map(escape_latex, lines))
    return inside if len(lines) == 1 else f"\\shortstack[{'r' if column.numeric else 'l'}]{{{inside}}}"


def _format_row(table: Table, row: tuple[Value, ...], draw: Callable[[Value, Column], str]) -> str:
    apart = "[2pt]" if any(value.detail for value in row) else ""
    return f"{' & '.join(map(draw, row, table.columns))} \\\\{apart}"


def _stacked_cell(value: Value, column: Column) -> str:
    if not value.detail:
        return _format_text(value)
    side = "r" if column.numeric else "l"
    small = f"\\scriptsize {_escape_cell(value.detail)}"
    return f"\\begin{{tabular}}[t]{{@{{}}{side}@{{}}}}{_format_text(value)}\\\\{small}\\end{{tabular}}"


def _format_text(value: Value) -> str:
    return f"\\textbf{{{_escape_cell(value.text)}}}" if value.bold else _escape_cell(value.text)


# -- over several pages


def _narrow_widths(table: Table, widths: Sequence[float], room: float) -> list[float]:
    """Where a page on its side is too narrow for all, columns of text give way: they wrap, numbers don't."""
    over = max(0.0, sum(widths) - room)
    give = [0.0 if column.numeric else max(0.0, own - 14) for column, own in zip(table.columns, widths, strict=True)]
    share = min(1.0, over / sum(give)) if any(give) else 0.0
    return [own - share * part for own, part in zip(widths, give, strict=True)]


def _format_longtable(table: Table, widths: Sequence[float], size: str = "scriptsize") -> str:
    columns = len(table.columns)
    shape = ""
    for column, width in zip(table.columns, widths, strict=True):
        side = "\\raggedleft" if column.numeric else "\\raggedright"
        share = f"\\dimexpr {0.999 * width / sum(widths):.4f}\\linewidth-2\\tabcolsep\\relax"
        shape += f">{{{side}\\arraybackslash\\hspace{{0pt}}}}p{{{share}}}"
    head = " & ".join(f"\\textbf{{{_escape_cell(column.name)}}}" for column in table.columns)
    body = "\n".join(_format_row(table, row, _plain_cell) for row in table.rows)
    again = f"\\multicolumn{{{columns}}}{{@{{}}l}}{{\\emph{{{escape_latex(table.title)}, continued}}}} \\\\"
    rule = f"\\toprule\n{head} \\\\\n\\midrule\n"
    return (
        f"{{\\{size}"
        "\\setlength{\\tabcolsep}{2pt}\\setlength{\\LTcapwidth}{\\linewidth}\n"
        f"\\begin{{longtable}}{{{shape}}}\n{_format_caption(table)} \\\\\n"
        f"{rule}\\endfirsthead\n{again}\n{rule}\\endhead\n\\bottomrule\n\\endfoot\n{body}\n"
        f"\\end{{longtable}}\n{_format_notes(table)}}}\n"
    )


def _plain_cell(value: Value, _: Column) -> str:
    return f"{_format_text(value)}\\newline {_escape_cell(value.detail)}" if value.detail else _format_text(value)


def _escape_cell(text: str) -> str:
    """Text of a table's cell, in which long words break after the marks of a name and, at worst, anywhere."""
    return escape_latex(" ".join(_break_word(word) if len(word) > 12 else word for word in text.split(" ")))


def _break_word(word: str) -> str:
    return "\u200b".join(filter(None, re.split(r"(?<=[_/=:(+,.-])|(?<=\w{20})", word)))
