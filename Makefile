# The commands a person types. Each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := results/demo

.PHONY: setup demo docs test test-ray test-search test-others test-thorough test-cluster chaos check fmt golden clean
.DEFAULT_GOAL := help

help:
	@echo "make setup   the environment in $(VENV), with locked versions (3.2 GB, 2 to 5 minutes); PYTHON=python3.12 chooses the Python"
	@echo "make demo    search, pre-training, fine-tuning and report on generated ECG: three minutes"
	@echo "make test    all tests"
	@echo "make test-thorough  all tests with ten times the random examples, and second variants on Ray: hours"
	@echo "make test-cluster  cluster.yaml on machines made of namespaces, as root"
	@echo "make chaos   searches with kills, full disks, damage, outages and leaks: two hours; ARGS='--only NAME'"
	@echo "make check   format, lint, types, layers, and the quick tests' imports"
	@echo "make fmt     format the code"
	@echo "make docs    the documentation, in build/site/index.html; needs no network"
	@echo "make golden  renew the known-good numbers in tests/golden; ARGS=WORD for files with that word in their names"

setup: $(READY)

$(READY): requirements.lock pyproject.toml packaging/torch.lock packaging/netifaces/pyproject.toml packaging/make_venv.sh
	@sh packaging/make_venv.sh $(VENV) $(PYTHON)
	@touch $(READY)

# A search of pre-training, a longer training, fine-tuning with and without it, and a table over draws of labelled people.
demo: setup
	$(BIN)/python examples/demo.py $(DEMO)

# Tests of Ray, servers and locks wait a lot: three processes keep two cores busy. Their parts take equally long.
SEARCH_TESTS := $(addprefix tests/,golden runtime search storage study tune)
SHORT_RAY_TESTS := $(addprefix tests/ray/test_,stock_tuner.py trainables.py tutorial.py)

test: setup
	$(MAKE) --jobs=3 --keep-going --output-sync=line test-ray test-others test-search

test-ray:
	$(BIN)/python -m pytest tests/ray $(addprefix --ignore=,$(SHORT_RAY_TESTS))

test-search:
	$(BIN)/python -m pytest $(SEARCH_TESTS) $(SHORT_RAY_TESTS)

test-others:
	$(BIN)/python -m pytest $(addprefix --ignore=,tests/ray $(SEARCH_TESTS))

test-thorough: setup
	$(BIN)/python -m pytest --hypothesis-profile=thorough --timeout=3600 -m 'not cluster' \
		--jaxtyping-packages=emotune,beartype.beartype

# Machines made of namespaces: needs root, sshd and rsync.
test-cluster: setup
	$(BIN)/python -m pytest -m cluster tests/cluster

# Needs Linux, strace and the right to mount: docs/faults.md.
chaos: setup
	$(BIN)/python -m chaos $(ARGS)

check: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports --no-cache

fmt: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --quiet
	@echo "open build/site/index.html; with its search: $(BIN)/python -m http.server --directory build/site"

golden: setup
	$(BIN)/python -m tests.golden.renew $(ARGS)
