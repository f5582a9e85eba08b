# Every task of the project. Each sets up what it needs: a virtual environment in .venv with the package (editable),
# its compiled core and the tools. The set-up is repeated only when the build's inputs change.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CORE := $(wildcard ext/multipaxos/*.pyx ext/multipaxos/*.pxd)

.PHONY: help demo test torture lint bench build clean
.DELETE_ON_ERROR:

help:
	@echo "make demo    a three-node durable cluster takes writes, loses its leader, goes on"
	@echo "make test    every test"
	@echo "make torture DURATION=600   real processes under random faults, for so many seconds (SEED=N: the same plan)"
	@echo "make lint    ruff, mypy, stubtest, cython-lint"
	@echo "make bench   microbenchmarks of the core"
	@echo "make build   wheel and sdist into dist/"
	@echo "make clean   removes what the others made, .venv too"

demo: $(READY)
	$(BIN)/python -m multipaxos.demo

# Cluster tests mind the time: no more workers than two, and a file's tests stay on one of them.
test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile tests

DURATION ?= 60
torture: $(READY)
	$(BIN)/python -m tests.torture --duration $(DURATION) $(if $(SEED),--seed $(SEED))

# cython-lint calls pycodestyle by name: hence the PATH.
lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest multipaxos --mypy-config-file pyproject.toml --allowlist tests/stubtest-allowlist.txt
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cython-lint ext

bench: $(READY)
	$(BIN)/python -m pytest bench --benchmark-only --benchmark-sort=mean --benchmark-columns=mean,median,stddev,ops

# A stale build/ would ship modules that are no longer there.
build: $(READY)
	rm -rf build dist
	$(BIN)/python -m build
	rm -rf build

$(READY): pyproject.toml setup.py .ci/make-venv $(CORE)
	.ci/make-venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,bench,lint]'
	touch $@

clean:
	rm -rf $(VENV) build dist src/*.egg-info src/multipaxos/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis
