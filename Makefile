# Three commands: `make study` draws the embedded study's curves; `make vectors` measures vectors without a model; `make test`
# checks the whole project.
#
# torch: envs/requirements.in names its version. Where the default index carries another build than wanted, say so once:
#   make study PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cpu"     (processor only)
#   make study PIP_FLAGS="--extra-index-url https://download.pytorch.org/whl/cu130"   (a GPU build)

PYTHON ?= python3
PIP_FLAGS ?=
CORES ?= all
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
LOCKED := --require-hashes --no-deps
TORCH := $$(grep '^torch==' envs/requirements.in)

.PHONY: study vectors test tests slurm-test check install lock clean

study: $(VENV)/study
	$(BIN)/snakemake --cores $(CORES)

vectors: $(VENV)/study
	test -e vectors/wordnet/queries.npy || $(BIN)/python -m testing.example_vectors --output vectors/wordnet
	$(BIN)/snakemake --cores $(CORES) --configfile studies/vectors.yaml

# The checks run beside the tests: mypy has one core busy for a minute.
test: $(VENV)/development
	$(MAKE) --no-print-directory --jobs 2 check tests

# Several jobs share the cores in tests: a thread that waits for another gives its core away.
tests: $(VENV)/development
	OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -m "not slurm" -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder $(TESTS)

# The cluster's tests alone, on a real SLURM that they bring up and take down; docs/slurm.md names its packages.
slurm-test: $(VENV)/development
	OMP_WAIT_POLICY=PASSIVE $(BIN)/python -m pytest -rs -m slurm tests/slurm

check: $(VENV)/development
	$(BIN)/ruff check .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/snakefmt --check Snakefile rules
	$(BIN)/snakemake --lint

install: $(VENV)/study

# The locked packages first, each with its checksum; torch then finds there what it requires. Its own checksum is not
# asked for: each of its builds has another.
$(VENV)/study: envs/lock.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed; name one: make study PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) $(LOCKED) -r envs/lock.txt
	$(PIP) $(PIP_FLAGS) "$(TORCH)"
	touch $@

$(VENV)/development: $(VENV)/study envs/development-lock.txt envs/deploy-lock.txt envs/node/package-lock.json
	$(PIP) $(LOCKED) -r envs/development-lock.txt -r envs/deploy-lock.txt
	mkdir -p $(VENV)/node && cp envs/node/package.json envs/node/package-lock.json $(VENV)/node
	if command -v npm > /dev/null; then npm ci --silent --prefix $(VENV)/node; else echo "no npm here: the test of pgvector is skipped"; fi
	touch $@

# After a change of *.in. Versions that are locked stay; to change one, name it there (`numpy==…`) or delete its lines here.
# environment.yaml repeats the versions for conda (`snakemake --sdm conda`), which cannot be pointed at lock.txt: it reads
# a copy of the file in another folder.
lock: COMPILE = $(VENV)-lock/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
  --no-header --no-emit-package torch
lock:
	$(PYTHON) -m venv $(VENV)-lock
	$(VENV)-lock/bin/python -m pip install --quiet --disable-pip-version-check uv
	$(COMPILE) envs/requirements.in --output-file envs/lock.txt
	$(COMPILE) envs/development.in --constraint envs/requirements.in --constraint envs/lock.txt \
	  --output-file envs/development-lock.txt
	$(COMPILE) envs/deploy.in --constraint envs/requirements.in --constraint envs/lock.txt \
	  --constraint envs/development-lock.txt --output-file envs/deploy-lock.txt
	{ printf '%s\n' '# Made by `make lock` from lock.txt.' 'channels:' '  - conda-forge' 'dependencies:' '  - python=3.11' '  - pip' \
	  '  - pip:' "      - $(TORCH)"; sed -n 's/^\([a-z0-9].*[^ ]\) \\$$/      - \1/p' envs/lock.txt; } > envs/environment.yaml
	rm -rf $(VENV)-lock

# .snakemake stays: it knows the settings that results/ were made with, without which a change of them runs nothing.
clean:
	rm -rf $(VENV)
