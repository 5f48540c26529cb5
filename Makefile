# Cellwright: every target sets up what it needs in .venv; only python3 (3.11 or newer), pip, git
# and make have to be there. Variables: PYTHON, VENV, TORCH_INDEX_URL (see `make help`).

PYTHON ?= python3
VENV ?= .venv
# Where torch's wheels come from besides pip's own index, e.g. the CPU builds on Linux.
TORCH_INDEX_URL ?=
WORKERS ?= auto

BIN := $(VENV)/bin
LOG := $(VENV)/install.log
MAKEFLAGS += --no-print-directory
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help
.PHONY: help demo test lint docs bench clean setup

# $(call step,what it does,command): one line with the time it took; the log only when it fails.
define step
@printf '%s ... ' '$(1)'; begin=$$(date +%s); \
if { $(2); } >>$(LOG) 2>&1; then echo "$$(( $$(date +%s) - begin )) s"; \
else echo failed; tail -n 25 $(LOG); echo 'The whole log: $(LOG)'; exit 1; fi
endef

help:
	@echo 'make demo    train an RNN and an LSTM on the agreement language, compare what they remember'
	@echo 'make test    all checks: lint, types, floors, documentation, tests (warnings are errors)'
	@echo 'make lint    ruff, pyright and the floors of the house (import-linter)'
	@echo 'make docs    build the documentation into site/'
	@echo 'make bench   every cell beside its peers: speeds and agreement; cellwright bench is shorter'
	@echo 'make setup   only install everything into $(VENV)'
	@echo 'make clean   remove what was built; $(VENV) and runs/ stay'
	@echo
	@echo 'PYTHON=python3.12         the interpreter that $(VENV) is made with'
	@echo 'TORCH_INDEX_URL=URL       a further index for torch, e.g. the CPU builds on Linux'
	@echo 'WORKERS=4                 processes that share the tests'

demo: $(VENV)/.runtime
	@$(BIN)/cellwright demo

bench: $(VENV)/.runtime
	@$(BIN)/python benchmarks/cells.py
	@$(BIN)/python benchmarks/peers.py
	@$(BIN)/python benchmarks/loop.py
	@$(BIN)/python benchmarks/language_model.py
	@$(BIN)/python benchmarks/parity.py

test: lint docs
	@echo 'tests'
	@$(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 --dist worksteal

lint: $(VENV)/.checks
	@echo 'ruff check, ruff format'
	@$(BIN)/ruff check --quiet
	@$(BIN)/ruff format --quiet --check || { \
	  $(BIN)/ruff format --check; echo 'to mend: $(BIN)/ruff format'; exit 1; }
	@echo 'pyright'
	@$(BIN)/pyright --pythonpath $(BIN)/python --warnings
	@echo 'lint-imports'
	@$(BIN)/lint-imports --no-logo

docs: $(VENV)/.checks
	@echo 'mkdocs build --strict'
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict  # not --quiet: it would quiet --strict too

clean:
	rm -rf site dist build .bench .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	find src tests docs benchmarks -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

setup: $(VENV)/.checks

# A stamp is touched last, so an installation that was cut short leaves none and runs again.
$(VENV)/.pip: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo 'Cellwright needs Python 3.11 or newer; `$(PYTHON)` is' \
	    "$$($(PYTHON) --version 2>&1 || true). Say which: make PYTHON=python3.12 ..."; exit 1; }
	@mkdir -p $(VENV)
	@$(PYTHON) -m venv $(VENV) >$(LOG) 2>&1 || { tail -n 5 $(LOG); \
	  echo 'Could not make $(VENV); on Debian and Ubuntu: apt-get install python3-venv'; exit 1; }
	$(call step,installing pip,$(BIN)/python -m pip install --upgrade pip -c constraints.txt)
	@touch $@

$(VENV)/.torch: $(VENV)/.pip
	$(call step,installing torch (200 MB or more: minutes on a slow line),$(BIN)/python -m pip install torch -c constraints.txt $(if $(TORCH_INDEX_URL),--extra-index-url $(TORCH_INDEX_URL)))
	@touch $@

$(VENV)/.runtime: $(VENV)/.torch pyproject.toml
	$(call step,installing cellwright,$(BIN)/python -m pip install -e . -c constraints.txt)
	@touch $@

$(VENV)/.checks: $(VENV)/.runtime
	$(call step,installing what the checks need,$(BIN)/python -m pip install --group test --group lint --group docs -c constraints.txt)
	@touch $@
