# Everything works from a fresh clone: each target sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export HF_HUB_OFFLINE ?= 1
export TOKENIZERS_PARALLELISM := false

.PHONY: help setup system sandbox demo test test-full test-gpu gpu-report test-browser campaign check format clean

help:
	@echo "make demo       set up and run the main job on the embedded world (runs/tiny)"
	@echo "make test       set up and run the tests (about 12 minutes on 2 free cores)"
	@echo "make test-full  the slow tests too"
	@echo "make test-browser  the pages in Chromium (at most 2 minutes; make system installs it)"
	@echo "make test-opencompass  the tests that need OpenCompass, which it sets up (223 MB; about 6 minutes)"
	@echo "make test-gpu   the tests that need a CUDA device (at most 8 minutes, no network)"
	@echo "make gpu-report  measure on one NVIDIA GPU, rows and report to reports/gpu (at most 9 minutes, no network)"
	@echo "make campaign   some 11,000 attempts to break a promise: kills, damage, hostile programs (at most 60 minutes)"
	@echo "make check      ruff, pyright, import-linter"
	@echo "make system     system packages of apt.txt (needs root, or sudo without a password)"

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt torch
	$(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	touch $@

system:
	.ci/system

# `make demo` and `make test` run programs in a sandbox. Where it cannot be installed, their last line counts what that cost.
sandbox:
	@.ci/system bubblewrap || true

demo: setup sandbox
	$(BIN)/gldbench run tiny $$($(BIN)/python -c "from gldbench import sandbox; print('--unsafe-code' * bool(sandbox.trouble()))")

# Two workers share two cores, so torch has one thread in each.
test: setup sandbox
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow and not gpu and not browser"

test-full: setup sandbox
	$(BIN)/python -m pytest -m "not gpu and not browser"

campaign: setup sandbox
	$(BIN)/python -m tests.campaign --output reports/campaign

# These two run where `setup` cannot: PYTHON=... names a Python that has torch, transformers and the other requirements.
# The tests run in 8 processes, because most of their time is the compilation of kernels.
GPU_PYTHON = PYTHONPATH=.:reference:$$PYTHONPATH $(if $(wildcard $(BIN)/python),$(BIN)/python,$(PYTHON))

test-gpu:
	$(GPU_PYTHON) -m pytest -n 8 -W default -m gpu $$(grep -rl mark.gpu tests/gldfusion --include=test_*.py)

gpu-report:
	$(GPU_PYTHON) -m gldbench.benches.gpu_report

test-browser: setup
	$(BIN)/python -m pytest -m browser tests/browser

check: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/lint-imports

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build dist

.PHONY: test-opencompass
test-opencompass: setup
	$(BIN)/gldbench setup opencompass
	$(BIN)/python -m pytest -m opencompass tests/gldbench/grade/opencompass
