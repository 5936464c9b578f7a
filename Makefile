# What a contributor needs. Everything runs inside .venv, which `make` fills from requirements.lock.
PYTHON ?= python3
BIN := .venv/bin
DEMO_IMAGE := examples/images/coffee.jpg

.PHONY: demo fast test check lint types docs bundle lock clean

.venv/.ready: requirements.lock requirements-dev.lock pyproject.toml
	$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11) and 'restore4k needs Python 3.11 or newer')"
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements-dev.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

demo: .venv/.ready
	$(BIN)/restore4k restore $(DEMO_IMAGE) --output restored/coffee_4k.png --runs runs --overwrite

# Before a commit: less than two minutes on two cores.
fast: .venv/.ready
	$(BIN)/python -m pytest -m fast

# Everything, also what is marked slow: published architectures, packaging, training; a process per core, of one thread.
test: .venv/.ready
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

lint: .venv/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports

types: .venv/.ready
	$(BIN)/mypy

check: lint types test

# The tables of README.md and docs/*.md that come from code; a test fails where they are out of date.
docs: .venv/.ready
	$(BIN)/python -m docs.generate

bundle: .venv/.ready
	$(BIN)/python bundle/build.py

lock: .venv/.ready
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header pyproject.toml \
		--output-file requirements.lock
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-annotate --no-header pyproject.toml --group dev --overrides overrides.txt \
		--constraint requirements.lock --output-file requirements-dev.lock

clean:
	rm -rf .venv dist build
