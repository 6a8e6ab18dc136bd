"""A `Table` as LaTeX with booktabs, and text escaped for pdflatex with T1 fonts and UTF-8 input."""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from typing import Any

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
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "%": r"\%", "&": r"\&", "_": r"\_", "#": r"\#", "$": r"\$",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "*": "{*}", '"': r"\textquotedbl{}", "'": r"\textquotesingle{}", "`": r"\textasciigrave{}",
    "[": "{[}", "]": "{]}",  # after a row's end a bracket would begin an option
    "\u00a0": "~", "\u00ad": "", "\u200b": r"\allowbreak{}",  # a hard blank, a soft hyphen, a place to break
    "\u2060": "{}",  # a word joiner: between what would be a ligature
    "±": r"$\pm$", "−": r"$-$", "×": r"$\times$", "·": r"$\cdot$", "≤": r"$\le$", "≥": r"$\ge$", "≈": r"$\approx$",
    "≠": r"$\neq$", "∞": r"$\infty$", "→": r"$\rightarrow$", "←": r"$\leftarrow$", "µ": r"$\mu$",
    "²": r"\textsuperscript{2}", "³": r"\textsuperscript{3}", "–": "--", "—": "---", "…": r"\ldots{}",
    "‘": "`", "’": "'", "“": "``", "”": "''", "€": r"\texteuro{}", "✓": "yes", "✗": "no",
}  # fmt: skip
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


def _escape_letter(letter: str) -> str:
    if letter in _SPECIAL:
        return _SPECIAL[letter]
    if letter in _GREEK:
        return f"$\\{_GREEK[letter]}$"
    is_latin = letter.isalpha() and letter < "ſ" and letter not in _NOT_IN_T1
    return letter if is_latin or " " <= letter <= "~" or letter in "¡¿§¶°©®«»" else f"{{[}}U+{ord(letter):04X}{{]}}"


def to_latex(table: Table) -> str:
    """The table with caption, label (`tab:<id>`) and notes; it needs what PREAMBLE loads.

    A table for one page is a float, made smaller if it were a little too wide. A longer or much wider one is a
    longtable in small print: it breaks over pages, on its side if it must, and its columns share the page's width.
    """
    if not table.rows:
        notes = " ".join(map(_escape_cell, table.notes))
        return f"{{\\raggedright\\paragraph{{{escape_latex(table.title)}.}} {notes}\\par}}\n"
    grid = _move_sentences(table)
    if len(table.rows) <= _MOST_LINES or sum(_measure_widths(grid, _PARAGRAPH)) > _ON_ITS_SIDE - _SENTENCE:
        table = grid
    if sum(map(_count_lines, table.rows)) <= _MOST_LINES and sum(_measure_widths(table, _PARAGRAPH)) <= _WIDEST:
        return _write_float(table)
    widths = _measure_widths(table, _SENTENCE)
    if sum(widths) <= _UPRIGHT:
        return _write_longtable(table, widths, "scriptsize")
    narrow = _narrow_widths(table, widths, _ON_ITS_SIDE)
    if sum(narrow) <= _ON_ITS_SIDE + 1:
        text = _write_longtable(table, narrow, "scriptsize")
    else:
        text = _write_longtable(table, _narrow_widths(table, widths, _TINY), "tiny")
    return f"\\begin{{landscape}}\n{text}\\end{{landscape}}\n"


def _move_sentences(table: Table) -> Table:
    """Columns of sentences leave the grid and stand below it, row by row."""
    moved = []
    values = list(zip(*table.rows, strict=True))  # by column
    for index, column in enumerate(table.columns):
        if not column.numeric and any(len(value.text) > _SENTENCE for value in values[index]):
            moved.append(index)
    kept = [index for index in range(len(table.columns)) if index not in moved]
    names = [index for index in kept if not table.columns[index].numeric][:3]
    notes = list(table.notes)
    for row in table.rows:
        name = ", ".join(row[index].text for index in names)
        notes += [f"{name}: {row[index].text}" for index in moved if not row[index].is_blank]
    columns = tuple(table.columns[index] for index in kept)
    rows = tuple(zip(*(values[index] for index in kept), strict=True))
    return dataclasses.replace(table, columns=columns, rows=rows, notes=tuple(notes)) if kept else table


def _measure_widths(table: Table, most: int) -> list[int]:
    """Characters of each column, with the gap behind it: text of more than `most` is set as a paragraph."""
    widths = []
    for index, column in enumerate(table.columns):
        inside = max(max(len(row[index].text), len(row[index].detail)) for row in table.rows)
        heading = max(map(len, _split_heading(column.title)))
        widths.append(max(min(inside, most), heading + 2) + 2)
    return widths


