PYTHON ?= python3
BIN := .venv/bin

.PHONY: install test test-heavy test-peers lint types demo catalogue numerics bench clean

install: .venv/installed

.venv/installed: pyproject.toml setup.py constraints.txt $(wildcard pushforward/native/src/*)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[all,dev]"
	touch $@

test: lint types
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --durations=10 -m "not heavy"

# Further rows of the plans whose inverse is a numerical root, which take the compiler half a minute each.
test-heavy: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --durations=10 -m heavy tests

# The same functions in other libraries, with their weights copied.
test-peers: .venv-peers/installed
	OMP_NUM_THREADS=1 .venv-peers/bin/python -m pytest -q -n 2 tests/peers

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

demo: install
	$(BIN)/python examples/demo.py

# Writes docs/catalogue.md anew from the plans themselves.
catalogue: install
	$(BIN)/python docs/make_catalogue.py

# Writes docs/numerics.md anew from measurements; the peers are installed in an environment of their own.
numerics: install .venv-peers/installed
	.venv-peers/bin/python benchmarks/numerics.py

# Writes docs/performance.md anew from measurements; for figures that count, let nothing else run.
bench: install .venv-peers/installed
	.venv-peers/bin/python benchmarks/performance.py

.venv-peers/installed: constraints.txt setup.py benchmarks/requirements.txt $(wildcard pushforward/native/src/*)
	test -x .venv-peers/bin/python || $(PYTHON) -m venv .venv-peers
	.venv-peers/bin/python -m pip install --quiet --constraint constraints.txt --requirement benchmarks/requirements.txt --editable .
	touch $@

clean:
	rm -rf .venv .venv-peers out .pytest_cache .mypy_cache .ruff_cache .hypothesis
