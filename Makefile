# Everything a person or a build machine runs. `make help` lists the targets.
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
PACKAGES := schemas topics processors alerts web console $(wildcard bench)
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Tests that need one of these run after all others; those of LARGE one at a time, and faults. Those of
# SMALL wait half of their time: there is one process more than cores.
SMALL := embedded or alertmanager or browser
LARGE := kafka or docker or fault
# A pass demands the tiers that it has.
PYTEST_FAST := env $(foreach tier,KAFKA ALERTMANAGER BROWSER DOCKER,-u HANDOFF_REQUIRE_$(tier)) $(BIN)/pytest
PYTEST_SMALL := env $(foreach tier,KAFKA DOCKER,-u HANDOFF_REQUIRE_$(tier)) $(BIN)/pytest
PYTEST_LARGE := env $(foreach tier,ALERTMANAGER BROWSER,-u HANDOFF_REQUIRE_$(tier)) $(BIN)/pytest
UV_VERSION := 0.13.9
LOCK := --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate

.PHONY: help install check test kafka demo bench stall chaos reliability simulate sidebyside mutants screenshots frameworks lock clean

help:
	@sed -n 's/^\([a-z]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST)

install: .venv/.installed ## make .venv with everything, and .venv/bin/handoff

.venv/.installed: requirements-dev.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Handoff Integrity needs Python 3.11 or later; " + sys.executable + " is " + sys.version.split()[0] + ". Name another one with: make PYTHON=python3.12 install")'
	@echo "installing into .venv (the first time takes a minute)"
	@[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv
	@$(PIP) install --require-hashes -r requirements-dev.txt
	@$(PIP) install --no-deps --no-build-isolation -e .
	@touch $@

check: install ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy $(PACKAGES) tests

test: check ## all tests, about 40 minutes: fast, embedded broker, then Apache Kafka where Java 17 and Maven are
	@{ tests/kafka/fetch && bench/streams/build; } || [ "$${HANDOFF_REQUIRE_KAFKA:-}" != 1 ]
	@tests/browser/fetch || [ "$${HANDOFF_REQUIRE_BROWSER:-}" != 1 ]
	@tests/bridge/build || [ "$${HANDOFF_REQUIRE_BENTO:-}" != 1 ]
	@mkdir -p build && rm -f build/failures.txt
	@result=0; export HANDOFF_FAILURES=build/failures.txt; \
	$(PYTEST_FAST) -n auto --dist worksteal -m "not ($(SMALL) or $(LARGE))" || result=1; \
	$(PYTEST_SMALL) -n $$($(BIN)/python -c 'import os; print(min(4, os.cpu_count() + 1))') --dist loadfile -m "($(SMALL)) and not ($(LARGE))" || result=1; \
	$(PYTEST_LARGE) --durations 15 --durations-min 20 -m "$(LARGE)" || result=1; \
	if [ -e build/failures.txt ]; then echo "=== what failed in any of the passes"; cat build/failures.txt; fi; \
	exit $$result

kafka: ## Apache Kafka's jars from Maven into .kafka/lib
	@tests/kafka/fetch

demo: install ## play three stories of broken handoffs on the embedded broker
	@$(BIN)/handoff demo

bench: install ## speed beside a pass-through, Kafka Streams, and BESIDE=path of a checkout; NAME=name saves
	@{ tests/kafka/fetch && bench/streams/build; } || echo "measuring without what is missing"
	@$(BIN)/python -m bench $(if $(NAME),--name $(NAME)) $(if $(BESIDE),--beside $(BESIDE))

stall: install ## how soon a stall is signalled, with 100,000 open handoffs in state
	@tests/kafka/fetch
	@$(BIN)/python -m bench.stall

chaos: install ## kill and freeze instances, compare every record; SEED=n repeats a run
	@tests/kafka/fetch
	@HANDOFF_REQUIRE_KAFKA=1 HANDOFF_CHAOS_SEED=$(SEED) $(BIN)/pytest tests/test_chaos_apache.py tests/test_life_apache.py

reliability: install ## let every fault happen RUNS times, 3 by default; make the table of docs/reliability.md
	@tests/kafka/fetch
	@$(BIN)/python -m tests.reliability $(or $(RUNS),3)

simulate: install ## play seeded worlds through the core; SEED=n SEEDS=count, default 1 and 100
	@$(BIN)/python -m tests.simulation $(or $(SEED),1) $(or $(SEEDS),$(if $(SEED),1,100))

sidebyside: install ## whether the checkout OTHER=path publishes the same as this one
	@$(BIN)/python -m tests.sidebyside $(OTHER)

mutants: install ## change one operator of the core at a time: what does no test see? FILES="a b:12"
	@$(BIN)/python -m tests.mutants $(FILES)

screenshots: install ## take the pictures of the console in docs/console again
	@$(BIN)/python -m tests.browser.screenshots

frameworks: install ## the agent frameworks whose traffic tests import, about 200 MB
	@$(PIP) install --require-hashes -r requirements-frameworks.txt

lock: ## make the four requirements files from pyproject.toml; UPGRADE=--upgrade for the newest releases
	@mkdir -p build
	@cp requirements.txt build/runtime.txt; cp requirements-dev.txt build/dev.txt; cp requirements-build.txt build/build.txt; cp requirements-frameworks.txt build/frameworks.txt
	@[ -x build/lock/bin/uv ] || { $(PYTHON) -m venv build/lock && build/lock/bin/pip install --quiet uv==$(UV_VERSION); }
	@build/lock/bin/uv pip compile $(LOCK) $(UPGRADE) --extra disk --extra oidc pyproject.toml --output-file build/runtime.txt
	@build/lock/bin/uv pip compile $(LOCK) $(UPGRADE) --group dev --constraint build/runtime.txt pyproject.toml --output-file build/dev.txt
	@build/lock/bin/uv pip compile $(LOCK) $(UPGRADE) --group build --constraint build/dev.txt --output-file build/build.txt
	@build/lock/bin/uv pip compile $(LOCK) $(UPGRADE) --group frameworks --constraint build/dev.txt --output-file build/frameworks.txt
	@for name in runtime dev build frameworks; do \
	  { echo "# Made by 'make lock' from pyproject.toml: releases and hashes for every platform."; cat build/$$name.txt; } > build/lock.txt; \
	  mv build/lock.txt requirements$$([ $$name = runtime ] || echo -$$name).txt; \
	done

clean: ## remove what make made
	rm -rf .venv .kafka build .pytest_cache .mypy_cache .ruff_cache .hypothesis *.egg-info
