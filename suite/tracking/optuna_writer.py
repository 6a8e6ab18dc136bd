"""A study's searches in an Optuna storage, for people to look at: one Optuna study for each cell.

The storage of the study is what is true. Draws come from `suite.sweep.search`, and nothing here is read back but what
was written: where that says otherwise than the records, a cell's study is made anew.
"""

from __future__ import annotations

import dataclasses
import json
import math
import warnings
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from suite.core.errors import UserError
from suite.core.records import Epoch, Record
from suite.core.specs import Cell, Space, Trial, hash_parts
from suite.study.plan import Plan, PlannedCell
from suite.study.search_space import make_distribution, name_objective

_STUDY, _IDENTITY = "graftbench.study", "graftbench.identity"  # user attributes of an Optuna study of ours
_KEY = "trial_key"  # of a trial, by which it is found again
_TOLD_AT_THE_END = {"status", "reason"}  # further ones of a trial
_MAX_NAME = 512  # characters, in Optuna's tables
_METRICS = {"validation_loss": "validation loss", "validation_top1_error": "validation top-1 error"}
_STATES = {"completed": TrialState.COMPLETE, "stopped": TrialState.PRUNED}


@dataclasses.dataclass
class _Mirrored:
    """A trial as the Optuna storage has it."""

    trial_id: int
    state: TrialState
    value: float | None
    steps: set[int]


@dataclasses.dataclass
class _CellStudy:
    """A cell's study as the Optuna storage has it, its trials by their keys."""

    study_id: int
    trials: dict[str, _Mirrored]
    is_muddled: bool = False  # it has a key twice, or a trial that is not ours


