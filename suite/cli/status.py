"""`graftbench status`: how far a study is, once or again and again; imports nothing heavy."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from suite.cli.console import escape, make_console, print_result
from suite.core.errors import UserError
from suite.core.records import FINISHED

if TYPE_CHECKING:
    from rich.table import Table

    from suite.study.plan import Plan

_ROWS = 60  # cells that are listed, where there are more
_SHOWN = 20  # running and failed trials that are listed

State = Mapping[str, Any]
Reader = Callable[[], dict[str, Any]]


def answer_at_once(arguments: Sequence[str]) -> bool:
    """Answers `status STUDY [--profile NAME] [--json]` of a study that a run has noted; False: nothing was printed.

    The command line is not even built for that: typer and pydantic take longer to import than a storage to read.
    """
    study, profile, as_json = "", "", False
    words = iter(arguments)
    for word in words:
        if word == "--json":
            as_json = True
        elif word == "--profile":
            profile = next(words, "")
        elif word.startswith("-") or study:
            return False
        else:
            study = word
    read = find_reader(Path(study), profile)
    if read is None:
        return False
    state = read()
    print_result(as_json, state, format_state(state))
    return True


def find_reader(study: Path, profile: str) -> Reader | None:
    """What reads a study's state from what its last run noted; None where that says too little."""
    from suite.study.study_files import digest_study, find_storage
    from suite.sweep.journal import read_plan
    from suite.sweep.status import read_state

    try:
        storage = find_storage(study, profile)
        plan = storage and read_plan(storage, digest_study(study, profile))
    except UserError:  # the command line says so in its own words
        return None
    if not storage or not plan:
        return None
    return lambda: read_state(storage, plan)


def make_reader(plan: Plan) -> Reader:
    """What reads a study's state by its checked plan."""
    from suite.sweep.journal import describe_plan
    from suite.sweep.status import read_state
    from suite.sweep.storage import StudyStorage

    StudyStorage(plan.study).check_study()
    described = describe_plan(plan)
    return lambda: read_state(plan.study.storage_path, described)


def watch_states(read: Reader, every: float) -> None:
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
    if not trial["epochs"]:
        return f"before its first epoch of {trial['budget']}"
    return (
        f"epoch {trial['epochs']} of {trial['budget']}, validation error {100 * trial['validation_top1_error']:.2f} %"
    )


def _count_hidden(trials: Sequence[Any], what: str) -> Iterator[str]:
    if len(trials) > _SHOWN:
        yield f"and {len(trials) - _SHOWN} more {what} (all of them with --json)"
