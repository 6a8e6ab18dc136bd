"""The command line. Verbs import heavy things inside, so that `--help` and a wrong study file answer at once."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from suite import __version__
from suite.cli import common, console, reproduce, results, retry, topup
from suite.cli import data as cli_data
from suite.cli.common import DEFAULT_DATA, Data, Json, Profile, StudyFile, build_checked_plan, format_study_argument
from suite.cli.console import escape, print_parts, print_result, write_json
from suite.cli.power import compute_power, power_lines
from suite.core.errors import UserError

app = typer.Typer(
    name="graftbench",
    help="Does grafting this extension onto this CNN backbone help, on these datasets, and at what cost?\n\n"
    "A study file names datasets, backbones, variants, a recipe and seeds. `plan` shows what it amounts to, `run` "
    "trains what is missing, `report` says what helps.",
    epilog="Start with: graftbench plan demo    Exit codes: 0 done, 1 some trials failed, 2 refused, 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(cli_data.app, name="data")


def _print_version(is_asked: bool) -> None:
    if is_asked:
        sys.stdout.write(f"graftbench {__version__}\n")
        raise typer.Exit(console.DONE)


@app.callback()
def read_options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Options of the command itself."""


Strict = Annotated[bool, typer.Option("--strict", help="Refuse the whole study when any pair in it is refused.")]


Probe = Annotated[bool, typer.Option("--probe", help="Time every network here: 20 steps and an evaluation each.")]
On = Annotated[int | None, typer.Option("--on", metavar="N", min=1, help="GPUs or CPU cores to tell the wall time on.")]


@app.command()
def plan(
    study: StudyFile,
    profile: Profile = "",
    data: Data = DEFAULT_DATA,
    as_json: Json = False,
    strict: Strict = False,
    probe: Probe = False,
    device: common.Device = "auto",
    on: On = None,
) -> None:
    """Show what a study amounts to: its cells, parameters, MACs, refusals, number of trials, hours and disk."""
    common.check_place(local=True, address=None, device=device)
    if device != "auto" and not probe:
        raise UserError("--device: belongs to --probe; add it, or leave --device out")
    checked = build_checked_plan(study, data, profile, strict)
    from suite.cli import price as prices
    from suite.cli.data import composition_as_dict, format_compositions
    from suite.cli.render import plan_as_dict, plan_tables
    from suite.study.checked_plans import compose_datasets, find_missing_data, open_datasets

    find_price = prices.choose_source(checked, data, device if probe else None)
    datasets, power = open_datasets(checked, data), compute_power(checked)
    missing, compositions = find_missing_data(datasets), compose_datasets(checked, datasets)
    if as_json:
        parts = {"images": list(map(composition_as_dict, compositions)), "power": power}
        parts["price"] = prices.price_as_dict(find_price(), on)
        write_json({**plan_as_dict(checked), **parts, "missing": missing})
        return
    print_parts(plan_tables(checked))
    print_parts(format_compositions(compositions))
    print_parts(power_lines(power))
    print_parts(prices.price_lines(find_price(), on))
    print_parts(f"[yellow]missing[/] {escape(label)}: {escape(sentence)}" for label, sentence in missing.items())
    first = "when that is there, run it" if missing else "run it"
    print_parts([f"{first}: graftbench run {format_study_argument(study, profile, data)}"])


@app.command()
def run(
    study: StudyFile,
    profile: Profile = "",
    data: Data = DEFAULT_DATA,
    local: common.Local = False,
    address: common.Address = None,
    device: common.Device = "auto",
    strict: Strict = False,
) -> None:
    """Train what is missing of a study. The same command again trains nothing; after Ctrl-C it resumes."""
    common.check_place(local, address, device)
    checked = build_checked_plan(study, data, profile, strict)
    from suite.cli.price import compare_lines, foretell_prices
    from suite.cli.render import outcome_lines
    from suite.study.study_files import digest_study
    from suite.sweep.run import Options

    options = Options(data, local, address, device, digest_study(study, profile))
    command = f"run {format_study_argument(study, profile, data)}"
    foretold = foretell_prices(checked, data, is_alone=local)
    outcome = common.train_missing(checked, options, command)
    print_parts(outcome_lines(checked, outcome, format_study_argument(study, profile)))
    print_parts(compare_lines(foretold, outcome))
    common.exit_after(outcome)


