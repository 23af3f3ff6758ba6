# Needs python3 (3.11 or later) and make. Everything else is installed into .venv, from constraints.txt.
PYTHON ?= python3
JOBS ?= auto
BIN := .venv/bin
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt
READY := .venv/ready
READY_DEV := .venv/ready-dev

export JAX_PLATFORMS ?= cpu
export PYDEVD_DISABLE_FILE_VALIDATION = 1

.DEFAULT_GOAL := help
.PHONY: help demo test test-all checks lint types contracts doctest smoke docs bench clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' Makefile | expand -t 20

demo: $(READY) ## fit and forecast hare and lynx: a table, pictures and a report
	$(BIN)/sciml demo

# Of most tests' time XLA's compiler takes half: here it is told to be quick. `make test-all` compiles as for a user.
test: checks ## everything but the slow tests
	JAX_DISABLE_MOST_OPTIMIZATIONS=1 $(BIN)/pytest -n $(JOBS)
	@$(MAKE) --no-print-directory smoke

test-all: checks ## everything
	$(BIN)/pytest -n $(JOBS) -m ""
	@$(MAKE) --no-print-directory smoke

checks: lint types contracts doctest

lint: $(READY_DEV) ## style
	$(BIN)/ruff check
	$(BIN)/ruff format --check

types: $(READY_DEV) ## static types
	$(BIN)/pyright

contracts: $(READY_DEV) ## who may import whom
	$(BIN)/lint-imports --no-cache

# For the doctests alone: the kernels of the tutorials draw inline.
doctest: export MPLBACKEND = Agg
doctest: $(READY_DEV) ## the examples in docstrings, with the settings that a user has
	$(BIN)/pytest -q -n $(JOBS) --doctest-modules sciml

smoke: $(READY_DEV) ## sdist -> wheel -> fresh environment -> a run outside the checkout
	$(BIN)/python tests/packaging/smoke.py

docs: $(READY_DEV) ## the site, tutorials executed, in docs/_build/html
	$(BIN)/sphinx-build -W --keep-going -q -E -b html docs docs/_build/html
	$(BIN)/python docs/check_selfcontained.py docs/_build/html

bench: $(READY_DEV) ## the ratios in benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks

clean: ## remove all that the other targets made
	rm -rf .venv build dist docs/_build .pytest_cache .ruff_cache .hypothesis *.egg-info
	find sciml dsl solvers tests benchmarks docs -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(INSTALL) -e '.[plot,data,learn]'
	@touch $@

$(READY_DEV): $(READY)
	$(INSTALL) -e '.[plot,data,learn,docs,dev]'
	@touch $@
