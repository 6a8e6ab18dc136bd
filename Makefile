# Two commands do everything on a fresh machine with Python 3.11+: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test test-all test-faults test-wheels lint types imports tests bench lock clean-venv

demo: $(READY)  ## the whole path on real images in a few minutes: sweep, records, verdicts, report
	$(BIN)/graftbench run configs/demo.yaml
	$(BIN)/graftbench leaderboard configs/demo.yaml
	$(BIN)/graftbench report configs/demo.yaml
	@echo "browse every trial: $(BIN)/graftbench ui configs/demo.yaml"

test: lint types imports tests  ## what CI runs

test-all: lint types imports  ## the slow tests too
	$(BIN)/pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

test-faults: $(READY)  ## kills, full disks, lost stores, memory that runs out: all of it, for real (half an hour)
	$(BIN)/pytest tests/suite/sweep/test_faults.py tests/suite/sweep/test_run.py

test-wheels: $(READY)  ## both wheels, each in an environment of its own (6 GB) and run from an empty folder
	rm -rf build/wheels
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir build/wheels . packaging/analysis
	for name in graftbench graftbench_analysis; do \
	  $(PYTHON) -m venv build/wheels/$$name && mkdir build/wheels/$$name/empty && \
	  build/wheels/$$name/bin/pip install --quiet build/wheels/$$name-*.whl && \
	  (cd build/wheels/$$name/empty && ../bin/graftbench --version && ../bin/graftbench verdicts --help > /dev/null) \
	  || exit 1; \
	done
	cd build/wheels/graftbench/empty && ../bin/graftbench plan demo && ../bin/graftbench run demo --local \
	  && ../bin/graftbench report demo && ../bin/graftbench reproduce > /dev/null
	cd build/wheels/graftbench_analysis/empty && ../bin/graftbench report --out report \
	  --records ../../graftbench/empty/runs/demo/records

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/typos --format brief

types: $(READY)
	$(BIN)/mypy

imports: $(READY)
	$(BIN)/lint-imports

tests: $(READY)
	$(BIN)/pytest -m "not slow" --numprocesses 2 --dist loadfile --no-loadscope-reorder

bench: $(READY)  ## the measurements that the README quotes
	$(BIN)/python benchmarks/sweep_overhead.py
	$(BIN)/python benchmarks/train_step.py
	$(BIN)/python benchmarks/input_pipeline.py
	$(BIN)/python benchmarks/spectral.py
	$(BIN)/python -m benchmarks.analysis_scale

# One marker file says that the environment fits the lock file; a second `make` does nothing here.
$(READY): requirements.lock pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --requirement requirements.lock
	$(BIN)/python -m pip install --quiet --no-deps --editable .
	touch $@

lock:  ## exact versions of everything, from pyproject.toml and constraints.txt; needs uv
	uv pip compile pyproject.toml --extra dev --constraints constraints.txt --universal --python-version 3.11 \
	  --no-emit-index-url --no-annotate --no-header --quiet --output-file requirements.lock

clean-venv:
	rm -rf $(VENV)
