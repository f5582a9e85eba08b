# Every task of the project. Each sets up what it needs: a virtual environment in .venv with the package (editable),
# its compiled core and the tools. The set-up is repeated only when the build's inputs change.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# Its files, and its folders, whose times change when a file is added or goes away.
CORE := $(wildcard ext/multipaxos/* ext/multipaxos/*/*.pyx ext/multipaxos/*/*.pxd)

# Seconds, of the tasks that run as long as is asked.
DURATION := 60

comma := ,

.PHONY: help setup demo test mutants torture lint bench bench-gate bench-record fuzz sanitize coverage diagrams \
	evaluation evaluation-quick build clean
.DELETE_ON_ERROR:

help:
	@echo "make demo          start a durable cluster of three nodes, write to it, kill its leader, go on writing"
	@echo "make test          run the tests, among them a fifth of the mutants (SEED=N: in a random order)"
	@echo "make lint          run ruff, mypy, stubtest, cython-lint"
	@echo "make bench         run the microbenchmarks of the core, then bench-gate"
	@echo "make bench-gate    count the core's instructions in fixed runs; fail if one takes 3 % more (needs valgrind)"
	@echo "make bench-record  keep the present instruction counts as those to compare with"
	@echo "make mutants       run all mutants of the core: within how many seeds does the simulator find each?"
	@echo "make torture       real processes on LMDB under random faults, for DURATION=60 seconds (SEED=N: repeat a plan)"
	@echo "make fuzz          hostile bytes for the core, guided by coverage, for DURATION=60 seconds (needs clang)"
	@echo "make sanitize      run the core's tests under ASan and UBSan, then simulate for DURATION=60 seconds"
	@echo "make coverage      show which lines of the core its tests and the simulator do not reach, and why"
	@echo "make diagrams      draw docs/diagrams again, from the golden transcripts"
	@echo "make evaluation    run all experiments in Mininet, as root (LIBPAXOS_BIN=DIR: LibPaxos3 too; OUT=DIR; RUNS=10)"
	@echo "make evaluation-quick  run every experiment once, as small as it can be"
	@echo "make build         build wheel and sdist into dist/"
	@echo "make clean         remove what the other tasks made, .venv too"

setup: $(READY)

demo: $(READY)
	$(BIN)/python -m multipaxos.demo

# Tests of clusters depend on the time: so there are no more than two workers, and a file's tests run on one of them,
# in the order of tests/conftest.py.
test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile --no-loadscope-reorder \
		$(if $(SEED),-p randomly --randomly-seed=$(SEED)) tests

mutants: $(READY)
	$(BIN)/python -m tests.simulation.mutation

torture: $(READY)
	$(BIN)/python -m tests.torture --duration $(DURATION) $(if $(SEED),--seed $(SEED))

# cython-lint calls pycodestyle by name: hence the PATH.
lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest multipaxos --mypy-config-file pyproject.toml \
		--allowlist tests/project/stubtest-allowlist.txt
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cython-lint ext

# Times are shown; only instruction counts can fail.
bench: $(READY)
	$(BIN)/python -m pytest bench --benchmark-only --benchmark-sort=mean --benchmark-columns=mean,median,stddev,ops
	$(BIN)/python tools/instructions.py

bench-gate: $(READY)
	$(BIN)/python tools/instructions.py

bench-record: $(READY)
	$(BIN)/python tools/instructions.py --record

# The pictures of docs/protocol.md, drawn from tests/transcripts; a test checks that they are current.
diagrams: $(READY)
	$(BIN)/python tools/diagrams.py

# Each of these three builds a core of its own in build/; only what has changed is built again.
fuzz: $(READY) $(VENV)/.fuzz
	$(BIN)/python tools/fuzzing.py --duration $(DURATION)

sanitize: $(READY)
	$(BIN)/python tools/sanitize.py --duration $(DURATION)

coverage: $(READY)
	$(BIN)/python tools/coverage_of_core.py

# End-to-end experiments, see docs/evaluation.md. They need root, Debian's mininet and bridge-utils, and report what is
# missing.
SYSTEMS := multipaxos$(if $(LIBPAXOS_BIN),$(comma)libpaxos)$(if $(shell command -v etcd),$(comma)etcd)
OUT := evaluation-results
RUNS := 10

evaluation: $(READY)
	$(BIN)/python mininet/evaluate.py all --systems $(SYSTEMS) --runs $(RUNS) --out $(OUT) \
		$(if $(LIBPAXOS_BIN),--libpaxos-bin $(LIBPAXOS_BIN))

evaluation-quick: $(READY)
	place=$$(mktemp -d) && $(BIN)/python mininet/evaluate.py all --quick --out $$place; \
		code=$$?; rm -rf $$place; exit $$code

# A stale build/ would ship modules that no longer exist.
build: $(READY)
	rm -rf build dist
	$(BIN)/python -m build
	rm -rf build

# An extension whose source is gone could still be imported: it is deleted.
$(READY): pyproject.toml setup.py .ci/make-venv $(CORE)
	.ci/make-venv $(VENV)
	for built in $$(find src -name '*.so'); do \
		stem=$${built#src/}; [ -e "ext/$${stem%%.*}.pyx" ] || rm "$$built"; \
	done
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,bench,lint,evaluation]'
	touch $@

# Only the extra `fuzz`: installing the package once more would compile it once more.
$(VENV)/.fuzz: $(READY)
	$(BIN)/python -c 'import tomllib; project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
		print(*project["optional-dependencies"]["fuzz"])' \
		| xargs $(BIN)/python -m pip install --quiet --disable-pip-version-check
	touch $@

clean:
	rm -rf $(VENV) build dist src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	find src -name '*.so' -delete
