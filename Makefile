# `make test`, `make test-all` and `make demo` do all the set-up on a fresh machine: a virtual environment from exact pins, then the work.
PYTHON ?= python3
VENV := .venv
WORKERS ?= 3
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: campaign test test-all demo check docs notebooks lock format clean

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed: make PYTHON=python3.12 ...")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	touch $(READY)

# workers with one thread each, one more than two cores have: some wait for kills and clusters; rewritten tests are kept
# for the next time, whatever the environment says
PYTEST := OMP_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE= $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# all but what is marked slow: whole races and studies, clusters, kills, notebooks, browsers, each page's commands
test: $(READY)
	$(PYTEST) -m "not slow" $(ARGS)

# every test, as .ci/run does
test-all: $(READY)
	$(PYTEST) $(ARGS)

# bad inputs, kills, races and memory; an hour on two cores, and the table of docs/reliability.md; repeated, it goes on
campaign: $(READY)
	OMP_NUM_THREADS=1 $(BIN)/python tests/campaign/run.py --inputs 1000 --kills 100 --rounds 1000 --pairs 1000000 \
		--state outputs/campaign.jsonl --table docs/reliability.md $(ARGS)

demo: $(READY)
	$(BIN)/marsgen demo $(ARGS)

check: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/deptry .

# the pages of docs/, the notebooks, all settings and the Python functions as a site in outputs/site
docs: $(READY)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	$(BIN)/mkdocs build --strict

# run the notebooks' sources and store what comes out
notebooks: $(READY)
	$(BIN)/python docs/notebooks/write.py

# uv.lock with the versions of constraints.txt; needs uv and the internet
lock:
	bash .ci/lock

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) dist .pytest_cache .ruff_cache .mypy_cache
