"""What our gain says of a printed one, in a word, and what each word means.

A printed gain is taken for the difference of two single runs that scatter as ours do, since the papers hardly say how
far theirs do: it is ours again where it lies within their prediction interval around ours, or within the ROPE of ours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from analysis import formatting
from analysis.published.tables import PublishedTable
from analysis.records.model import CellResults, Records
from analysis.stats.paired import LEAST
from analysis.verdicts.cell_reasons import find_unlearned
from suite.core.records import FINISHED
from suite.core.specs import BASELINE


@dataclass(frozen=True, kw_only=True)
class Gain:
    """Our gain over our reference: fractions, positive where the variant is better; None: not known.

    Attributes:
        ruling: a verdict's, in lower case.
        predicted: half-width of the interval around it in which a printed gain, of single runs, is expected.
    """

    ruling: str
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    predicted: float = 0.0
    reason: str = ""


def describe_collapse(cell: CellResults) -> str:
    """Of a row that the paper prints as collapsed: whether ours collapsed too, whatever form it takes."""
    diverged = bool(cell.confirm) and all(trial.status == "diverged" for trial in cell.confirm)
    if diverged or find_unlearned(cell, cell.label)[1]:
        return "reproduced: collapsed"
    completed = [trial for trial in cell.confirm if trial.status in FINISHED]
    return "contradicted: did not collapse" if completed else "not run"


def describe_outcome(table: PublishedTable, gain: Gain | None, published: float | None, rope: float) -> str:
    """What our gain says of the printed one (percentage points). No correction for many where no verdict gave it."""
    is_over_baseline = table.reference.name == BASELINE
    if gain is None:
        return BASELINE if is_over_baseline else "reference"
    outcome = _compare_gains(gain, published, rope)
    if table.not_comparable and outcome in _OF_UNEQUAL_ROWS:
        outcome = _OF_UNEQUAL_ROWS[outcome]
    if is_over_baseline or gain.ruling in {"single run", "not comparable"}:
        return outcome
    return f"{outcome}{_UNADJUSTED}"


# Printed rows that aren't comparable with each other have no gain that could be reproduced.
_SAME_DIRECTION = "same direction, printed rows not comparable"
_OTHER_DIRECTION = "other direction, printed rows not comparable"
_ONLY_OURS = "equivalent, printed rows not comparable"
_OF_UNEQUAL_ROWS = {
    "reproduced": _SAME_DIRECTION,
    "direction only": _SAME_DIRECTION,
    "contradicted": _OTHER_DIRECTION,
    "reproduced: equivalent": _ONLY_OURS,
    "contradicted: equivalent": _ONLY_OURS,
    "equivalent, printed gain within scatter": _ONLY_OURS,
}


def _compare_gains(gain: Gain, published: float | None, rope: float) -> str:
    if gain.ruling == "equivalent" and published is not None:
        return _compare_equivalent(gain, published, rope)
    if gain.ruling not in {"helps", "hurts"}:
        return gain.ruling
    if published is None:
        return f"{gain.ruling}; no printed gain"
    assert gain.mean is not None
    if published * gain.mean <= 0:
        return "contradicted"
    if _is_near(gain, published, max(gain.predicted, rope)):
        return "reproduced"
    return "direction only"


def _compare_equivalent(gain: Gain, published: float, rope: float) -> str:
    """Ours is shown to be too small to matter: whether the printed gain is, and if not, whether chance explains it."""
    if round(abs(published), 9) <= 100 * rope:
        return "reproduced: equivalent"
    if _is_near(gain, published, gain.predicted):
        return "equivalent, printed gain within scatter"
    return "contradicted: equivalent"


def _is_near(gain: Gain, published: float, reach: float) -> bool:
    """Whether the printed gain (percentage points) is no further from ours than `reach` (a fraction)."""
    assert gain.mean is not None
    return round(abs(published - 100 * gain.mean), 9) <= 100 * reach


# -- what the outcomes mean


_UNADJUSTED = ", unadjusted"
_MEANINGS = {
    "reproduced": (
        "our gain is significant, and the printed one lies within its {level} prediction interval for single runs, "
        "which are taken to scatter as ours do, or within the ROPE (±{rope} pp) of it"
    ),
    "direction only": (
        "our gain is significant and has the printed one's sign, but the printed one lies outside both the prediction "
        "interval of single runs around ours and the ROPE (±{rope} pp)"
    ),
    "contradicted": "our gain is significant and has the other sign",
    "reproduced: equivalent": "our gain is shown to be within the ROPE (±{rope} pp), and the printed one is too",
    "equivalent, printed gain within scatter": (
        "our gain is shown to be within the ROPE (±{rope} pp); the printed one is not, but two single runs of equal "
        "networks differ as much by chance"
    ),
    "contradicted: equivalent": (
        "our gain is shown to be within the ROPE (±{rope} pp); the printed one lies beyond it, and beyond what single "
        "runs differ by"
    ),
    "equivalent": "our gain is shown to be within the ROPE (±{rope} pp); none is printed",
    "reproduced: collapsed": (
        "the printed run did not converge, and ours all diverged or, on average, did no better than the commonest class"
    ),
    "contradicted: did not collapse": "the printed run did not converge, and ours did",
    _SAME_DIRECTION: (
        "our gain is significant and has the printed one's sign; the printed rows differ in more than the method, so "
        "there is no gain to reproduce"
    ),
    _OTHER_DIRECTION: (
        "our gain is significant and has the other sign than the printed one; the printed rows differ in more than the "
        "method, so there is no gain to contradict"
    ),
    _ONLY_OURS: (
        "our gain is shown to be within the ROPE (±{rope} pp); the printed rows differ in more than the method, so "
        "there is no gain to reproduce"
    ),
    "not enough evidence": "our seeds don't tell whether the variant helps or hurts, whatever is printed",
    "helps; no printed gain": "our gain is significant, and none is printed",
    "hurts; no printed gain": "our loss is significant, and none is printed",
    "single run": "fewer than {least} seeds of ours, too few for a test",
    "not comparable": "our two sides were not trained alike, or lack seeds: the row's note says what",
    BASELINE: "what gains are over; an error by itself has no outcome",
    "reference": "what gains are over; an error by itself has no outcome",
    "not run": "no cell of this study is the row's, or its confirm trials have not ended",
    "not implemented here": "nothing here corresponds to the row",
}


def explain_outcomes(table: PublishedTable, outcomes: Sequence[str], records: Records) -> list[str]:
    """A sentence per outcome of the table's rows, in the order of their first appearance, and one on rows of means."""
    words = dict.fromkeys(outcome.removesuffix(_UNADJUSTED) for outcome in outcomes)
    figures = {
        "level": formatting.format_level(records.alpha),
        "rope": formatting.format_size(records.rope),
        "least": LEAST,
    }
    sentences = [f"{outcome}: {_MEANINGS[outcome].format(**figures)}." for outcome in words]
    if any(printed.mean for printed in table.rows):
        sentences.append(
            "Rows of means: ours is the mean over the table's rows of the variant, and our gain the mean of their "
            "paired differences, each over the seeds that all of these rows have."
        )
    return sentences
