# What looks for faults by the thousand: before a release, or after changes to what reads and writes files.

.PHONY: fuzz fuzz-guided kernels faults mutants coverage

fuzz: $(VENV)/.tested-with  ## every reader fed ten million bytes of damaged files, and ten thousand lies a format
	$(BIN)/python -m integrations.fuzz
	$(BIN)/python -m integrations.lies

fuzz-guided: $(VENV)/.tested-with  ## the same for a minute each, the damages chosen by the code they reach; Python 3.11
	$(BIN)/python -m pip install --quiet atheris==3.0.0
	$(BIN)/python -m integrations.fuzz --guided 60

kernels: $(VENV)/.tested-with  ## every kernel that a search may launch, compiled for GPUs that are not there
	$(BIN)/python -m integrations.speed.kernels

faults: $(VENV)/.tested-with  ## thousands of kills, full disks and changed bits, and what a reader finds behind each
	$(BIN)/python -m integrations.faults

mutants: $(VENV)/.tested-with  ## changes to the code of the formats that its tests do not notice, against docs/mutants.md
	$(BIN)/python -m pip install --quiet mutmut
	$(BIN)/mutmut run && $(BIN)/mutmut results | $(BIN)/python -m integrations.mutants

coverage: $(VENV)/.tested-with  ## branches of reading and writing code that no test takes; fails below 95 %
	$(BIN)/python -m pip install --quiet -c constraints.txt pytest-cov
	$(BIN)/python -m pytest --cov=hypensearch/formats --cov=hypensearch/flat --cov-branch \
		--cov-report=term-missing --cov-fail-under=95
