PYTHON ?= python3
VERSION ?= 2.14.1
OTHERS ?=
BIN := .venv/bin

.PHONY: install test quick test-compiler test-fits test-heavy test-grid test-peers test-interop test-processors test-rates test-torch test-sanitizers fuzz mutants lint types
.PHONY: docs demo generated catalogue numerics bench clean

install: .venv/installed

.venv/installed: pyproject.toml setup.py constraints.txt $(wildcard pushforward/native/src/*)
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[all,dev]"
	touch $@

test: lint types
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --durations=10 -m "not heavy and not fits and not compiler"

# Whether torch's compiler takes each layer, base and flow as one graph, and what is exported is the same; it reads some seconds for each.
test-compiler: install
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --durations=10 -m "compiler and not heavy and not fits"

# Whether fits reach what they should: known entropies and evidences, published losses, other models; the pages that fit for long; and
# whether stated errors are true over many seeds.
test-fits: install
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --durations=10 -m "fits and not heavy"

# What a change touches, in less than a minute: the nearest tests of what differs from the last commit. FILES="pushforward/flow/kl.py"
# takes these files for changed.
quick: install
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m scripts.quick $(FILES)

# Further rows of plans that take the compiler long: numerical roots, products of matrices given a context.
test-heavy: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --durations=10 -m heavy tests

# Every plan at one, two, five and many features, with and without a context, in both precisions, at parameters of three sizes.
test-grid: install
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --durations=10 tests/grid

# The compiled kernels under AddressSanitizer, UBSan and ThreadSanitizer: their tests, a fuzzer of all entries, and planted faults, which
# have to be found. It takes gcc.
test-sanitizers: install
	$(BIN)/python tests/sanitizers/run.py

# The same functions in other libraries, with their weights copied.
test-peers: .venv-interop/installed
	OMP_NUM_THREADS=1 .venv-interop/bin/python -m pytest -q -n 2 tests/peers

# Other people's tools with flows of this library, end to end.
test-interop: .venv-interop/installed
	OMP_NUM_THREADS=1 .venv-interop/bin/python -m pytest -q -n 2 --durations=10 tests/interop

# Random cases, right and wrong, for as many seconds; `python -m tests.fuzz --help` says how to do one again.
SECONDS ?= 300
fuzz: install
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.fuzz --seconds $(SECONDS)

# All suites as other processors, libraries and numbers of threads would run them: hours. WORDS="MKL simulated" chooses settings.
test-processors: install .venv-interop/installed
	$(BIN)/python scripts/processors.py $(WORDS)

# How often the tests of quality pass from 20 starts, and with what margins: hours. WORDS="founding" chooses tests.
test-rates: install
	OMP_NUM_THREADS=1 $(BIN)/python scripts/rates.py $(WORDS)

# Plants the faults of scripts/faults.txt, one at a time, and tells which tests notice: ten minutes and more. WORDS="kernels" chooses.
mutants: install
	$(BIN)/python scripts/mutants.py $(WORDS)

# The suite on another torch, in an environment of its own: make test-torch VERSION=2.14.1, and PYTHON=... for another Python.
test-torch: .venv-torch-$(VERSION)/installed
	OMP_NUM_THREADS=1 .venv-torch-$(VERSION)/bin/python -m pytest -q -n 2 --durations=10 -m "not heavy"

lint: install
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: install
	$(BIN)/mypy

# The site, in build/site: pages and docstrings, every warning an error. Open build/site/index.html; it needs no network.
docs: .venv/documented
	OMP_NUM_THREADS=1 $(BIN)/python -m sphinx -q -W --keep-going -b html -c docs/site . build/site

.venv/documented: .venv/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	touch $@

demo: install
	$(BIN)/python examples/flights.py
	$(BIN)/python examples/demo.py

# Writes what is written from the code: lists of names, the catalogue, the tree of the design, stubs, golden files, and rows of the numerics
# that are new, which are measured. `.venv/bin/python -m scripts.generated --check` tells what is stale.
generated: install
	$(BIN)/python -m scripts.generated

catalogue: generated

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

.venv-interop/installed: constraints.txt setup.py pyproject.toml tests/interop/requirements.txt $(wildcard pushforward/native/src/*)
	test -x .venv-interop/bin/python || $(PYTHON) -m venv .venv-interop
	.venv-interop/bin/python -m pip install --quiet --constraint constraints.txt --requirement tests/interop/requirements.txt --editable .
	touch $@

# Everything as in constraints.txt except torch, and what is pinned beside it in OTHERS: OTHERS="numpy==1.26.0 safetensors==0.4.4".
.venv-torch-%/installed: pyproject.toml setup.py constraints.txt $(wildcard pushforward/native/src/*)
	test -x .venv-torch-$*/bin/python || $(PYTHON) -m venv .venv-torch-$*
	sed 's/^torch==.*/torch==$*/' constraints.txt > .venv-torch-$*/constraints.txt
	.venv-torch-$*/bin/python -m pip install --quiet --constraint .venv-torch-$*/constraints.txt --editable ".[all,dev]" $(OTHERS)
	touch $@

clean:
	rm -rf .venv .venv-peers .venv-interop .venv-torch-* build/site docs/reference out sbi-logs .pytest_cache .mypy_cache .ruff_cache .hypothesis