Watch = Annotated[bool, typer.Option("--watch", help="Show it again and again, until the run ends or Ctrl-C.")]
Every = Annotated[float | None, typer.Option(min=0.1, help="Seconds between two looks of --watch; default: 2.")]


@app.command()
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
    from suite.cli.status import find_reader, format_state, make_reader, watch_states

    read = find_reader(study, profile) or make_reader(build_checked_plan(study, data, profile))
    if watch:
        watch_states(read, every or 2.0)
        return
    state = read()
    print_result(as_json, state, format_state(state))


app.command()(retry.retry)
for verb in (topup.topup, results.verdicts, results.leaderboard, results.speed, results.report, results.collect):
    app.command()(verb)
app.command()(results.compare_networks)
app.command()(reproduce.reproduce)


@app.command()
def trial(
    key: Annotated[str, typer.Argument(help="A trial's key, or its first digits.")],
    storage: Annotated[Path, typer.Option(help="Where studies are stored.")] = Path("runs"),
    as_json: Json = False,
) -> None:
    """Show one trial: what defines it, how it ended, and how to run it alone."""
    from suite.cli.render import trial_lines
    from suite.core.trial_folder import read_trial
    from suite.sweep.status import find_trial

    folder = find_trial(storage, key)
    print_result(as_json, read_trial(folder / "trial.json").to_dict(), trial_lines(folder))


@app.command()
def ui(
    study: StudyFile, profile: Profile = "", port: Annotated[int, typer.Option(help="Port on this machine.")] = 5000
) -> None:
    """Open the MLflow UI on the study's store: every trial, curve, parameter and artifact. Ctrl-C ends it."""
    from suite.study.config import load_study
    from suite.tracking.mlflow_store import check_store, tracking_uri
    from suite.tracking.mlflow_ui import serve_ui

    uri = tracking_uri(load_study(study, profile))
    check_store(uri)
    serve_ui(uri, port, console.make_console())


@app.command()
def doctor(
    data: Data = DEFAULT_DATA,
    tracking: Annotated[
        str | None, typer.Option(help="An MLflow store to try; default: the one `run` would use.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Say what is installed, which devices and datasets are found, and whether the tracking store answers."""
    from suite.cli.doctor import examine_machine, format_sections

    facts = examine_machine(data, tracking)
    print_result(as_json, facts, format_sections(facts))


@app.command()
def clean(
    study: StudyFile,
    profile: Profile = "",
    everything: Annotated[
        bool,
        typer.Option("--all", help="Remove every result of the study; MLflow keeps them as deleted until `mlflow gc`."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """Remove the checkpoints of finished trials; with --all, every result of the study."""
    from suite.study.config import load_study
    from suite.sweep.clean import remove_checkpoints, remove_study

    loaded = load_study(study, profile)
    if not everything:
        print_parts([escape(remove_checkpoints(loaded))])
        return
    if not yes and not typer.confirm(f"Remove every result of {loaded.study} ({loaded.storage_path})?"):
        raise typer.Exit(console.DONE)
    print_parts([escape(remove_study(loaded))])


_TRAINING_PACKAGES = frozenset({"torch", "torchvision", "timm", "PIL", "sklearn", "xxhash", "ray", "optuna", "mlflow"})


def main() -> None:
    """Entry point: a refusal is one sentence on stderr and exit code 2."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        app()
    except UserError as refusal:
        sys.stderr.write(f"graftbench: {refusal}\n")
        sys.exit(console.REFUSED)
    except ModuleNotFoundError as error:
        if error.name not in _TRAINING_PACKAGES:
            raise
        sys.stderr.write(f"graftbench: this needs {error.name}, which is not installed here: pip install graftbench\n")
        sys.exit(console.REFUSED)
    except KeyboardInterrupt:
        sys.exit(console.INTERRUPTED)


if __name__ == "__main__":
    main()
