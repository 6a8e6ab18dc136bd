"""What a study will take, for `plan`; and what it took beside what was foretold, for `run`."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from analysis.formatting import format_plural
from suite.cli.console import escape, make_console, make_table

if TYPE_CHECKING:
    import torch
    from rich.table import Table

    from suite.core.specs import Cell
    from suite.price.costs import NetworkTiming
    from suite.price.price import DeviceKind, Infos, Price
    from suite.study.plan import Plan
    from suite.sweep.run import Outcome

_OLD = 86_400  # seconds after which a timing says its age
_MUCH = 10e9  # bytes of weights that a word on leaving them out is worth
_UNITS: dict[DeviceKind, str] = {"cpu": "CPU", "cuda": "GPU"}


def choose_source(plan: Plan, data: Path, device: str | None) -> Callable[[], Price]:
    """What finds the price of what is left.

    Args:
        device: to time the plan's networks on; None: by what is known already.

    Raises:
        UserError: there is no such device.
    """
    if device is None:
        return lambda: foretell_prices(plan, data)[0]
    from suite.price.probe import choose_device

    return functools.partial(_probe_price, plan, data, choose_device(plan, device))


def foretell_prices(plan: Plan, data: Path, *, is_alone: bool = False) -> list[Price]:
    """The price of what is left by what is known already, one per device, the best known first; reads files alone.

    Where nothing is known it is one without hours.

    Args:
        is_alone: whether trials will run one at a time.
    """
    from suite.price.price import count_left, price_plan
    from suite.price.sources import find_costs

    left, infos = count_left(plan), _read_infos(plan, data)
    prices = []
    if any(map(any, left.values())):
        for device, costs in find_costs(plan, infos, is_alone=is_alone).items():
            prices.append(price_plan(plan, left, infos, device, costs))
    return prices or [price_plan(plan, left, infos)]


def _probe_price(plan: Plan, data: Path, device: torch.device) -> Price:
    """The price of what is left by timing its networks now; stderr hears what it does."""
    from suite.price.bench import STEPS
    from suite.price.price import KnownCost, count_left, price_plan
    from suite.price.probe import Probe
    from suite.price.sources import cost_kept

    left, infos, console = count_left(plan), _read_infos(plan, data), make_console(stderr=True)
    wanted = [planned for planned, trials in left.items() if any(trials)]
    if not wanted:
        return price_plan(plan, left, infos)
    probe = Probe(plan, wanted, data, device)
    networks = format_plural(len(probe.networks), "network")
    console.print(escape(f"timing {networks} on {probe.device.name}: {STEPS} steps and an evaluation each"))
    for planned, kept in probe.time_networks():
        console.print(escape(f"  {planned.cell.label}: {_describe_timing(kept.timing, STEPS)}"))
    crowd = probe.time_crowd(sum(map(sum, left.values())))
    if crowd:
        label = crowd.planned.cell.label
        console.print(
            escape(f"  {label}: a step takes {crowd.factor:.1f} times as long beside {crowd.slots - 1} of the same")
        )
    costs: dict[Cell, KnownCost] = {}
    for network, cells in probe.networks.items():
        for planned in cells:
            costs[planned.cell] = cost_kept(plan, planned, probe.timings[network], infos)
    return price_plan(plan, left, infos, probe.device, costs)


def _read_infos(plan: Plan, data: Path) -> Infos:
    """What is known of the plan's datasets, by component."""
    from suite.study.checked_plans import open_datasets

    return {dataset.component: dataset.info for dataset in open_datasets(plan, data)}


def _describe_timing(timing: NetworkTiming, usual: int) -> str:
    text = f"{1 / timing.train_image:,.0f} images/s trained, {1 / timing.evaluated_image:,.0f} evaluated"
    return text if timing.steps >= usual else f"{text}; slow, so {timing.steps} steps were timed"


# -- as programs and people read it


def price_as_dict(price: Price, devices: int | None) -> dict[str, Any]:
    """For `plan --json`; hours are null where nothing is known of the time."""
    from suite.price.price import count_here

    kind = price.device.kind if price.device else None
    here = devices or (count_here(kind) if kind else None)
    groups = []
    for group in price.groups:
        row = {"dataset": group.dataset, "backbone": group.backbone, "trials": group.trials}
        row |= _hours_as_dict(price, group.seconds, group.search_seconds)
        groups.append({**row, "bytes": round(group.disk), "weight_bytes": round(group.weights)})
    return {
        "trials": price.trials,
        "device": price.device.name if price.device else None,
        "device_kind": kind,
        "source": _source_as_dict(price),
        "upper_bound": price.is_upper_bound,
        **_hours_as_dict(price, price.seconds, price.search_seconds),
        "devices": here,
        "wall_hours": price.compute_wall_seconds(here) / 3600 if here else None,
        "bytes": round(price.disk),
        "weight_bytes": round(price.weights),
        "groups": groups,
    }


def _hours_as_dict(price: Price, seconds: float, search_seconds: float) -> dict[str, float | None]:
    if price.device is None:
        return {"device_hours": None, "search_device_hours": None}
    compute = price.compute_device_hours
    return {"device_hours": compute(seconds), "search_device_hours": compute(search_seconds)}


def _source_as_dict(price: Price) -> dict[str, int]:
    """How many cells were timed, for how many trials at once; how many trials others are from; how many were scaled."""
    return {
        "timed_cells": sum(known.timed > 0 for known in price.known),
        "earlier_trials": sum(known.trials for known in price.known),
        "scaled_cells": sum(known.is_scaled for known in price.known),
        "trials_at_once": max((known.slots for known in price.known), default=1),
    }


