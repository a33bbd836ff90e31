# make demo   set up, then match two recordings that the program makes itself
# make test   set up, then all tests
# make lint   ruff and strict mypy
# make bench  the side-by-side figures of bench/README.md (needs FXSTYLE_DATA)

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
DEMO ?= demo
TORCH := torch==2.13.0
# The CPU build where the package index has one; a machine with a GPU takes its own torch first.
TORCH_INDEX ?=

.PHONY: demo test lint bench clean

# torch goes first: everything else is content with the torch that is there.
$(VENV)/core: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check $(TORCH_INDEX) $(TORCH)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	$(BIN)/fxstyle warm
	touch $@

$(VENV)/dev: $(VENV)/core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,bench]'
	touch $@

demo: $(VENV)/core
	$(BIN)/fxstyle demo -o $(DEMO) --force

test: $(VENV)/dev
	$(BIN)/python -m pytest

lint: $(VENV)/dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/dev
	$(BIN)/python bench/startup.py
	$(BIN)/python bench/render.py
	$(BIN)/python bench/effects.py
	$(BIN)/python bench/gradients.py
	$(BIN)/python bench/memory.py
	$(BIN)/python bench/match.py

clean:
	rm -rf $(VENV) $(DEMO) build dist *.egg-info
