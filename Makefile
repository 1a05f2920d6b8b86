# make run    the demo: the proxy on 127.0.0.1:8080 in front of two small origins
# make test   everything that a change has to pass
# CONTRIBUTING.md tells of the rest.

PYTHON ?= python3
JOBS ?= 2
CONFIG ?= etc/demo.toml
FUZZ_SECONDS ?= 20

VENV := .venv
AUDIT := .venv-audit
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check -qq install --root-user-action=ignore

# What everybody installs is what setup.cfg allows. LOCKED=1, as continuous integration has it, is
# what requirements.lock says, each file by its hash.
ifdef LOCKED
INSTALL := $(PIP) --require-hashes -r requirements.lock && $(PIP) --no-deps --no-build-isolation -e .
INSTALL_TEST := true
else
INSTALL := $(PIP) -e .
INSTALL_TEST := $(PIP) -e '.[test]'
endif

# Stamps: what is installed stays until what says so changes.
INSTALLED := $(VENV)/.installed
TEST_INSTALLED := $(VENV)/.installed-test

# Every test but the long ones; a package by its folder, a module by its file.
TESTS := $(filter-out tests/long,$(patsubst %/__init__.py,%,$(wildcard tests/*/__init__.py)))
TESTS += $(wildcard tests/test_*.py)

# What decides (no Twisted, no clock), and the tests that take every branch of it.
RANKS := errors.py metrics.py config/values.py config/forms/* config/schema.py http/* routing/* balance/* filters/* \
    cache/stored.py cache/key.py cache/entry.py cache/policy/*
RANKS_TESTS := $(wildcard $(addprefix tests/,test_errors.py test_metrics.py config http routing balance filters \
    cache/test_stored.py cache/test_key.py cache/test_entry.py cache/test_rfc9111_*.py cache/policy))
# Measured in two halves of the same length, at the same time.
half-1 := tests/config tests/routing
half-2 := $(filter-out $(half-1),$(RANKS_TESTS))

comma := ,
empty :=
space := $(empty) $(empty)

# Hundreds of processes are started by the tests: let bytecode be kept, whatever the shell says.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := run
.PHONY: run test trial rest lint types coverage half-1 half-2 test-long fuzz bench docs lock audit clean

run: $(INSTALLED)
	@echo "Starting txrproxy with $(CONFIG); Ctrl-C ends it"
	@$(BIN)/twistd -n --pidfile= txrproxy --config $(CONFIG)

# Each test once: those of what decides run under coverage.
test: lint types coverage rest

lint: $(TEST_INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(TEST_INSTALLED)
	$(BIN)/mypy

trial: $(TEST_INSTALLED)
	$(BIN)/trial -j$(JOBS) --reporter=text $(TESTS)

rest: $(TEST_INSTALLED)
	$(BIN)/trial -j$(JOBS) --reporter=text $(filter-out $(RANKS_TESTS),$(TESTS))

coverage: $(TEST_INSTALLED)
	@$(BIN)/coverage erase
	@$(MAKE) --no-print-directory --jobs=2 --output-sync half-1 half-2
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --skip-covered --show-missing --precision=2 --fail-under=100 \
	    --include='$(subst $(space),$(comma),$(addprefix txrproxy/,$(RANKS)))'

half-1 half-2: $(TEST_INSTALLED)
	$(BIN)/coverage run --parallel-mode -m twisted.trial --reporter=text --temp-directory=_trial_temp.$@ $($@)

test-long: $(TEST_INSTALLED)
	$(BIN)/trial --reporter=text tests/long

# Needs atheris, which is no dependency: pip install atheris.
fuzz: $(TEST_INSTALLED)
	$(BIN)/python -m tests.fuzz --seconds $(FUZZ_SECONDS) $(TARGETS)

bench: $(TEST_INSTALLED)
	$(BIN)/python benchmarks/run.py

docs: $(INSTALLED)
	$(BIN)/python -m txrproxy.config.reference

# Newer versions of everything, for all platforms and versions of Python.
lock: $(AUDIT)/bin/python
	$(AUDIT)/bin/python -m pip -qq install uv
	$(AUDIT)/bin/python -m uv pip compile --quiet --universal --upgrade --generate-hashes --no-header \
	    --no-annotate --python-version 3.11 --all-extras --output-file requirements.lock setup.cfg

audit: $(AUDIT)/bin/python
	@$(AUDIT)/bin/python .ci/audit.py requirements.lock

clean:
	rm -rf $(VENV) $(AUDIT) build dist *.egg-info _trial_temp* .mypy_cache .ruff_cache .coverage* .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
	rm -f twisted/plugins/dropin.cache

$(AUDIT)/bin/python:
	$(PYTHON) -m venv $(AUDIT)

$(BIN)/python:
	@echo "Making $(VENV), a virtual environment"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed")'
	@$(PYTHON) -m venv $(VENV)

# Looking for plugins once writes their cache, which a user without write access could not.
$(INSTALLED): setup.cfg pyproject.toml | $(BIN)/python
	@echo "Installing txrproxy and what it needs into $(VENV): a minute or so, the first time"
	@$(INSTALL)
	@$(BIN)/python -c 'from twisted.plugin import IPlugin, getPlugins; list(getPlugins(IPlugin))'
	@touch $@

$(TEST_INSTALLED): $(INSTALLED)
	@echo "Installing what the tests need into $(VENV)"
	@$(INSTALL_TEST)
	@touch $@
