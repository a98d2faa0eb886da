# make demo | test | test-slow | test-gpu | slurm-test | lint | setup     (CUDA=1 for a CUDA build of torch)
.DELETE_ON_ERROR:
PYTHON ?= python3
VENV ?= .venv
# The CPU build that the tests were made with; TORCH=… takes another, CUDA=1 the package index's newest CUDA build.
TORCH ?= 2.13.0
BIN = $(VENV)/bin

.PHONY: setup demo test test-slow test-gpu slurm-test lint clean

setup: $(VENV)/.ready

$(VENV)/.ready: pyproject.toml setup.py
	$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": make setup PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip setuptools wheel
	TORCH=$(TORCH) CUDA=$(CUDA) sh tools/install_torch.sh $(BIN)/python
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --editable '.[data]'
	touch $@

# What only the tests need, among it a compiler whose kernels they interpret.
$(VENV)/.tested: $(VENV)/.ready
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --editable '.[data,test]'
	touch $@

demo: setup
	sh tools/demo.sh $(BIN)/python

test: $(VENV)/.tested
	$(BIN)/python -m pytest -n 2

test-slow: $(VENV)/.tested
	$(BIN)/python -m pytest -m slow -n 2

test-gpu: $(VENV)/.tested
	$(BIN)/python -m pytest -m gpu

# On a cluster of its own on this machine; as root on Debian it installs the packages that are missing, and says so.
slurm-test: $(VENV)/.tested
	sh tests/slurm/install.sh
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --editable '.[data,test,slurm]'
	$(BIN)/python -m pytest -m slurm tests/slurm

lint: $(VENV)/.tested
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) runs data build *.egg-info
