"""The leaderboard: order, ties, costs, and rows that have no rank."""

import json

import pytest

from analysis import synthetic
from analysis.leaderboard import leaderboard, to_markdown, to_text
from analysis.select import Records

BASE = [0.100, 0.110, 0.105, 0.095, 0.102]
CELLS = {
    "baseline": BASE,
    "sire:lambda=0.1": [error - 0.02 - wave for error, wave in zip(BASE, [0.001, 0, -0.001, 0.0005, 0], strict=True)],
    "sire:lambda=1": [error - 0.02 + wave for error, wave in zip(BASE, [0.001, 0.001, -0.001, 0, 0], strict=True)],
    "wide": [0.01, 0.01, None, 0.01, 0.01],
}


@pytest.fixture
def records() -> Records:
    return synthetic.study(CELLS)


def test_order_and_bold(records: Records) -> None:
    rows = leaderboard(records)
    assert [(row["rank"], row["label"]) for row in rows] == [
        (1, "sire (lambda=0.1)"),
        (2, "sire (lambda=1)"),
        (3, "baseline"),
        (None, "wide"),
    ]
    assert [row["bold"] for row in rows] == [True, True, False, False]


def test_numbers(records: Records) -> None:
    row = next(row for row in leaderboard(records) if row["variant"] == "baseline")
    assert row["mean_error"] == pytest.approx(sum(BASE) / 5)
    deviation = (sum((error - sum(BASE) / 5) ** 2 for error in BASE) / 4) ** 0.5
    assert row["interval"] == pytest.approx(2.776445 * deviation / 5**0.5, rel=1e-6)
    assert (row["parameters"], row["macs"], row["inference_macs"]) == (1_000_000, 40_000_000, 40_000_000)
    assert row["verdict"] == "baseline"


def test_unequal_sets_have_no_mean(records: Records) -> None:
    row = leaderboard(records)[-1]
    assert (row["mean_error"], row["seeds"], row["verdict"]) == (None, 4, "NOT COMPARABLE")


def test_rows_are_json(records: Records) -> None:
    assert json.loads(json.dumps(leaderboard(records), allow_nan=False)) == leaderboard(records)


def test_fewer_than_three_seeds_leave_nothing_bold() -> None:
    rows = leaderboard(synthetic.study({"baseline": BASE[:2], "sire": [0.05, 0.06]}))
    assert not any(row["bold"] for row in rows)
    assert all(row["interval"] is None for row in rows)


def test_texts_show_costs_profile_and_reasons() -> None:
    study = synthetic.study(CELLS, profile="smoke")
    for text in (to_text(study), to_markdown(study)):
        assert "profile: smoke" in text
        assert "1 of 5 seeds diverged (2)" in text
        assert "1.1 M" in text and "40 M" in text


def test_text_fits_a_terminal() -> None:
    long = {name + ":" + "components=IRe, decoders=1+4" if name != "baseline" else name: CELLS[name] for name in CELLS}
    study = synthetic.study(
        {key: value for key, value in long.items() if "wide" not in key}, backbone="timm:" + "r" * 40
    )
    assert max(map(len, to_text(study).splitlines())) <= 118


def test_markdown_escapes_names() -> None:
    text = to_markdown(synthetic.study({"baseline": BASE, "<b>a|b*": BASE}))
    assert "<b>" not in text and "a\\|b\\*" in text


def test_every_dataset_has_its_board() -> None:
    rows = synthetic.trial_rows(CELLS, "a") + synthetic.trial_rows(CELLS, "b")
    cells = [synthetic.cell_of(cell, name, "cnn") for name in ("a", "b") for cell in CELLS]
    board = leaderboard(synthetic.records(rows, cells, seeds=5))
    assert [row["rank"] for row in board] == [1, 2, 3, None] * 2


def test_a_cell_that_diverged_still_shows_its_costs() -> None:
    row = leaderboard(synthetic.study({"baseline": BASE, "wide": [None] * 5}))[-1]
    assert (row["parameters"], row["macs"], row["inference_macs"]) == (1_100_000, 44_000_000, 40_000_000)
    assert row["train_seconds"] == 12.5
