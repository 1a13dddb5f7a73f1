# Every target creates what it needs in .venv; nothing outside the checkout is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test lint docs bench clean
.DELETE_ON_ERROR:

# One stamp per dependency group: a group is installed when it is first needed, and again
# when pyproject.toml changes.
$(VENV)/pip.stamp:
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade 'pip>=25.1'
	touch $@

$(VENV)/%.stamp: pyproject.toml $(VENV)/pip.stamp
	$(PIP) install --editable . --group $*
	touch $@

clean:
	rm -rf $(VENV) dist build docs/_build .coverage* htmlcov
