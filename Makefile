# Every target creates what it needs in .venv; nothing outside the checkout is touched.
#
#   make demo	the Flask application, with an origin server of its own; offline
#   make test	the test suite, with the coverage of branches
#   make reactors	the core's whole suite, on asyncio's, the poll and the select reactor
#   make reactor-rooms	the tests of it that a reactor makes a difference to, likewise
#   make lint	ruff, mypy and pyright
#   make docs	the documentation, in docs/_build/html
#   make bench	the benchmarks, against the other bridges there are
#   make downstream	public programs that depend on crochet, with this one in its place; old pytests
#   make hazards	what can go wrong, here and with other bridges, as a table
#   make matrix	the suite on the built wheel, on every other supported Python that is found
#   make python3.14	the core's suite on a CPython 3.14 of Debian's; as root
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
export PYRIGHT_PYTHON_CACHE_DIR := $(CURDIR)/$(VENV)/pyright

.PHONY: demo test reactors reactor-rooms lint docs bench hazards matrix python3.14 downstream clean
.DELETE_ON_ERROR:

demo: $(VENV)/demo.stamp
	$(BIN)/python -m demo

# Several tests at once; conftest.py says how many.
AT_ONCE := -n auto --dist worksteal

test: $(VENV)/test.stamp $(VENV)/demo.stamp $(VENV)/examples.stamp $(VENV)/docs.stamp \
      $(VENV)/bench.stamp $(VENV)/notebook.stamp
	rm -f .coverage .coverage.*
	$(BIN)/python -m coverage run -m pytest $(AT_ONCE)
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

# The core's whole suite; and the tests of it that a reactor makes a difference to, a minute for all.
reactors reactor-rooms: $(VENV)/test.stamp
reactors: REACTOR_TESTS = $$($(BIN)/python tools/matrix.py --around)
reactor-rooms: REACTOR_TESTS = $(patsubst %,tests/test_%.py,bell bridge calls coroutines event_loops host life parking \
    patience reactors relay result starting tasks)

reactors reactor-rooms:
	for reactor in asyncio poll select; do \
	    CROCHET_TEST_REACTOR=$$reactor $(BIN)/python -m pytest $(AT_ONCE) $(REACTOR_TESTS) || exit 1; \
	done

lint: $(VENV)/test.stamp $(VENV)/examples.stamp $(VENV)/notebook.stamp $(VENV)/lint.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	for version in 3.10 3.14; do \
	    $(BIN)/mypy --python-version $$version || exit 1; \
	    $(BIN)/pyright --pythonversion $$version || exit 1; \
	done
	rm -rf $(VENV)/typed
	$(PYTHON) -m venv $(VENV)/typed
	$(VENV)/typed/bin/python -m pip --disable-pip-version-check --quiet install .
	PATH="$(CURDIR)/$(VENV)/typed/bin:$$PATH" $(CURDIR)/$(BIN)/pyright --verifytypes crochet --ignoreexternal

docs: $(VENV)/docs.stamp
	$(BIN)/python -m sphinx -W --keep-going -E -q -b html docs docs/_build/html

bench: $(VENV)/bench.stamp
	$(BIN)/python -m benchmarks

# The bridges that are asked the same questions, each in an environment of its own; a column each.
# That of asyncio needs none.
OTHERS := $(VENV)/others
CROCHET := $(OTHERS)/crochet-2.1.1
ANYIO := $(OTHERS)/anyio-4.16.0
ASGIREF := $(OTHERS)/asgiref-3.13.0
SYNCHRONICITY := $(OTHERS)/synchronicity-0.12.7

hazards: $(VENV)/test.stamp $(CROCHET).stamp $(ANYIO).stamp $(ASGIREF).stamp $(SYNCHRONICITY).stamp
	$(BIN)/python -m tests.hazards --bound 60 --jobs 4 \
	    --with crochet=$(CROCHET)/bin/python --with asyncio=$(BIN)/python \
	    --with anyio=$(ANYIO)/bin/python --with asgiref=$(ASGIREF)/bin/python \
	    --with synchronicity=$(SYNCHRONICITY)/bin/python \
	    --markdown docs/explanation/hazards-table.md

$(OTHERS)/%.stamp:
	$(PYTHON) -m venv $(OTHERS)/$*
	$(OTHERS)/$*/bin/python -m pip --disable-pip-version-check --quiet install $(subst -,==,$*)
	touch $@

matrix: $(VENV)/pip.stamp
	$(BIN)/python tools/matrix.py --lowest

# Not by matrix.py, for it costs minutes and half a gigabyte. TESTS are arguments of pytest's.
python3.14:
	tools/python3.14.sh $(TESTS)

downstream: $(VENV)/pip.stamp
	$(BIN)/python tools/downstream.py

# One stamp per dependency group: a group is installed when it is first needed, and again when
# pyproject.toml changes.
$(VENV)/pip.stamp:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade 'pip>=25.1'
	touch $@

$(VENV)/%.stamp: pyproject.toml $(VENV)/pip.stamp
	$(PIP) install --editable . --group $*
	touch $@

clean:
	rm -rf $(VENV) dist build docs/_build .coverage .coverage.* htmlcov
