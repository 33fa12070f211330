# The commands a person types. Each sets up what it needs.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := results/demo

.PHONY: setup demo test test-ray test-others test-thorough test-cluster chaos check fmt golden clean
.DEFAULT_GOAL := help

help:
	@echo "make setup   the environment in $(VENV), with locked versions (2.6 GB, 5 minutes); PYTHON=python3.12 chooses the Python"
	@echo "make demo    a search, a fine-tuning and a report on made-up ECG, within ten minutes"
	@echo "make test    all tests"
	@echo "make test-thorough  all tests with ten times the random examples, and second variants on Ray: hours"
	@echo "make test-cluster  cluster.yaml on machines made of namespaces, as root"
	@echo "make chaos   searches with kills, full disks, damage, outages and leaks: two hours; ARGS='--only NAME'"
	@echo "make check   format, lint, types, layers, and the quick tests' imports"
	@echo "make fmt     format the code"
	@echo "make golden  renew the known-good numbers in tests/golden; ARGS=WORD for files with that word in their names"

setup: $(READY)

$(READY): requirements.lock pyproject.toml packaging/torch.lock packaging/netifaces/pyproject.toml packaging/make_venv.sh
	@sh packaging/make_venv.sh $(VENV) $(PYTHON)
	@touch $(READY)

# A search of pre-training, then the fine-tuning of its best encoder and of the same network from scratch.
demo: export EMOTUNE_STORAGE := $(DEMO)
demo: setup
	$(BIN)/emotune data prepare synthetic --store $(DEMO)/store --seconds 2.5 \
		--set subjects=24 --set seconds_per_state=60
	$(BIN)/emotune search smoke --store $(DEMO)/store --name demo
	$(BIN)/emotune finetune examples/finetune.yaml --store $(DEMO)/store --encoder demo --name pretrained
	$(BIN)/emotune finetune examples/finetune.yaml --store $(DEMO)/store --encoder demo --scratch --name scratch
	$(BIN)/emotune compare pretrained scratch
	@echo "The page about the search:"
	@$(BIN)/emotune report demo

# Tests with a Ray cluster of their own wait a lot for processes to start: all the others run beside them.
test: setup
	$(MAKE) --jobs=2 --keep-going --output-sync=line test-ray test-others

test-ray:
	$(BIN)/python -m pytest tests/ray

test-others:
	$(BIN)/python -m pytest --ignore=tests/ray

test-thorough: setup
	$(BIN)/python -m pytest --hypothesis-profile=thorough --timeout=3600 -m 'not cluster'

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

golden: setup
	$(BIN)/python -m tests.golden.renew $(ARGS)
