"""The built wheels work from an empty folder: everything with `graftbench`, results alone with `graftbench-analysis`.

The packages of this environment stand for those that pip would install: for the smaller wheel pip resolves them, and
whatever it does not name is hidden. `make test-wheels` installs for real.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from suite import __version__

ROOT = Path(__file__).parents[1]
STUDY = ROOT / "tests" / "golden" / "study_schema_1.tar.xz"
HIDE = """
import sys
hidden = frozenset({hidden!r})
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in hidden:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name.partition(".")[0])
sys.meta_path.insert(0, Hide())
sys.path.insert(0, {folder!r})
sys.argv = ["graftbench", *{arguments!r}]
import suite
assert suite.__file__.startswith({folder!r}), suite.__file__
from suite.cli.main import main
main()
"""


def run(*command: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*map(str, command)], cwd=cwd, capture_output=True, text=True)


class Installed:
    """A wheel of the project, built and unpacked.

    Attributes:
        packages: that pip would install with it, where they were resolved.
        hidden: modules of this environment that are of none of them.
    """

    def __init__(self, project: Path, folder: Path, *, resolve: bool) -> None:
        pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
        built = run(*pip, "wheel", "--no-deps", "--wheel-dir", folder / "dist", project, cwd=folder)
        assert built.returncode == 0, built.stderr
        [wheel] = (folder / "dist").glob("*.whl")
        self.modules = folder / "modules"
        run(*pip, "install", "--no-deps", "--target", self.modules, wheel, cwd=folder)
        self.packages: set[str] = set()
        self.hidden: list[str] = []
        if resolve:
            asked = run(*pip, "install", "--dry-run", "--ignore-installed", "--report", "found.json", wheel, cwd=folder)
            assert asked.returncode == 0, asked.stderr
            report = json.loads((folder / "found.json").read_text())
            self.packages = {_plain(item["metadata"]["name"]) for item in report["install"]}
            owners = importlib.metadata.packages_distributions().items()
            self.hidden = sorted(name for name, known in owners if not self.packages & set(map(_plain, known)))
        self.empty = folder / "empty"
        self.empty.mkdir()

    def graftbench(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """The command in an empty folder, in an environment of the wheel's own packages."""
        code = HIDE.format(hidden=self.hidden, folder=str(self.modules), arguments=[*map(str, arguments)])
        return run(sys.executable, "-P", "-c", code, cwd=self.empty)


def _plain(name: str) -> str:
    return re.sub("[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(ROOT, tmp_path_factory.mktemp("everything"), resolve=False)


@pytest.fixture(scope="module")
def results_alone(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    return Installed(ROOT / "packaging" / "analysis", tmp_path_factory.mktemp("results"), resolve=True)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("study")
    with tarfile.open(STUDY) as archive:
        archive.extractall(folder, filter="data")
    return folder / "runs" / "before-schema-versions" / "records"


def test_everything_works_from_an_empty_folder(everything: Installed, records: Path) -> None:
    planned = everything.graftbench("plan", "demo")
    assert planned.returncode == 0 and "54 trials: 6 cells" in planned.stdout, planned.stderr
    assert "run it: graftbench run demo" in planned.stdout
    listed = everything.graftbench("reproduce")
    assert listed.returncode == 0 and re.search(r"^sire-table-4 .* sire_table_4 ", listed.stdout, re.M), listed
    report = everything.graftbench("report", "--records", records, "--out", "report", "--tex", "paper")
    assert report.returncode == 0 and (everything.empty / "report" / "report.html").is_file(), report.stderr
    assert (everything.empty / "paper" / "report.tex").is_file()


def test_results_need_neither_torch_nor_ray_nor_mlflow(results_alone: Installed, records: Path) -> None:
    assert not {"torch", "ray", "mlflow", "optuna", "timm", "scikit-learn"} & results_alone.packages
    for verb in ("verdicts", "leaderboard"):
        done = results_alone.graftbench(verb, "--records", records)
        assert done.returncode == 0 and "NOT ENOUGH EVIDENCE" in done.stdout, done.stderr
    report = results_alone.graftbench("report", "--records", records, "--out", "report")
    assert report.returncode == 0 and (results_alone.empty / "report" / "report.html").is_file(), report.stderr
    store = records.parents[1] / "mlflow.db"
    done = results_alone.graftbench(
        "collect", "before-schema-versions", "--tracking", f"sqlite:///{store}", "--out", "again"
    )
    assert done.returncode == 0, done.stderr


def test_what_trains_is_named_where_it_is_missing(results_alone: Installed) -> None:
    done = results_alone.graftbench("plan", "demo")
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert re.fullmatch(r"graftbench: this needs \w+, which .*: pip install graftbench\n", done.stderr)


def test_both_say_their_version(everything: Installed, results_alone: Installed) -> None:
    for installed in (everything, results_alone):
        assert installed.graftbench("--version").stdout == f"graftbench {__version__}\n"


def test_the_smaller_wheel_asks_for_the_first_block() -> None:
    own = (ROOT / "packaging" / "analysis" / "pyproject.toml").read_text()
    block = own[own.index("dependencies = [\n") : own.index("\n]")].splitlines()[1:]
    whole = (ROOT / "pyproject.toml").read_text()
    assert "\n".join(block) in whole
