# make fit    trains a short run; STEPS and STYLE choose how long and what
# make test   runs the whole test suite
# Each makes .venv and installs into it first, if that hasn't been done.

PYTHON ?= python3
NST_SHARED ?= ../shared
STYLE ?= $(NST_SHARED)/styles/van_gogh_starry_night.jpg
STEPS ?= 300
BIN := .venv/bin

export NST_SHARED

.PHONY: fit test lint

fit: .venv/installed
	$(BIN)/python -m nst_lightning fit --config configs/cpu.yaml --model.style "$(STYLE)" \
		--model.init_from checkpoints/base.ckpt --trainer.max_steps $(STEPS)

test: .venv/installed
	$(BIN)/python -m pytest

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

.venv/installed: pyproject.toml
	test -d .venv || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[dev]'
	touch $@
