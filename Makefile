# minisora: everything runs in .venv, which the targets make themselves.
#
#   make demo                     a fresh machine needs Python 3.11 or later, pip and make
#   make demo PYTHON=python3.12   use another Python
#   make test JOBS=4              run the tests in 4 processes
#   make lab LAB_FLAGS=...        arguments for JupyterLab
#   make demo PIP_FLAGS=...       arguments for pip

PYTHON ?= python3
JOBS ?= 2
PIP_FLAGS ?=
LAB_FLAGS ?=

VENV := .venv
PY := $(VENV)/bin/python
STAMPS := $(VENV)/.minisora
PINS := pyproject.toml constraints.txt
INSTALL = $(PY) -m pip install --disable-pip-version-check $(PIP_FLAGS) -c constraints.txt -e
NOTEBOOKS = $(shell find notebooks 2>/dev/null -name '*.ipynb' -not -path '*/.ipynb_checkpoints/*' | LC_ALL=C sort)
ONE_THREAD := OMP_NUM_THREADS=1 MKL_NUM_THREADS=1

# An environment knows its folder by its full path: one that was copied or moved is made anew.
ifneq ($(shell cat $(STAMPS)/folder 2>/dev/null),$(CURDIR))
$(shell test -d $(STAMPS) && touch $(VENV)/moved && rm -rf $(STAMPS))
endif

.DEFAULT_GOAL := help
# Two installs at once into one environment would trip over each other.
.NOTPARALLEL:
.PHONY: environment demo test unit test-notebooks notebooks lab lint format typecheck scoreboard bench \
	clean help

environment: $(STAMPS)/base ## install minisora into .venv

demo: $(STAMPS)/base ## generate clips for three prompts with the shipped checkpoint
	@$(PY) runs/demo.py

# In this order, so that what fails quickly fails first; `make -k test` runs all of it regardless.
test: lint typecheck unit test-notebooks ## lint, type check, tests and notebooks

unit: $(STAMPS)/dev ## the tests alone
	$(ONE_THREAD) $(PY) -m pytest -n $(JOBS) --dist loadscope

# One after the other with all cores, as a reader runs them, so that the minutes in their headers can be held to.
test-notebooks: $(STAMPS)/dev ## run every notebook and compare
	@echo "Notebooks to test: $(words $(NOTEBOOKS))"
	$(if $(NOTEBOOKS),$(PY) -m pytest --nbval-lax --nbval-current-env \
		--nbval-cell-timeout=300 $(NOTEBOOKS))

notebooks: $(STAMPS)/notebooks ## execute every notebook again and rewrite it, its minutes and its figures
	$(PY) runs/notebooks.py

# It neither asks for news nor looks for updates: after installation nothing is fetched.
lab: $(STAMPS)/notebooks ## open JupyterLab at the first notebook
	@mkdir -p $(VENV)/share/jupyter/lab/settings
	@echo '{"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": false}}' \
		> $(VENV)/share/jupyter/lab/settings/overrides.json
	$(PY) -m jupyter lab $(LAB_FLAGS) $(firstword $(NOTEBOOKS) notebooks)

lint: $(STAMPS)/dev ## ruff: rules and format, code and notebooks
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

format: $(STAMPS)/dev ## ruff: mend what can be mended
	$(PY) -m ruff check --fix .
	$(PY) -m ruff format .

typecheck: $(STAMPS)/dev ## mypy
	$(PY) -m mypy

scoreboard: $(STAMPS)/base ## write README's tables anew from what the benchmarks measured
	$(PY) runs/readme.py

bench: $(STAMPS)/bench ## training throughput against diffusers; writes benchmarks/results/
	$(PY) benchmarks/throughput.py

clean: ## remove the environment, builds and caches; clips in outputs/ stay
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | \
		while IFS='|' read -r name what; do printf '  make %-15s %s\n' "$$name" "$$what"; done

# --- the environment -----------------------------------------------------------------------------
# A stamp is written last, so that an install that failed or was interrupted is tried again.

$(STAMPS)/venv:
	@command -v "$(PYTHON)" >/dev/null 2>&1 || { echo "minisora needs Python 3.11 or later, and\
	 there is no '$(PYTHON)' here: install it, or name yours, as in 'make demo PYTHON=python3.12'."\
	 >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "minisora needs\
	 Python 3.11 or later, and '$(PYTHON)' is `"$(PYTHON)" -V 2>&1`: name another, as in 'make demo\
	 PYTHON=python3.12'." >&2; exit 1; }
	@{ test ! -e $(VENV)/moved && $(PY) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		&& { $(PY) -c 'import pip' || $(PY) -m ensurepip; }; } >/dev/null 2>&1 \
		|| "$(PYTHON)" -m venv --clear $(VENV) || { echo "'$(PYTHON)' could not make the virtual\
 environment $(VENV): it lacks the modules venv and ensurepip (a separate system package,\
 python3-venv, in some Linux distributions)." >&2; exit 1; }
	@mkdir -p $(STAMPS)
	@echo "$(CURDIR)" > $(STAMPS)/folder
	@touch $@

$(STAMPS)/base: $(STAMPS)/venv $(PINS)
	@echo "Installing minisora into $(VENV); PyTorch is the large part of it."
	$(INSTALL) .
	@touch $@

$(STAMPS)/dev $(STAMPS)/notebooks $(STAMPS)/bench: $(STAMPS)/%: $(STAMPS)/base
	$(INSTALL) '.[$*]'
	@touch $@
