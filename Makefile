# Everything a stranger needs: each target makes its own set-up in .venv and reuses it.
# `make` alone lists the targets.

VENV := .venv
PEER_VENV := .venv-mergekit
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
CONSTRAINTS ?= constraints.txt
INSTALL := $(PIP) install --quiet $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS))

# python3.11 where it is found and runs, else any python3 that is new enough.
ifndef PYTHON
PYTHON := $(shell for candidate in python3.11 python3; do \
	$$candidate -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$candidate && break; done)
endif

.DEFAULT_GOAL := help
.PHONY: help setup setup-check test test-slow check check-lint check-format check-types check-floors check-spelling \
	format docs architectures preservation demo demo-minilm demo-grow demo-init bench-select bench-merge bench-scale bench-tiles constraints clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.installed ## make .venv with scionwood, the demos and the tests

setup-check: $(VENV)/.installed-check ## add the linters and what builds the docs

# torch comes first and alone: a CPU wheel that pip can see is taken before anything else asks for torch.
# pip itself is brought up first: dependency groups need 25.1.
$(VENV)/.installed: pyproject.toml constraints.txt
	@test -n "$(PYTHON)" || { echo "scionwood needs Python 3.11 or newer: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	$(INSTALL) pip
	$(INSTALL) torch
	$(INSTALL) --editable '.[hub,demo]' --group test
	@touch $@

$(VENV)/.installed-check: $(VENV)/.installed
	$(INSTALL) --group check --group docs
	@touch $@

# One process for each core; a file stays in one, so that what it sets up is set up once.
test: setup ## run the tests (minutes)
	$(BIN)/python -m pytest --numprocesses logical --dist loadfile

test-slow: setup ## run the tests marked slow
	$(BIN)/python -m pytest -m slow

# `make -k check` runs all five whatever fails.
check: check-lint check-format check-types check-floors check-spelling ## ruff, pyright, import-linter, codespell

check-lint: setup-check
	$(BIN)/ruff check

check-format: setup-check
	$(BIN)/ruff format --check

check-types: setup-check
	$(BIN)/pyright

check-floors: setup-check
	$(BIN)/lint-imports

check-spelling: setup-check
	$(BIN)/codespell

format: setup-check ## let ruff mend what it can
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

docs: setup-check ## build docs/_build/html, warnings are errors
	$(BIN)/sphinx-build --fail-on-warning --keep-going --fresh-env --quiet docs docs/_build/html

architectures: setup ## measure every family anew and write the table in the docs (minutes)
	$(BIN)/python -m tests.architectures.table

preservation: setup ## grow every family with every method and write the table in the docs (many minutes)
	$(BIN)/python -m tests.grow.table

demo: setup ## the main job on real input: select a student and race it against training from scratch
	$(BIN)/scionwood demo digits

demo-minilm: setup ## the same with a pretrained sentence encoder
	$(BIN)/scionwood demo minilm

demo-grow: setup ## grow a small language model and race it against the larger one from scratch (minutes)
	$(BIN)/scionwood demo growing --seeds 1

demo-init: setup ## deep nets without norms, and a small transformer, raced by their first weights (minutes)
	$(BIN)/scionwood demo initialising

bench-select: setup ## time `select` against reading and writing the same bytes
	$(BIN)/python benchmarks/bench_select.py

bench-merge: setup $(PEER_VENV)/.installed ## time `merge` against reading its inputs and copying one, mergekit beside it (20 GB of disk, two hours)
	$(BIN)/python benchmarks/bench_merge.py --peer $(PEER_VENV)/bin/mergekit-yaml

bench-scale: setup ## time `merge` over sizes up to 4 billion parameters and up to 16 models (40 GB of disk)
	$(BIN)/python benchmarks/bench_scale.py

bench-tiles: setup ## time the arithmetic of every merge alone, on tensors in memory (a minute)
	$(BIN)/python benchmarks/bench_tiles.py

parity: setup $(PEER_VENV)/.installed ## compare with mergekit on every configuration and write the table in the docs (minutes)
	PYTHONPATH=benchmarks $(BIN)/python -m parity --peer $(PEER_VENV)/bin/mergekit-yaml --write docs/parity.md

# mergekit has an environment of its own; torch comes first here too.
$(PEER_VENV)/.installed: constraints.txt
	$(BIN)/python -m venv $(PEER_VENV)
	$(PEER_VENV)/bin/python -m pip --disable-pip-version-check install --quiet $(if $(CONSTRAINTS),--constraint $(CONSTRAINTS)) torch
	$(PEER_VENV)/bin/python -m pip --disable-pip-version-check install --quiet mergekit==0.1.5 peft
	@touch $@

constraints: ## make .venv anew from the newest versions and write them to constraints.txt
	rm -rf $(VENV)
	$(MAKE) CONSTRAINTS= setup-check
	{ sed '/^$$/q' constraints.txt; $(PIP) freeze --all --exclude-editable | sed 's/+cpu$$//'; } > constraints.txt.new
	mv constraints.txt.new constraints.txt

clean: ## remove what the targets made, .venv too
	rm -rf $(VENV) $(PEER_VENV) build dist docs/_build demo-output .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests docs -name __pycache__ -type d -prune -exec rm -rf {} +
