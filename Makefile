# Every task of the project. Each sets up what it needs: a virtual environment in .venv with the package (editable),
# its compiled core and the tools. The set-up is repeated only when the build's inputs change.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
CORE := $(wildcard ext/multipaxos/*/*.pyx ext/multipaxos/*/*.pxd)

# Seconds, of the targets that go on as long as they are told.
DURATION := 60

comma := ,

.PHONY: help demo test mutants torture lint bench fuzz sanitize coverage diagrams evaluation evaluation-quick build clean
.DELETE_ON_ERROR:

help:
	@echo "make demo      a three-node durable cluster takes writes, loses its leader, goes on"
	@echo "make test      every test, with the mutants of changed modules and a fifth of the others"
	@echo "make lint      ruff, mypy, stubtest, cython-lint"
	@echo "make mutants   all mutants of the core: within how many seeds the simulator finds each"
	@echo "make torture   real processes on LMDB under random faults, for DURATION=60 seconds (SEED=N: the same plan)"
	@echo "make fuzz      hostile bytes for the core, guided by coverage, for DURATION=60 seconds (needs clang)"
	@echo "make sanitize  the core's tests under ASan and UBSan, then simulation, for DURATION=60 seconds"
	@echo "make coverage  which lines of the core its tests and the simulator reach; what they do not reach, and why"
	@echo "make diagrams  docs/diagrams again, from the golden transcripts"
	@echo "make bench     microbenchmarks of the core"
	@echo "make evaluation        all experiments in Mininet (root; LIBPAXOS_BIN=DIR: beside LibPaxos3; OUT=DIR; RUNS=10)"
	@echo "make evaluation-quick  the whole of it, small"
	@echo "make build     wheel and sdist into dist/"
	@echo "make clean     removes what the others made, .venv too"

demo: $(READY)
	$(BIN)/python -m multipaxos.demo

# Cluster tests mind the time: no more workers than two, and a file's tests stay on one of them.
test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile tests

mutants: $(READY)
	$(BIN)/python -m tests.simulation.mutation

torture: $(READY)
	$(BIN)/python -m tests.torture --duration $(DURATION) $(if $(SEED),--seed $(SEED))

# cython-lint calls pycodestyle by name: hence the PATH.
lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest multipaxos --mypy-config-file pyproject.toml --allowlist tests/project/stubtest-allowlist.txt
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/cython-lint ext

bench: $(READY)
	$(BIN)/python -m pytest bench --benchmark-only --benchmark-sort=mean --benchmark-columns=mean,median,stddev,ops

# The pictures of docs/protocol.md, drawn from tests/transcripts; a test holds them to be current.
diagrams: $(READY)
	$(BIN)/python tools/diagrams.py

# Each of these three builds a core of its own in build/, and does it again only for what has changed.
fuzz: $(READY) $(VENV)/.fuzz
	$(BIN)/python tools/fuzzing.py --duration $(DURATION)

sanitize: $(READY)
	$(BIN)/python tools/sanitize.py --duration $(DURATION)

coverage: $(READY)
	$(BIN)/python tools/coverage_of_core.py

# End-to-end experiments: see docs/evaluation.md. Root, Debian's mininet and bridge-utils; what is missing is said.
SYSTEMS := multipaxos$(if $(LIBPAXOS_BIN),$(comma)libpaxos)$(if $(shell command -v etcd),$(comma)etcd)
OUT := evaluation-results
RUNS := 10

evaluation: $(READY)
	$(BIN)/python mininet/evaluate.py all --systems $(SYSTEMS) --runs $(RUNS) --out $(OUT) \
		$(if $(LIBPAXOS_BIN),--libpaxos-bin $(LIBPAXOS_BIN))

evaluation-quick: $(READY)
	place=$$(mktemp -d) && $(BIN)/python mininet/evaluate.py all --quick --out $$place; code=$$?; rm -rf $$place; exit $$code

# A stale build/ would ship modules that are no longer there.
build: $(READY)
	rm -rf build dist
	$(BIN)/python -m build
	rm -rf build

$(READY): pyproject.toml setup.py .ci/make-venv $(CORE)
	.ci/make-venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[test,bench,lint,evaluation]'
	touch $@

# The extra `fuzz` alone: installing the package once more would compile it once more.
$(VENV)/.fuzz: $(READY)
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["fuzz"])' \
		| xargs $(BIN)/python -m pip install --quiet --disable-pip-version-check
	touch $@

clean:
	rm -rf $(VENV) build dist src/*.egg-info src/multipaxos/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis
