# make tutorial   environment, data and the whole series, executed headlessly, with a table of findings
# make test       the same environment and the whole test suite
# make lab        JupyterLab on the first notebook; its root is here, so that notebooks which runs leave can be opened
# make bench      measurements beside peers, gathered in benchmarks/results/README.md
# make book       the series as a static site in book/: the notebooks run, and their widgets live in the pages
#
# lab takes JUPYTER, more flags of JupyterLab, as "--no-browser --port=9999".
# tutorial takes PROFILE=smoke|teach|full, DATASET=simulated|nmnist, DATA_DIR=folder, OUT=folder.
# book takes PROFILE, BOOK=folder of the site, BOOK_NOTEBOOKS=folder of notebooks that have run, such as runs/book.

PYTHON ?= python3
VENV ?= .venv
PROFILE ?= teach
DATASET ?=
DATA_DIR ?=
OUT ?= runs/tutorial
JUPYTER ?=
BOOK ?= book
BOOK_NOTEBOOKS ?=

BIN := $(VENV)/bin
READY := $(VENV)/.ready
SERIES := $(sort $(wildcard notebooks/*.ipynb))

# Threads that wait give the processor to whoever has work; see snn_helpers/__init__.py.
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: setup tutorial test lab book bench lint clean

setup: $(READY)

$(READY): pyproject.toml constraints.txt .ci/setup.py
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) is missing. Debian, Ubuntu: apt-get install python3 python3-venv"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "make: $(PYTHON) is older than Python 3.11; name a newer one: make PYTHON=python3.11"; exit 1; }
	@$(PYTHON) .ci/setup.py $(VENV)
	@touch $@

tutorial: $(READY)
	$(BIN)/snn-helpers run $(SERIES) --out '$(OUT)' --profile $(PROFILE) \
		$(if $(DATASET),-p dataset $(DATASET)) $(if $(DATA_DIR),-p data_dir '$(abspath $(patsubst ~/%,$(HOME)/%,$(DATA_DIR)))')

# Sources are compiled once, not in each of the many processes that tests start, whatever the caller's variable says.
test: export PYTHONDONTWRITEBYTECODE :=
test: lint
	$(BIN)/python -m pytest -n 2 --dist worksteal $(PYTEST_ARGS)
	SNN_PROFILE=smoke SNN_RESULTS_DIR=$(CURDIR)/runs/nbval SNN_RUNS_DIR=$(CURDIR)/runs/nbval \
		$(BIN)/python -m pytest -n 2 --dist loadscope --nbval-lax --nbval-current-env --nbval-cell-timeout=3600 -W default notebooks

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -n 2
	$(BIN)/biome lint --error-on-warnings snn_helpers/widgets

lab: $(READY)
	$(BIN)/jupyter lab --ServerApp.root_dir='$(CURDIR)' notebooks/00_start_here.ipynb $(JUPYTER)

book: $(READY)
	@$(BIN)/python .ci/book.py --profile $(PROFILE) --out '$(BOOK)' \
		$(if $(BOOK_NOTEBOOKS),--notebooks '$(BOOK_NOTEBOOKS)')

bench: $(READY)
	$(BIN)/python benchmarks/_page.py benchmarks/[a-z]*.py

clean:
	rm -rf $(VENV) book runs results checkpoints logs data/stores benchmarks/results .pytest_cache .ruff_cache .mypy_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