def _count_lines(row: tuple[Value, ...]) -> int:
    return max(1 + len(value.text) // _PARAGRAPH + bool(value.detail) for value in row)


def _write_caption(table: Table) -> str:
    title = escape_latex(table.title)
    label = re.sub(r"[^A-Za-z0-9]", "-", table.id)
    return f"\\caption[{{{title}}}]{{{title}. {escape_latex(table.caption)}}}\\label{{tab:{label}}}"


def _write_body(table: Table, heads: Iterable[str], write_cell: Callable[[Value, Column[Any]], str]) -> tuple[str, str]:
    """The line of headings and the lines of the rows."""
    lines = []
    for row in table.rows:
        has_detail = any(value.detail for value in row)
        lines.append(f"{' & '.join(map(write_cell, row, table.columns))} \\\\{'[2pt]' if has_detail else ''}")
    head = " & ".join(f"\\textbf{{{head}}}" for head in heads)
    return f"\\toprule\n{head} \\\\\n\\midrule", "\n".join(lines)


def _write_notes(table: Table) -> str:
    notes = map(_escape_cell, table.notes)
    return "".join(f"\\par\\smallskip{{\\footnotesize\\raggedright {note}\\par}}\n" for note in notes)


# -- on one page


def _write_float(table: Table) -> str:
    shape = ""
    for index, column in enumerate(table.columns):
        is_wide = any(len(row[index].text) > _PARAGRAPH for row in table.rows)
        text = f">{{\\raggedright\\arraybackslash}}p{{{_PARAGRAPH_CM}cm}}" if is_wide else "l"
        shape += "r" if column.numeric else text
    head, body = _write_body(table, map(_stack_heading, table.columns), _stack_cell)
    # Set in a box first: only a table wider than the text is made smaller.
    return (
        f"\\begin{{table}}[htbp]\n\\centering\\small\n{_write_caption(table)}\\vspace{{1ex}}\n"
        f"\\sbox0{{%\n\\begin{{tabular}}{{@{{}}{shape}@{{}}}}\n{head}\n{body}\n\\bottomrule\n\\end{{tabular}}}}%\n"
        "\\ifdim\\wd0>\\linewidth\\resizebox{\\linewidth}{!}{\\usebox0}\\else\\usebox0\\fi\n"
        f"{_write_notes(table)}\\end{{table}}\n"
    )


def _split_heading(title: str) -> list[str]:
    """One line, or two that part at the blank nearest to the middle."""
    blanks = [index for index, letter in enumerate(title) if letter == " "]
    if len(title) <= 9 or not blanks:
        return [title]
    middle = min(blanks, key=lambda index: abs(2 * index - len(title)))
    return [title[:middle], title[middle + 1 :]]


def _stack_heading(column: Column[Any]) -> str:
    lines = list(map(escape_latex, _split_heading(column.title)))
    side = "r" if column.numeric else "l"
    return lines[0] if len(lines) == 1 else f"\\shortstack[{side}]{{{lines[0]} \\\\ {lines[1]}}}"


def _stack_cell(value: Value, column: Column[Any]) -> str:
    if not value.detail:
        return _write_text(value)
    side = "r" if column.numeric else "l"
    detail = f"\\scriptsize {_escape_cell(value.detail)}"
    return f"\\begin{{tabular}}[t]{{@{{}}{side}@{{}}}}{_write_text(value)}\\\\{detail}\\end{{tabular}}"


def _write_text(value: Value) -> str:
    text = _escape_cell(value.text)
    return f"\\textbf{{{text}}}" if value.bold else text


# -- over several pages


def _narrow_widths(table: Table, widths: Sequence[float], room: float) -> list[float]:
    """Where a page on its side is too narrow for all, columns of text give way: they wrap, numbers don't."""
    spare = [max(0.0, width - 14) for width in widths]
    for index, column in enumerate(table.columns):
        if column.numeric:
            spare[index] = 0.0
    excess = max(0.0, sum(widths) - room)
    share = min(1.0, excess / sum(spare)) if any(spare) else 0.0
    return [width - share * part for width, part in zip(widths, spare, strict=True)]


def _write_longtable(table: Table, widths: Sequence[float], size: str) -> str:
    shape = ""
    for column, width in zip(table.columns, widths, strict=True):
        side = "\\raggedleft" if column.numeric else "\\raggedright"
        share = f"\\dimexpr {0.999 * width / sum(widths):.4f}\\linewidth-2\\tabcolsep\\relax"
        shape += f">{{{side}\\arraybackslash\\hspace{{0pt}}}}p{{{share}}}"
    head, body = _write_body(table, [_escape_cell(column.title) for column in table.columns], _break_cell)
    again = f"\\multicolumn{{{len(table.columns)}}}{{@{{}}l}}{{\\emph{{{escape_latex(table.title)}, continued}}}} \\\\"
    return (
        f"{{\\{size}\\setlength{{\\tabcolsep}}{{2pt}}\\setlength{{\\LTcapwidth}}{{\\linewidth}}\n"
        f"\\begin{{longtable}}{{{shape}}}\n{_write_caption(table)} \\\\\n"
        f"{head}\n\\endfirsthead\n{again}\n{head}\n\\endhead\n\\bottomrule\n\\endfoot\n{body}\n"
        f"\\end{{longtable}}\n{_write_notes(table)}}}\n"
    )


def _break_cell(value: Value, _: Column[Any]) -> str:
    return f"{_write_text(value)}\\newline {_escape_cell(value.detail)}" if value.detail else _write_text(value)


def _escape_cell(text: str) -> str:
    """Text of a table's cell, in which long words break after the marks of a name and, at worst, anywhere."""
    return escape_latex(" ".join(map(_break_word, text.split(" "))))


def _break_word(word: str) -> str:
    if len(word) <= 12:
        return word
    return "\u200b".join(filter(None, re.split(r"(?<=[_/=:(+,.-])|(?<=\w{20})", word)))