class OptunaWriter:
    """Writes search trials into an Optuna storage. Each call may raise what the storage raises, and may then be made
    again by a new writer: what arrived is found by the trials' keys.
    """

    def __init__(self, plan: Plan, storage: BaseStorage) -> None:
        self._plan, self._storage = plan, storage
        self._planned = {planned.cell: planned for planned in plan.runnable}
        self._identity = json.dumps(plan.study.describe_identity(), sort_keys=True)
        self._objective = name_objective(plan)
        self._studies: dict[Cell, _CellStudy] = {}

    # -- a trial as it goes

    def start_trial(self, trial: Trial) -> None:
        study = self._find_study(trial.cell)
        known = study.trials.get(trial.key)
        if known is None or known.state.is_finished():
            self._add_trial(study, trial.key, self._freeze_trial(trial))

    def write_epoch(self, trial: Trial, epoch: Epoch) -> None:
        known = self._find_study(trial.cell).trials.get(trial.key)
        if known is not None and not known.state.is_finished():
            self._write_steps(known, self._list_steps((epoch,)))

    def finish_trial(self, record: Record) -> None:
        """Nothing, where the storage has it."""
        trial = Trial.from_dict(record.trial)
        study = self._find_study(trial.cell)
        wanted = self._freeze_trial(trial, record)
        known = study.trials.get(trial.key)
        if known is None or (known.state.is_finished() and not _agree(known, wanted)):
            self._add_trial(study, trial.key, wanted)
        elif not known.state.is_finished():
            self._write_steps(known, wanted.intermediate_values)
            self._end_trial(known, wanted)

    def _add_trial(self, study: _CellStudy, key: str, frozen: FrozenTrial) -> None:
        study.is_muddled |= key in study.trials
        trial_id = self._storage.create_new_trial(study.study_id, template_trial=frozen)
        study.trials[key] = _Mirrored(trial_id, frozen.state, frozen.value, set(frozen.intermediate_values))

    def _write_steps(self, known: _Mirrored, steps: Mapping[int, float]) -> None:
        for step, value in steps.items():
            if step not in known.steps:
                self._storage.set_trial_intermediate_value(known.trial_id, step, value)
                known.steps.add(step)

    def _end_trial(self, known: _Mirrored, wanted: FrozenTrial) -> None:
        for name in _TOLD_AT_THE_END & wanted.user_attrs.keys():
            self._storage.set_trial_user_attr(known.trial_id, name, wanted.user_attrs[name])
        values = None if wanted.value is None else [wanted.value]
        self._storage.set_trial_state_values(known.trial_id, wanted.state, values)
        known.state, known.value = wanted.state, wanted.value

    # -- a cell as a whole

    def settle_cell(self, cell: Cell, finals: Mapping[str, Record], *, is_whole: bool) -> None:
        """Make the cell's study say what the records say.

        Args:
            finals: the records of the cell's search, by key.
            is_whole: nothing is left to train, so a trial without a record is none of the search.
        """
        if not finals and not is_whole and cell not in self._studies:
            return  # its first trial makes the study
        study = self._find_study(cell)
        if study.is_muddled or any(self._is_stale(key, study, finals, is_whole) for key in study.trials):
            self._storage.delete_study(study.study_id)
            del self._studies[cell]
        for record in sorted(finals.values(), key=lambda record: record.seed):
            self.finish_trial(record)

    def _is_stale(self, key: str, study: _CellStudy, finals: Mapping[str, Record], is_whole: bool) -> bool:
        """Whether a trial of the study is not as the records have it, and can't be made so: Optuna's finished trials
        are fixed."""
        known = study.trials[key]
        if key not in finals:
            return is_whole or known.state.is_finished()
        if not known.state.is_finished():
            return False
        return not _agree(known, self._freeze_trial(Trial.from_dict(finals[key].trial), finals[key]))

    def _find_study(self, cell: Cell) -> _CellStudy:
        if cell not in self._studies:
            self._studies[cell] = self._open_study(self._planned[cell])
        return self._studies[cell]

    def _open_study(self, planned: PlannedCell) -> _CellStudy:
        """
        Raises:
            UserError: it is another study's.
        """
        name = name_study(self._plan, planned)
        study = optuna.create_study(study_name=name, storage=self._storage, load_if_exists=True)
        attributes, trials = study.user_attrs, study.get_trials(deepcopy=False)
        if attributes.get(_IDENTITY) is None and not trials:  # new, or a kill came before this
            self._describe_study(study, planned)
        elif attributes.get(_IDENTITY) != self._identity:
            raise UserError(
                f"the Optuna study {name!r} is of another recipe, search or split; delete it, or name another storage"
            )
        mirrored = {}
        for trial in trials:
            known = _Mirrored(trial._trial_id, trial.state, trial.value, set(trial.intermediate_values))
            mirrored[str(trial.user_attrs.get(_KEY))] = known
        is_muddled = len(mirrored) < len(trials) or "None" in mirrored
        return _CellStudy(self._storage.get_study_id_from_name(name), mirrored, is_muddled)

    def _describe_study(self, study: optuna.Study, planned: PlannedCell) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names([_METRICS[self._objective]])
        for name, value in planned.cell.cell_id._asdict().items():
            study.set_user_attr(name, value)
        study.set_user_attr(_STUDY, self._plan.study.study)
        study.set_user_attr(_IDENTITY, self._identity)

    # -- ours in Optuna's terms

    def _freeze_trial(self, trial: Trial, record: Record | None = None) -> FrozenTrial:
        """A trial as Optuna's storage shall have it: running, or as its record says."""
        chosen = dict(trial.hyperparameters)
        space = {name: space for name, space in self._planned[trial.cell].space if name in chosen}
        frozen = optuna.trial.create_trial(
            state=TrialState.RUNNING,
            params={name: _show_choice(space[name], chosen[name]) for name in space},
            distributions={name: _show_distribution(space[name]) for name in space},
            user_attrs={_KEY: trial.key, "stage": trial.stage, "index": trial.seed, "status": "running"},
        )
        if record is not None:
            self._apply_record(frozen, record)
        return frozen

    def _apply_record(self, frozen: FrozenTrial, record: Record) -> None:
        steps = self._list_steps(record.history)
        value, state = getattr(record, self._objective), _STATES.get(record.status, TrialState.FAIL)
        if state == TrialState.COMPLETE and (value is None or math.isnan(value)):
            state = TrialState.FAIL
        if state == TrialState.PRUNED:
            value = steps[max(steps)] if steps else None  # as Optuna's own `tell` does
        frozen.state = state
        frozen.value = None if state == TrialState.FAIL else value
        frozen.intermediate_values = steps
        frozen.datetime_complete = frozen.datetime_start
        if frozen.datetime_complete is not None:
            frozen.datetime_start = frozen.datetime_complete - timedelta(seconds=record.train_seconds or 0)
        frozen.set_user_attr("status", record.status)
        if record.reason:
            frozen.set_user_attr("reason", record.reason)

    def _list_steps(self, epochs: tuple[Epoch, ...]) -> dict[int, float]:
        """The objective by epoch, where it is finite: what the search hears of."""
        values = {epoch.epoch: float(getattr(epoch, self._objective)) for epoch in epochs}
        return {step: value for step, value in values.items() if math.isfinite(value)}


def name_study(plan: Plan, planned: PlannedCell) -> str:
    """`<study>: <cell>`; another revision's trials are a study of their own."""
    revision = f" [{planned.revision}]" if planned.revision else ""
    return _shorten_name(f"{plan.study.study}: {planned.cell.label}{revision}")


def _shorten_name(name: str) -> str:
    """With a digest in place of what is too long, so that no two cells share a name."""
    if len(name) <= _MAX_NAME:
        return name
    digest = f"... {hash_parts('optuna study', name):x}"
    return name[: _MAX_NAME - len(digest)] + digest


def delete_studies(storage: BaseStorage, study: str) -> int:
    """Delete the Optuna studies of a study of ours; how many there were."""
    found = [one for one in storage.get_all_studies() if one.user_attrs.get(_STUDY) == study]
    for one in found:
        storage.delete_study(one._study_id)
    return len(found)


def _agree(known: _Mirrored, wanted: FrozenTrial) -> bool:
    if known.state != wanted.state:
        return False
    if known.value is None or wanted.value is None:
        return known.value is wanted.value
    return known.value == wanted.value or math.isclose(known.value, wanted.value)


def _show_distribution(space: Space) -> BaseDistribution:
    if space.choices:
        return CategoricalDistribution([_show_choice(space, choice) for choice in space.choices])
    return make_distribution(space)


def _show_choice(space: Space, value: Any) -> Any:
    """A value as a database takes it: a list of choices that has a list in it is text."""
    if all(isinstance(choice, bool | int | float | str) for choice in space.choices):
        return value
    return str(value)
