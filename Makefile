# Two commands do everything: `make demo` and `make test`. See README.md.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed-run
STAMP_DEV := $(VENV)/.installed-dev
OUT ?= out
# Test workers: one for each core; JOBS=0 runs in one process, for a debugger.
JOBS ?= auto

PEERS := $(patsubst %.txt,%,$(notdir $(wildcard benchmarks/environments/*.txt)))
PEER_STAMPS := $(PEERS:%=benchmarks/results/.environments/%/.installed)

.PHONY: demo test lint types unit test-slow docs clean help
.PHONY: bench bench-peers bench-table bench-figures bench-compare

help:
	@echo "make demo       install, stress, propose and backtest the reference book; writes an HTML report"
	@echo "make test       lint, types, tests"
	@echo "make test-slow  the slow studies and tests"
	@echo "make docs       documentation as HTML under out/docs; a warning is an error"
	@echo "make bench      benchmarks (CASE=substring filters), JSON under benchmarks/results"
	@echo "make bench-compare BASE=revision   this tree against another revision (CASE=, THRESHOLD=)"
	@echo "make bench-figures   all benchmarks with all peers, then the table of docs/speed.md"
	@echo "make clean      remove the environment and every generated file"

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Ballast needs Python 3.11 or later, found " + sys.version.split()[0] + "; try make PYTHON=python3.12") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv $(VENV)

$(STAMP): pyproject.toml constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(STAMP_DEV): pyproject.toml constraints.txt $(STAMP)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $$($(BIN)/python tests/dev_requirements.py)
	@touch $@

demo: $(STAMP)
	$(BIN)/ballast demo --out $(OUT)

lint: $(STAMP_DEV)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports

types: $(STAMP_DEV)
	$(BIN)/pyright

# One fresh numba cache per run: cached kernels do not notice edits in other files.
unit: $(STAMP_DEV)
	@cache=$$(mktemp -d) && trap 'rm -rf "$$cache"' EXIT && \
	PYTHONHASHSEED=0 NUMBA_CACHE_DIR=$$cache MPLBACKEND=Agg $(BIN)/python -m pytest -q -m "not slow" -n $(JOBS) --dist loadfile

test: lint types unit

# Ray is an extra; where it cannot be installed its tests are skipped and say so.
test-slow: $(STAMP_DEV)
	-$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[ray]"
	@cache=$$(mktemp -d) && trap 'rm -rf "$$cache"' EXIT && \
	NUMBA_CACHE_DIR=$$cache MPLBACKEND=Agg $(BIN)/python -m pytest -q -m slow

docs: $(STAMP_DEV)
	$(BIN)/python -m sphinx -q -W --keep-going -b html -d $(OUT)/.doctrees docs $(OUT)/docs
	@echo "documentation in $(OUT)/docs/index.html"

bench: $(STAMP_DEV)
	$(BIN)/python -m benchmarks $(if $(CASE),--case "$(CASE)") $(if $(JSON),--json "$(JSON)")

# Peers whose requirements must not mix with ours get environments of their own.
benchmarks/results/.environments/%/.installed: benchmarks/environments/%.txt constraints.txt | $(VENV)/bin/python
	$(BIN)/python -m venv $(@D)
	$(@D)/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -r $<
	@touch $@

bench-peers: $(PEER_STAMPS)

bench-table: $(STAMP_DEV)
	$(BIN)/python -m benchmarks --readme "$(or $(JSON),benchmarks/figures.json)"

# On a quiet machine, from a committed tree; interrupted, it resumes.
bench-figures: $(STAMP_DEV) bench-peers
	$(BIN)/python -m benchmarks
	$(MAKE) bench-table JSON=benchmarks/results/latest.json

# Builds BASE in an environment of its own (SHARED=1: in this one, where the packages
# are the same) and times both revisions in turns. Exit status 1: slower, or changed.
bench-compare: $(STAMP_DEV)
	@test -n "$(BASE)" || { echo "make bench-compare BASE=revision [CASE=substring]"; exit 2; }
	$(BIN)/python -m benchmarks --compare "$(BASE)" $(if $(CASE),--case "$(CASE)") $(if $(JSON),--json "$(JSON)") \
		$(if $(THRESHOLD),--threshold $(THRESHOLD)) $(if $(SHARED),--shared-environment)

clean:
	rm -rf benchmarks/results/.environments
	rm -rf $(VENV) $(OUT) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