def price_lines(price: Price, devices: int | None) -> Iterator[Table | str]:
    """The price for a terminal."""
    from suite.price.price import count_here

    if not price.trials:
        yield "price: nothing is left to train"
        return
    if price.device is None:
        yield f"price: about {format_bytes(price.disk)} of disk; hours are not known yet, `--probe` would tell"
        return
    unit, kind = f"{_UNITS[price.device.kind]}-hours", price.device.kind
    trials = "1 trial" if price.trials == 1 else f"{price.trials:,} trials"
    yield f"[bold]price[/] of the {trials} left, {escape(_describe_source(price))}"
    yield _make_price_table(price, unit)
    if price.is_upper_bound:
        hours = format_hours(price.compute_device_hours(price.search_seconds))
        yield f"at most: {hours} of these {unit} are searches, of which ASHA stops trials early"
    yield from _wall_lines(price, devices or count_here(kind))
    yield from _note_lines(price)


def _describe_source(price: Price) -> str:
    """`timed on AMD EPYC`, `from 47 earlier trials on AMD EPYC`, or both."""
    assert price.device is not None
    counts, timed = _source_as_dict(price), [known.timed for known in price.known if known.timed]
    parts = []
    if counts["earlier_trials"]:
        parts.append(f"from {format_plural(counts['earlier_trials'], 'earlier trial')}")
    if timed:
        parts.append(f"timed{_format_age(min(timed))}")
    text = f"{' and '.join(parts)} on {price.device.name}"
    if counts["trials_at_once"] > 1:
        text += f", {counts['trials_at_once']} trials at once"
    if price.occupied != 1:
        text += f", {price.occupied:g} {_UNITS[price.device.kind]}s a trial"
    if counts["scaled_cells"]:
        text += f"; {format_plural(counts['scaled_cells'], 'cell')} by the MACs of others"
    return text


def _format_age(made: float) -> str:
    from suite.sweep.status import format_duration

    age = time.time() - made
    return f" {format_duration(age)} ago" if age > _OLD else ""


def _make_price_table(price: Price, unit: str) -> Table:
    table = make_table("dataset", "backbone", "trials", unit, "disk", right=("trials", unit, "disk"))
    for group in price.groups:
        hours = format_hours(price.compute_device_hours(group.seconds))
        labels = (escape(group.dataset), escape(group.backbone))
        table.add_row(*labels, f"{group.trials:,}", hours, format_bytes(group.disk))
    if len(price.groups) > 1:
        total = format_hours(price.compute_device_hours(price.seconds))
        table.add_row("[bold]all[/]", "", f"{price.trials:,}", total, format_bytes(price.disk))
    return table


def _wall_lines(price: Price, devices: int) -> Iterator[str]:
    from suite.sweep.status import format_duration

    assert price.device is not None
    wall = price.compute_wall_seconds(devices)
    places = format_plural(devices, _UNITS[price.device.kind])
    text = f"wall time on {places}: {format_duration(wall)}"
    if wall <= price.longest:
        text += ", that of a search trial and a confirm trial after it: more would not shorten it"
    yield text


def _note_lines(price: Price) -> Iterator[str]:
    """What the figures leave out."""
    if price.weights > _MUCH:
        yield f"{format_bytes(price.weights)} of the disk are the best weights of each trial; `keep: none` leaves none"
    if price.occupied < 1 and any(known.timed and known.slots == 1 for known in price.known):
        yield "[yellow]note[/] trials share a device; timed alone, a network takes longer beside others"
    if price.streamed:
        names = ", ".join(price.streamed)
        yield f"[yellow]note[/] {escape(names)}: images are decoded while training, which no probe times"


def format_hours(hours: float) -> str:
    """`1,240`, `85`, `3.2`, `0.16`: two digits, or all before the point."""
    if hours >= 10:
        return f"{hours:,.0f}"
    return f"{hours:#.2g}" if hours >= 0.001 else "0.001"


def format_bytes(size: float) -> str:
    """`71 MB`, `5.9 TB`: two digits, or all before the point."""
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 999.5:
            return f"{size:.0f} {unit}" if size >= 9.95 else f"{size:.1f} {unit}"
    size /= 1000
    return f"{size:,.0f} TB" if size >= 9.95 else f"{size:.1f} TB"


# -- after a run


def compare_lines(prices: Sequence[Price], outcome: Outcome) -> Iterator[str]:
    """`foretold 0.8 CPU-hours, took 0.9`: where something was foretold of the device that the trials ran on."""
    names = set(outcome.occupied) - {""}
    price = next((price for price in prices if price.device and {price.device.name} == names), None)
    if price is None or price.device is None or not outcome.trained:
        return
    hours = [
        format_hours(price.compute_device_hours(seconds)) for seconds in (price.seconds, sum(outcome.occupied.values()))
    ]
    foretold_hours = f"{hours[0]} {_UNITS[price.device.kind]}-hours"
    if price.is_upper_bound:
        foretold_hours = f"at most {foretold_hours}"
    if outcome.trained == price.trials:
        yield f"foretold {foretold_hours}, took {hours[1]}"
    else:
        yield f"foretold {foretold_hours} for {price.trials:,} trials, took {hours[1]} for {outcome.trained:,}"
