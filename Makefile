# Each target is a session of nox's, or a tag of several, of the same name: `make list` shows them all,
# noxfile.py has them. ARGS are for what the session runs: make test ARGS="tests/core -x"
#
#   make demo	the Flask application, with an origin server of its own; offline
#   make demo-cluster	the same with gunicorn's workers, that share a directory, and a Redis; takes its tour
#   make test	the test suite, with the coverage of branches
#   make lint	ruff, mypy and pyright
#   make docs	the documentation, in docs/_build/html; its pictures need Graphviz' dot
#   make reactors	the core's whole suite, on asyncio's, the poll and the select reactor
#   make reactor-rooms	the tests of it that a reactor makes a difference to, likewise
#   make hazards	what can go wrong, here and with other bridges, as a table
#   make bench	the benchmarks, against the other bridges there are
#   make package	the wheel and the source distribution, in dist, checked
#   make matrix	the suite on that wheel, on every other supported Python that is found
#   make core	the same without what is around the library
#   make python3.14	the core's suite on a CPython 3.14 of Debian's; as root
#   make downstream	public programs that depend on crochet, with this one in its place; old pytests
PYTHON ?= python3
NOX := .venv/bin/nox

SESSIONS := demo demo-cluster test lint docs reactors reactor-rooms hazards bench package python3.14
TAGS := matrix core downstream
.PHONY: $(SESSIONS) $(TAGS) list clean

$(SESSIONS): $(NOX)
	$(NOX) --session $@ -- $(ARGS)

# Two suites at once.
$(TAGS): $(NOX)
	$(NOX) --parallel 2 --tags $@ -- $(ARGS)

list: $(NOX)
	$(NOX) --list

# nox makes everything else.
$(NOX): pyproject.toml
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip --quiet install --upgrade 'pip>=25.1'
	.venv/bin/python -m pip --quiet install --group nox
	touch .venv/pip.stamp $@

clean:
	rm -rf .venv dist build docs/_build .coverage .coverage.* htmlcov
