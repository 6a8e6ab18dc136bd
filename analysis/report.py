"""One self-contained HTML page per study: the verdicts in plain English first, then what they rest on."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup

from analysis import audit, figures, formats, leaderboard
from analysis.select import CellResults, Group, Records, groups, load, records_of
from analysis.verdicts import Ruling, Verdict, judge, tally
from suite.records import STATUSES, Record

_LEADS: dict[Ruling, str] = {
    "HELPS": "helps",
    "HURTS": "hurts",
    "EQUIVALENT": "is equivalent to its baseline",
    "NOT ENOUGH EVIDENCE": "is not decided: not enough evidence",
    "SINGLE RUN": "is not decided: single run",
    "NOT COMPARABLE": "can't be compared with its baseline",
}
_SECTIONS: tuple[tuple[str, tuple[Ruling, ...]], ...] = (
    ("What helps", ("HELPS",)),
    ("What hurts", ("HURTS",)),
    ("What is equivalent to its baseline", ("EQUIVALENT",)),
    ("What is not known", ("NOT ENOUGH EVIDENCE", "SINGLE RUN", "NOT COMPARABLE")),
)
_PROVENANCE = ("git_commit", "dirty", "versions", "device", "device_kind", "host")


def write_report(records_dir: Path, out: Path) -> Path:
    """Write `report.html` and `leaderboard.md` into the folder `out` (made if missing); returns the page's path.

    Raises:
        FileNotFoundError, ValueError: the records are missing or no records (see `analysis.select.load`).
    """
    records = load(records_dir)
    out.mkdir(parents=True, exist_ok=True)
    _replace(out / "leaderboard.md", leaderboard.to_markdown(records))
    return _replace(out / "report.html", render(records))


def _replace(path: Path, text: str) -> Path:
    temporary = path.with_name(f".{path.name}.part")
    temporary.write_text(text, encoding="utf-8")
    return temporary.replace(path)


def render(records: Records) -> str:
    """The page. Every name and sentence is escaped by Jinja2; the figures escape their own text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("analysis", "."),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters.update({"p_value": formats.p_value, "points": formats.points, "interval": formats.interval})
    arranged, verdicts = groups(records), judge(records)
    return environment.get_template("report.html.j2").render(
        study=records.study,
        headline=headline(verdicts),
        sections=[(name, _sentences(verdicts, rulings)) for name, rulings in _SECTIONS],
        verdicts=verdicts,
        family=sum(cell.in_family for group in arranged for cell in group.cells),
        alpha=records.alpha,
        confidence=formats.level(records.alpha),
        rope=formats.size(records.rope),
        caption=leaderboard.caption(records),
        boards=_boards(records, verdicts),
        forest=Markup(figures.forest(records, verdicts)) if verdicts else "",
        curves=[Markup(svg) for group in arranged for svg in figures.learning_curves(records, group)],
        audits=[_audit(group) for group in arranged],
        statuses=_statuses(records),
        losses=_losses(records),
        searches=_searches(arranged),
        provenance=_provenance(records),
        plan=json.dumps(dict(records.study), indent=1),
    )


def headline(verdicts: Sequence[Verdict]) -> str:
    """`Of 5 cells 1 helps, 1 hurts, 3 are not decided.`"""
    if not verdicts:
        return "No variant was compared with a baseline."
    counted = tally(verdicts)
    unknown = sum(counted.get(ruling, 0) for ruling in ("NOT ENOUGH EVIDENCE", "SINGLE RUN"))
    parts = [
        (counted.get("HELPS", 0), "helps", "help"),
        (counted.get("HURTS", 0), "hurts", "hurt"),
        (counted.get("EQUIVALENT", 0), "is equivalent to its baseline", "are equivalent to their baseline"),
        (unknown, "is not decided", "are not decided"),
        (counted.get("NOT COMPARABLE", 0), "can't be compared", "can't be compared"),
    ]
    told = ", ".join(f"{number} {one if number == 1 else many}" for number, one, many in parts if number)
    return f"Of {formats.plural(len(verdicts), 'comparison')} with a baseline, {told}."


def _sentences(verdicts: Sequence[Verdict], rulings: Sequence[Ruling]) -> list[dict[str, Any]]:
    ordered = [one for ruling in rulings for one in verdicts if one.verdict == ruling]
    return [{"verdict": one, "lead": _LEADS[one.verdict]} for one in ordered]


def _boards(records: Records, verdicts: Sequence[Verdict]) -> dict[str, list[dict[str, Any]]]:
    boards: dict[str, list[dict[str, Any]]] = {}
    for row in leaderboard.leaderboard(records, verdicts):
        shown = row | {
            "error": leaderboard.error_text(row),
            "gain": formats.points(row["difference"]),
            "between": formats.interval(row["ci_low"], row["ci_high"]) if row["ci_low"] is not None else "",
            "seed_count": leaderboard.seeds_text(row),
            "parameters": formats.count(row["parameters"]),
            "macs": formats.count(row["macs"]),
            "inference_macs": formats.count(row["inference_macs"]),
            "seconds": formats.seconds(row["train_seconds"]),
        }
        boards.setdefault(row["dataset"], []).append(shown)
    return boards


def _audit(group: Group) -> dict[str, Any]:
    """What all cells of a group share, once; a column for each thing that they don't, marked against the baseline."""
    given = {cell.label: audit.table(cell) for cell in group.cells if not cell.refused}
    reference = audit.table(group.baseline) if group.baseline else {}
    names = list(next(iter(given.values()), {}))
    differing = [name for name in names if len({own[name] for own in given.values()}) > 1]
    rows = [
        {
            "label": label,
            "values": [(own[name], bool(reference) and own[name] != reference[name]) for name in differing],
        }
        for label, own in given.items()
    ]
    same = [(name, next(iter(given.values()))[name]) for name in names if name not in differing]
    return {"name": f"{group.dataset} / {group.backbone}", "same": same, "columns": differing, "rows": rows}


def _statuses(records: Records) -> list[dict[str, Any]]:
    """Trials by stage and status."""
    trials = records.trials
    known = [*STATUSES, *sorted(set(trials["status"]) - set(STATUSES))]
    return [
        {"status": status, "meaning": STATUSES.get(status, "not finished: interrupted, or still running")}
        | {
            stage: int(((trials["stage"] == stage) & (trials["status"] == status)).sum())
            for stage in ("search", "confirm")
        }
        for status in known
    ]


def _losses(records: Records) -> list[dict[str, Any]]:
    """Every trial that left no result, every planned confirm seed without a trial, every superseded row."""
    losses = [
        _loss(trial, trial.status, trial.reason)
        for trial in records_of(records.trials)
        if trial.status not in ("completed", "stopped")
    ]
    for group in groups(records):
        for cell in group.cells:
            losses += _never_ran(cell)
    superseded = records_of(records.superseded)
    return losses + [_loss(trial, "superseded", "run under an earlier protocol of this study") for trial in superseded]


def _never_ran(cell: CellResults) -> list[dict[str, Any]]:
    if cell.refused:
        return [{"cell": _place(cell), "stage": "", "seed": "", "status": "refused", "reason": cell.refused, "key": ""}]
    seen = cell.by_seed()
    seeds = [seed for seed in cell.expected if seed not in seen]
    lost = []
    if seeds:
        ran = {"cell": _place(cell), "status": "missing", "reason": "planned, but no trial was recorded", "key": ""}
        lost.append(ran | {"stage": "confirm", "seed": formats.ranges(seeds)})
    short = cell.searches - len(cell.search)
    if short > 0:
        ran = {"cell": _place(cell), "status": "missing", "reason": f"{short} of {cell.searches} planned", "key": ""}
        lost.append(ran | {"stage": "search", "seed": ""})
    return lost


def _place(cell: CellResults) -> str:
    return f"{cell.dataset} / {cell.backbone} / {cell.label}"


def _loss(trial: Record, status: str, reason: str) -> dict[str, Any]:
    variant = f"{trial.variant} ({trial.settings})" if trial.settings else trial.variant
    seed = "" if trial.seed is None else str(trial.seed)
    place = f"{trial.dataset} / {trial.backbone} / {variant}" if trial.dataset else "unknown"
    return {
        "cell": place,
        "stage": trial.stage,
        "seed": seed,
        "status": status,
        "reason": reason,
        "key": trial.trial_key,
    }


def _searches(arranged: Sequence[Group]) -> list[dict[str, Any]]:
    """Per cell: its search trials by status, what its confirm trials ran with, and the error of that in the search."""
    rows = []
    for cell in (cell for group in arranged for cell in group.cells if cell.search):
        counted = Counter(str(trial.status) for trial in cell.search)
        chosen = {trial.hyperparameters for trial in cell.confirm}
        found = [
            trial.validation_top1_error
            for trial in cell.search
            if trial.status == "completed" and trial.hyperparameters in chosen
        ]
        rows.append(
            {
                "cell": _place(cell),
                "statuses": ", ".join(f"{number} {status}" for status, number in sorted(counted.items())),
                "chosen": "; ".join(sorted(text or "defaults" for text in chosen)) or formats.NONE,
                "error": formats.percent(min((error for error in found if error is not None), default=None)),
            }
        )
    return rows


def _provenance(records: Records) -> list[tuple[str, list[str]]]:
    """What ran it, each distinct value once."""
    trials = records.trials
    facts = [(name.replace("_", " "), sorted({str(value) for value in trials[name]} - {""})) for name in _PROVENANCE]
    for name, pick in (("started", min), ("ended", max)):
        if name in trials and trials[name].notna().any():
            moment = datetime.fromtimestamp(pick(trials[name].dropna()) / 1000, UTC)
            facts.append((f"{'first trial' if pick is min else 'last trial'} {name}", [f"{moment:%Y-%m-%d %H:%M} UTC"]))
    seconds = pd.to_numeric(trials["train_seconds"]).sum()
    facts.append(("training time, all trials", [f"{seconds / 3600:.2f} h"]))
    return [(name, values or [formats.NONE]) for name, values in facts]


def main(arguments: list[str] | None = None) -> int:
    """`python -m analysis.report`."""
    parser = argparse.ArgumentParser(prog="python -m analysis.report", description="The report of a study, as HTML.")
    parser.add_argument("records", type=Path, help="folder that analysis.collect wrote")
    parser.add_argument("--out", type=Path, required=True, help="folder to write report.html and leaderboard.md into")
    options = parser.parse_args(arguments)
    sys.stdout.write(f"{write_report(options.records, options.out)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
