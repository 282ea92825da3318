# Everything runs in a virtual environment of its own; nothing but Python 3.11 or newer is needed.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTHONS ?= 3.11 3.12 3.13

# The tests start hundreds of processes: none compiles anew what another has compiled.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo test suite quick matrix check docs format clean

demo: $(VENV)/local
	$(BIN)/replicate-job run run.xs --local

test: check suite

suite: $(VENV)/test
	$(BIN)/python -m pytest -rs
	$(BIN)/python -m pytest -m alone -n 0

# What needs no browser, no other clients, no model's environment, no PostgreSQL, no command of its own and little of the
# processor.
quick: $(VENV)/test
	$(BIN)/python -m pytest -m 'not alone and not cog and not long' --hypothesis-profile quick -n 5 -p no:schemathesis \
	  --ignore tests/e2e --ignore tests/page --ignore tests/contract --ignore tests/docs --ignore tests/examples

# The suite on every Python that is found, in PATH or with pyenv, each in an environment of its own.
matrix:
	@tried=; failed=; for version in $(PYTHONS); do \
	  for python in python$$version $(HOME)/.pyenv/versions/$$version.*/bin/python; do \
	    $$python -c '' 2>/dev/null || continue; \
	    echo "Python $$version: $$python"; tried="$$tried $$version"; \
	    $(MAKE) --no-print-directory suite PYTHON=$$python VENV=.venv-$$version || failed="$$failed $$version"; \
	    break; \
	  done; \
	done; echo "tried:$${tried:- none}; failed:$${failed:- none}"; test -n "$$tried" -a -z "$$failed"

check: $(VENV)/test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@for folder in $(dir $(wildcard src/replicate_job/builtin_models/*/*/predict.py)); do \
	  MYPYPATH=$$folder $(BIN)/mypy --no-error-summary $$folder*.py || exit 1; \
	done
	$(BIN)/lint-imports --no-logo

# The site, in site/. Every warning is an error: a link that leads nowhere, a page that nothing links to.
docs: $(VENV)/docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet --strict

format: $(VENV)/test
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

$(VENV)/local: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[local]'
	@touch $@

$(VENV)/test: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[test]'
	@touch $@ $(VENV)/local

$(VENV)/docs: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	@touch $@ $(VENV)/local

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.11" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)

clean:
	rm -rf $(VENV) $(VENV)-* site .mypy_cache .pytest_cache .ruff_cache .hypothesis
