"""`graftbench status`: how far a study is, once or again and again; imports nothing heavy."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from suite.cli.common import StudyFile, build_checked_plan
from suite.cli.console import DEFAULT_DATA, Data, Json, Profile, escape, make_console, print_result
from suite.core.errors import UserError
from suite.core.records import FINISHED

if TYPE_CHECKING:
    from rich.table import Table

_ROWS = 60  # cells that are listed, where there are more
_SHOWN = 20  # running and failed trials that are listed
_EVERY = 2.0  # seconds

State = Mapping[str, Any]
Watch = Annotated[bool, typer.Option("--watch", help="Show it again and again, until the run ends or Ctrl-C.")]
Every = Annotated[float | None, typer.Option(min=0.1, help="Seconds between two looks of --watch; default: 2.")]


def status(
    study: StudyFile,
    profile: Profile = "",
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
    watch: Watch = False,
    every: Every = None,
) -> None:
    """Show how far a study is: its cells, what runs and what failed. Reads the storage only; safe during a run."""
    if watch and as_json:
        raise UserError("--watch and --json contradict each other: leave one out")
    if every is not None and not watch:
        raise UserError("--every: belongs to --watch; add it, or leave --every out")
    read = _find_reader(study, profile, data)
    if watch:
        _watch_states(read, every or _EVERY)
    else:
        state = read()
        print_result(as_json, state, format_state(state))


def _find_reader(study: Path, profile: str, data: Path) -> Callable[[], dict[str, Any]]:
    """What reads the study's state: from what its last run noted, else from its plan, which is checked for it."""
    from suite.study.study_files import digest_study, find_storage
    from suite.sweep.journal import describe_plan, read_plan
    from suite.sweep.status import read_state

    storage, source = find_storage(study, profile), digest_study(study, profile)
    if storage is not None:
        noted = read_plan(storage, source)
        if noted is not None:
            return lambda: read_state(storage, read_plan(storage, source) or noted)
    plan = build_checked_plan(study, data, profile)
    from suite.sweep.storage import StudyStorage

    StudyStorage(plan.study).check_study()
    described = describe_plan(plan)
    return lambda: read_state(plan.study.storage_path, described)


def _watch_states(read: Callable[[], dict[str, Any]], every: float) -> None:
    """On a terminal one page that changes; in a log a line per look, and the page at the end."""
    from rich.console import Group
    from rich.live import Live

    console = make_console()
    live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
    state = read()
    try:
        with live or contextlib.nullcontext() as page:
            while state["active"]:
                if page:
                    page.update(Group(*format_state(state)), refresh=True)
                else:
                    console.print(_summarise_state(state), soft_wrap=True)
                time.sleep(every)
                state = read()
    except KeyboardInterrupt:  # the usual way to stop looking
        pass
    print_result(False, state, format_state(state))


# -- for a terminal


def format_state(state: State) -> Iterator[Table | str]:
    cells, hidden = _choose_cells(state["cells"])
    yield _build_table(state, cells)
    yield from hidden
    yield _summarise_state(state)
    for trial in state["running"][:_SHOWN]:
        yield f"running {_name_trial(trial)}: {_format_epoch(trial)}"
    yield from _count_hidden(state["running"], "running")
    for trial in state["failures"][:_SHOWN]:
        yield f"[red]failed[/] {_name_trial(trial)}: {escape(trial['reason'])} ({trial['key']})"
    yield from _count_hidden(state["failures"], "failed")


def _choose_cells(cells: Sequence[State]) -> tuple[Sequence[State], list[str]]:
    """The cells that are shown: all, or of very many those that are under way; and a line on the others."""
    if len(cells) <= _ROWS:
        return cells, []
    shown, finished, waiting, refused = [], 0, 0, 0
    for cell in cells:
        ended = sum(cell[stage].get(status, 0) for stage in ("search", "confirm") for status in FINISHED)
        if cell["refused"]:
            refused += 1
        elif ended >= cell["planned"]:
            finished += 1
        elif not cell["search"] and not cell["confirm"]:
            waiting += 1
        else:
            shown.append(cell)
    line = f"{len(shown)} of {len(cells)} cells are under way"
    if len(shown) > _ROWS:
        line += f" ({_ROWS} of them above)"
    return shown[:_ROWS], [f"{line}; {finished} are finished, {waiting} not begun, {refused} refused (all with --json)"]


def _build_table(state: State, cells: Sequence[State]) -> Table:
    from rich.table import Table

    table = Table(title=escape(f"{state['study']} in {state['storage']}"), title_justify="left", header_style="bold")
    for name in ("dataset", "backbone", "variant", "search", "confirm"):
        table.add_column(name, overflow="fold")
    for cell in cells:
        names = (escape(cell["dataset"]), escape(cell["backbone"]), escape(cell["variant"]))
        if cell["refused"]:
            table.add_row(*names, "refused", escape(cell["refused"]))
        else:
            table.add_row(*names, _format_counts(cell["search"]), _format_counts(cell["confirm"]))
    return table


def _format_counts(by_status: Mapping[str, int]) -> str:
    return ", ".join(f"{number} {status}" for status, number in by_status.items()) or "none yet"


def _summarise_state(state: State) -> str:
    from suite.sweep.status import format_duration

    text = f"{state['finished']} of {state['trials']} trials finished"
    if not state["active"]:
        return f"{text}; no run is at work"
    if state["run"] is None:
        return f"{text}; {len(state['running'])} running"
    text += f"; {state['run']['busy']} of {state['run']['slots']} workers busy"
    if state["trials_per_hour"] is not None:
        text += f", {state['trials_per_hour']:.3g} trials an hour"
    if state["seconds_left"] is None:
        return f"{text}, time left not known yet"
    return f"{text}, about {format_duration(state['seconds_left'])} left (estimate)"


def _name_trial(trial: Mapping[str, Any]) -> str:
    return escape(f"{trial['cell']}, {trial['stage']} {trial['seed']}")


def _format_epoch(trial: Mapping[str, Any]) -> str:
    if trial["epoch"] is None:
        return f"before its first epoch of {trial['budget']}"
    return f"epoch {trial['epoch']} of {trial['budget']}, validation error {100 * trial['validation_top1_error']:.2f} %"


def _count_hidden(trials: Sequence[Any], what: str) -> Iterator[str]:
    if len(trials) > _SHOWN:
        yield f"and {len(trials) - _SHOWN} more {what} (all of them with --json)"
