# Two commands: `make study` draws the embedded study's curves; `make test` checks the whole project.
#
# torch: the lock names its version. Where the default index carries another build than wanted, say so once:
#   make study PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu"     (processor only)
#   make study PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cu130"   (a GPU build)

PYTHON ?= python3
PIP_FLAGS ?=
CORES ?= all
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check $(PIP_FLAGS)

.PHONY: study test slurm-test check install lock clean

study: $(VENV)/study
	$(BIN)/snakemake --cores $(CORES)

test: check
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -m "not slurm" -n auto --maxprocesses 4 --dist loadgroup $(TESTS)

# The cluster's tests alone, on a real SLURM that they bring up and take down; docs/slurm.md names its packages.
slurm-test: $(VENV)/development
	$(BIN)/python -m pytest -rs -m slurm tests/slurm

check: $(VENV)/development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

install: $(VENV)/study

$(VENV)/study: envs/lock.txt envs/requirements.in
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one: make study PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -c envs/lock.txt "torch==$$(sed -n 's/^torch==//p' envs/lock.txt)"
	$(PIP) -c envs/lock.txt -r envs/requirements.in
	touch $@

$(VENV)/development: $(VENV)/study envs/development.in
	$(PIP) -c envs/lock.txt -r envs/development.in
	touch $@

# After a change of requirements: install without the lock, then write down what was installed.
lock:
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet $(PIP_FLAGS) "torch==$$(sed -n 's/^torch==//p' envs/lock.txt)" \
	  -r envs/requirements.in -r envs/development.in
	$(VENV)-lock/bin/python envs/write_lock.py envs
	rm -rf $(VENV)-lock

# .snakemake stays: it knows the settings that results/ were made with, without which a change of them runs nothing.
clean:
	rm -rf $(VENV)
