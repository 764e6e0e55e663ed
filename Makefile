# Two commands matter: make demo, make test. Each makes .venv if it is needed.
PYTHON ?= python3
VENV   ?= .venv
OUT    ?= out
BIN    := $(VENV)/bin
# the versions that are installed
PINS   ?= constraints.txt
SPEC   := settings.ini setup.py pyproject.toml $(PINS)
# the tests that are run: all, or files and options of pytest
TESTS  ?=
PROTOCOLS := quick full restart ablations curves embedded embedded_small
PIP    := $(BIN)/python -m pip install --disable-pip-version-check -q -c $(PINS)
CODE   := nbs tests docs setup.py
NB     ?= $(shell find nbs -name '*.ipynb' -not -path '*/.*' | sort)
# notebooks whose seconds are read: they run last, one at a time
TIMED  := nbs/parts/bench.ipynb nbs/parts/unet.ipynb nbs/tutorials/paper_table5.ipynb

.PHONY: demo test floor fuzz lint bench docs notebooks figures readme loads clean help

help:
	@echo "make demo    a stereo video in $(OUT)/, from a picture and a prompt, on the CPU"
	@echo "make test    all tests and all notebooks"
	@echo "make floor   the same with the oldest versions of the packages, in .venv-floor"
	@echo "make fuzz    damaged files and odd settings, about ten minutes of them, each time others"
	@echo "make lint    ruff over notebooks, modules, tests and docs"
	@echo "make bench   how fast it is, as ratios: nbs/tables/speed.md (about ten minutes, with nothing else running)"
	@echo "make docs    the site, in _docs/"
	@echo "make notebooks  every notebook run and saved with its outputs"
	@echo "                (NB='nbs/lessons/01_disparity.ipynb …': those alone)"
	@echo "make figures all that is made with the embedded model's weights: tables, gallery, notebooks (about four hours of a core)"
	@echo "make loads   the memory of scz-nb app after 300 pages (about half an hour, with Chromium)"
	@echo "make readme  README.md from nbs/index.ipynb"
	@echo "make clean   what the other commands made, but not $(VENV)"

$(VENV)/.run: $(SPEC)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) -e .
	touch $@

$(VENV)/.dev: $(VENV)/.run
	$(PIP) -e '.[dev]'
	touch $@

demo: $(VENV)/.run
	$(BIN)/scz-nb demo --out $(OUT)

test: $(VENV)/.dev
	$(BIN)/python -m pytest $(TESTS)

# what is least to be had, and Colab had in the winter of 2026
floor:
	$(MAKE) test VENV=.venv-floor PINS=tests/constraints-floor.txt

fuzz: $(VENV)/.dev
	FUZZ=20 $(BIN)/python -m pytest tests/test_fuzz.py

lint: $(VENV)/.dev
	$(BIN)/ruff check $(CODE) scz_nb
	$(BIN)/ruff format --check $(CODE)

bench: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python -c "from scz_nb.evaluation.bench import bench; bench('cpu', '$(OUT)/bench', everything=True)"
	for kind in md json; do cp $(OUT)/bench/bench.$$kind nbs/tables/speed.$$kind; done

docs: $(VENV)/.dev
	OMP_NUM_THREADS=1 $(BIN)/python docs/make_site.py

# one process a core; a notebook that fails is left as it was
execute = printf '%s\n' $(1) | OMP_NUM_THREADS=1 xargs -r -n 1 -P $(2) \
	$(BIN)/jupyter-execute --inplace --timeout=900

notebooks: $(VENV)/.dev
	$(call execute,$(filter-out $(TIMED),$(NB)),$(shell nproc))
	$(call execute,$(filter $(TIMED),$(NB)),1)
	$(BIN)/python docs/stateless.py $(NB)
	PATH="$(abspath $(BIN)):$$PATH" nbdev-clean

figures: $(VENV)/.dev
	for p in $(PROTOCOLS); do \
		$(BIN)/scz-nb eval --protocol $$p --out $(OUT)/$$p || exit; \
		case $$p in quick|full) name=truth_$$p;; *) name=$$p;; esac; \
		for f in $(OUT)/$$p/table.md $(OUT)/$$p/table.csv $(OUT)/$$p/table.json; do \
			if [ -f $$f ]; then cp $$f nbs/tables/$$name.$${f##*.}; fi; \
		done; \
	done
ifdef BEFORE
	$(BIN)/python -c "from scz_nb.evaluation.scores import evaluate_embedded as e; e('$(OUT)/before', before='$(BEFORE)')"
	for kind in md json; do cp $(OUT)/before/table.$$kind nbs/tables/embedded.$$kind; done
endif
	$(BIN)/scz-nb gallery --out nbs/images/gallery
	$(MAKE) notebooks readme

readme: $(VENV)/.dev
	$(BIN)/python docs/readme.py

loads: $(VENV)/.dev
	$(BIN)/python tests/helpers/app.py 300

clean:
	rm -rf $(OUT) _docs _proc dist build *.egg-info .pytest_cache .ruff_cache .hypothesis
	find nbs scz_nb tests -name __pycache__ -prune -exec rm -rf {} +
