# make demo   runs the example agent: no key, no network beyond the installation
# make test   runs the checks and the tests
# Another Python than python3 (3.11 or newer): make demo PYTHON=python3.12

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SELECTED := -m "not slow and not backends"
# An interrupt takes away the trace function that coverage measures by.
MEASURED := -m "not slow and not backends and not interrupts" --cov --cov-report=

.PHONY: demo test test-traffic coverage coverage-report test-interrupts test-pythons docs lock upgrade test-clients newest-clients test-coexistence test-frameworks test-step-sources test-programs test-soak test-backends sbom audit mutation fuzz lint types bench bench-gate bench-figures bench-all clean
.DEFAULT_GOAL := demo

demo: $(VENV)/.installed-demo
	@$(BIN)/python examples/demo.py

test: lint types
	$(BIN)/python -m pytest -n auto $(SELECTED)

# Every recorded case in every way to make its call, sync and async, less the representative part that `make test` runs.
test-traffic: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n auto --left-out -m "not slow and not backends" tests/calls tests/clients tests/testing

# Line and branch coverage of everything that `make test` runs, with a floor.
coverage: $(VENV)/.installed-test
	$(BIN)/python -m pytest -q -n auto $(MEASURED)
	$(MAKE) --no-print-directory coverage-report

test-interrupts: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n auto -m interrupts

coverage-report: $(VENV)/.installed-test
	$(BIN)/coverage report --skip-covered

# The core on Python 3.12 and 3.13, where the machine has them, and with the oldest versions of its own dependencies.
test-pythons: $(VENV)/.installed-test
	$(BIN)/nox

# The site, in site/. Fails at a link that leads nowhere.
docs: $(VENV)/.installed-docs
	$(BIN)/mkdocs build --strict --quiet

# The older majors of the clients, other instrumentations, frameworks over two public fake providers, the real Collector,
# Jaeger, Prometheus and Phoenix: each gets what it needs into ~/.cache/otel-harn-steps. The first build of the real
# programs takes about 20 minutes.
test-clients: $(VENV)/.installed-test
	$(BIN)/python tools/client_sets.py

# To be run now and then: the newest release of every client, without upper bounds.
newest-clients: $(VENV)/.installed-test
	$(BIN)/python tools/client_sets.py --newest

test-coexistence: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n auto --dist loadscope -m slow tests/integration/coexistence

test-step-sources: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n auto --dist loadscope -m slow tests/frameworks

test-programs: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n auto -m slow tests/integration/programs

test-frameworks: $(VENV)/.installed-test
	$(BIN)/python -m pytest -n auto --dist loadscope -m slow tests/integration/through_frameworks tests/integration/fakes

# Two minutes of faults of every kind, and 200,000 calls in one thread: the ledger adds up, and nothing grows.
test-soak: $(VENV)/.installed-test
	$(BIN)/python -m tests.soak --seconds 120
	$(BIN)/python -m tests.soak --calls 200000

test-backends: $(VENV)/.installed-test
	$(BIN)/python tools/backends.py all phoenix
	OTEL_HARN_STEPS_REQUIRE_BACKENDS=1 $(BIN)/python -m pytest -n 3 --dist loadscope -m "backends or slow" tests/integration/backends tests/dashboard tests/page

# What an installation brings along, by CycloneDX: the core, and each extra. In dist/sbom.
sbom: $(VENV)/.installed-release
	$(BIN)/python tools/sbom.py

# Known vulnerabilities in the versions of constraints.txt. Fails where an installation would have one; says so where the
# data cannot be reached.
audit: $(VENV)/.installed-release
	$(BIN)/python tools/audit.py

# To be run now and then, no stage of .ci/run: whether the tests notice when cost, totals, boundary or ledger are changed.
# It takes about half an hour. `make mutation MUTANTS='*boundary*'` runs a part, `mutmut show NAME` shows a survivor.
mutation: $(VENV)/.installed-mutation
	PATH="$(CURDIR)/$(BIN):$$PATH" nice -n 19 $(BIN)/mutmut run --max-children 1 $(MUTANTS)
	$(BIN)/mutmut results

# To be run now and then: bytes that nobody has thought of, found by what the code does with them. A minute for each reader.
fuzz: $(VENV)/.installed-fuzz
	$(BIN)/python -m tests.fuzz

bench: $(VENV)/.installed-demo
	OURS=$(CURDIR) benchmarks/setup_venvs.sh base ours clients
	$(BIN)/python benchmarks/run.py --quick
	$(BIN)/python benchmarks/providers.py

# What a step, a call and a chunk of a stream cost, in instructions: fails where one is more than 3 % above its figure in
# benchmarks/figures.json. The second one makes what is measured the figures.
bench-gate: $(VENV)/.installed-test
	@$(BIN)/python tools/backends.py valgrind
	$(BIN)/python benchmarks/gate.py

bench-figures: $(VENV)/.installed-test
	@$(BIN)/python tools/backends.py valgrind
	$(BIN)/python benchmarks/gate.py --write

# To be run now and then, about an hour: all peers at the versions of benchmarks/setup_venvs.sh, into docs/performance.md
# and its plot.
bench-all: $(VENV)/.installed-bench
	@$(BIN)/python tools/backends.py valgrind
	UV=$(CURDIR)/$(BIN)/uv benchmarks/setup_venvs.sh field
	$(BIN)/python benchmarks/field.py --measure

lint: $(VENV)/.installed-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-test
	MYPYPATH=examples $(BIN)/mypy --strict otel_harn_steps otel_harn_steps_pytest.py examples tests/typing/api.py
	$(BIN)/pyright --pythonpath $(BIN)/python tests/typing

clean:
	rm -rf $(VENV) .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The versions that `make test`, `make docs` and `make sbom` install: `lock` adds what is new, `upgrade` renews all of them.
upgrade: LOCK_OPTIONS = --upgrade
lock upgrade: $(BIN)/uv
	$(BIN)/uv pip compile --quiet $(LOCK_OPTIONS) --universal --python-version 3.11 --no-header --no-annotate \
		--extra serve --extra otlp --group test --group docs --group bench --group mutation --group fuzz --group release pyproject.toml -o constraints.txt

# A group of pyproject.toml is installed once, and again when that file or the versions change.
$(VENV)/.installed-%: pyproject.toml constraints.txt | $(BIN)/uv
	@echo "installing into $(VENV) ..."
	@$(BIN)/uv pip install --quiet --python $(BIN)/python -e '.[serve,otlp]' --group $* --constraint constraints.txt
	@touch $@

# Half a venv is removed again: with it the next run would not try to make a whole one.
$(BIN)/uv:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.12 ..." if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$$(grep '^uv==' constraints.txt)"
