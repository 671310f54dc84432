# `make` lists the targets. The first two lines of the README are `make sync` and `make test`.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# The first of these that is Python 3.11 or 3.12 makes all environments. PyAirbyte can't be installed on 3.13, which is
# taken if there is no other.
PYTHON ?= $(shell for versions in '(11, 12)' '(13,)'; do for p in python3 python3.12 python3.11 python3.13 python; do \
	"$$p" -c "import sys; sys.exit(sys.version_info[0] != 3 or sys.version_info[1] not in $$versions)" 2>/dev/null \
	&& echo $$p && exit; done; done)
TAKES_PYAIRBYTE := $(shell $(PYTHON) -c 'import sys; print("yes" if sys.version_info < (3, 13) else "")' 2>/dev/null)
DEV := .venv
AIRBYTE := .venv-pyairbyte
NEWEST := .venv-newest-cdk
BENCH := .venv-bench
PIPELINE := .venv-pipeline
DIST := .venv-dist
BUILD_VERSION := 1.6.1
QA := .venv-qa
# The package that has Airbyte's checks.
QA_VERSION := 0.132.0
BIN := $(DEV)/bin
# Twice as many as the two cores of a small machine, because tests of processes wait for each other.
PARALLEL := -n 4 --dist worksteal
IMAGE ?= airbyte/source-commonroom:dev
DOCKER ?= docker

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: sync
sync: $(DEV)/.installed $(AIRBYTE)/.installed ## Load secrets/config.json's workspace, or the sandbox's, into a DuckDB file; TO=postgresql://user@host/db, snowflake, bigquery or motherduck names another warehouse; OPEN=1 opens the report then
	@$(AIRBYTE)/bin/python -m scripts.sync --connector $(BIN)/source-commonroom --sandbox-python $(BIN)/python
	@$(if $(OPEN),$(MAKE) --no-print-directory report)

.PHONY: build
build: $(PIPELINE)/.installed ## Build dbt's models of what sync loaded, and test them; TO= as for sync
	@$(PIPELINE)/bin/python -m scripts.models

.PHONY: report
report: $(PIPELINE)/.installed ## Write a page about what sync loaded into the DuckDB file; OPEN=1 opens it
	@TO=duckdb $(PIPELINE)/bin/python -m scripts.models --unless-fresh
	@$(PIPELINE)/bin/python -m scripts.report $(if $(OPEN),--open)

.PHONY: pipeline
pipeline: $(DEV)/.installed $(AIRBYTE)/.installed $(PIPELINE)/.installed ## From the API to an answer: sync, build, report; TO= and OPEN= as there
	@$(MAKE) --no-print-directory sync OPEN=
	@$(MAKE) --no-print-directory build
	@$(MAKE) --no-print-directory report

.PHONY: models-docs
models-docs: $(PIPELINE)/.installed ## Write dbt's documentation of the models as one page
	@$(PIPELINE)/bin/python -m scripts.models docs

.PHONY: probe
probe: $(DEV)/.installed ## Test on secrets/config.json's workspace, or the sandbox, what we assume of the API; it only reads. YES=1 doesn't ask, RECORD=1 keeps the answers, scrubbed, PROVOKE_429=1 exceeds the rate limit
	@$(BIN)/python -m scripts.probe $(if $(YES),--yes) $(if $(RECORD),--record) $(if $(PROVOKE_429),--provoke-429)

.PHONY: test
test: $(DEV)/.installed $(if $(TAKES_PYAIRBYTE),$(AIRBYTE)/.installed) ## Run all tests, and all linters beside them
	@lint=$$(mktemp); trap 'rm -f "$$lint"' EXIT; failed=0; \
	$(MAKE) --no-print-directory lint >"$$lint" 2>&1 & \
	echo "==> Tests$(if $(TAKES_PYAIRBYTE),, but those of PyAirbyte, which needs Python 3.11 or 3.12)"; \
	$(BIN)/pytest $(PARALLEL) $(if $(TAKES_PYAIRBYTE),,--ignore=integration_tests/test_pyairbyte.py) || failed=$$?; \
	wait $$! || failed=$$?; \
	cat "$$lint"; \
	exit $$failed

.PHONY: test-pipeline
test-pipeline: $(DEV)/.installed $(AIRBYTE)/.installed $(PIPELINE)/.installed ## Run the tests from the connector to an answer: warehouses, dbt, the report
	@$(BIN)/pytest -n 2 --dist loadfile -m pipeline integration_tests/pipeline

.PHONY: lint
lint: $(DEV)/.installed ## Run the linters, the format check and the type checker; they write nothing
	@echo "==> Lint, format, types"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

.PHONY: unit
unit: $(DEV)/.installed ## Run the unit tests alone
	@$(BIN)/pytest $(PARALLEL) unit_tests

.PHONY: test-newest-cdk
test-newest-cdk: ## Run the unit tests with the newest airbyte-cdk that pyproject.toml allows, and what it brings
	@$(call environment,$(NEWEST),dev,the connector and its tools with the newest airbyte-cdk (a minute))
	@$(NEWEST)/bin/python -m pip install --quiet --upgrade --editable . airbyte-cdk
	@$(NEWEST)/bin/python -m pip show airbyte-cdk | grep -E '^(Name|Version)'
	@$(NEWEST)/bin/pytest $(PARALLEL) unit_tests

.PHONY: connector-test
connector-test: $(DEV)/.installed ## Run Airbyte's own tests of a connector (airbyte-cdk connector test), with a sandbox
	@$(BIN)/python scripts/connector_test.py $(ARGS)

.PHONY: chaos
chaos: $(DEV)/.installed ## Play 500 schedules of trouble, kill 50 syncs, fuzz 1,000 bodies (an hour); STYLES=new or former plays one set, SEED=7 one schedule
	@echo "==> Chaos"
	@$(if $(STYLES),CHAOS_STYLES=$(STYLES)) $(if $(SEED),CHAOS_SEED=$(SEED),CHAOS=full CHAOS_NEW=300 CHAOS_FORMER=200 CHAOS_KILLS=50) \
		$(BIN)/pytest $(if $(SEED),,$(PARALLEL)) integration_tests/test_chaos.py \
		$(if $(SEED)$(STYLES),,integration_tests/test_kill.py integration_tests/test_fuzz.py)

.PHONY: format
format: $(DEV)/.installed ## Format the code and mend what the linter can mend
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: sandbox
sandbox: $(DEV)/.installed ## Serve the sandbox, a Common Room of its own, till Ctrl-C
	@$(BIN)/python -m integration_tests.sandbox

.PHONY: builder-manifest
builder-manifest: $(DEV)/.installed ## Write the manifest for the Connector Builder, schemas inline, to OUT=file
	@test -n "$(OUT)" || { echo "Name the file to write: make builder-manifest OUT=manifest.yaml" >&2; exit 1; }
	@$(BIN)/python scripts/builder_manifest.py "$(OUT)"

.PHONY: dist
dist: $(DIST)/.installed ## Build the wheel and the sdist, in dist/
	@rm -rf dist
	@$(DIST)/bin/python -m build --outdir dist . >/dev/null
	@ls -l dist

.PHONY: test-dist
test-dist: dist $(DEV)/.installed $(if $(TAKES_PYAIRBYTE),$(AIRBYTE)/.installed) ## Install the wheel into fresh environments and use it there (minutes); PYTHONS="python3.12 python3.13" names their interpreters
	@$(if $(PYTHONS),DIST_PYTHONS="$(PYTHONS)") $(BIN)/pytest -m dist integration_tests/test_dist.py

.PHONY: erd
erd: $(DEV)/.installed ## Draw how the streams join, for the docs (needs graphviz)
	@$(BIN)/python scripts/erd.py

.PHONY: airbyte-repo
airbyte-repo: $(DEV)/.installed ## Lay the connector out as in Airbyte's repository, in OUT=dir
	@test -n "$(OUT)" || { echo "Name the folder to write: make airbyte-repo OUT=dir" >&2; exit 1; }
	@$(BIN)/python scripts/airbyte_repo.py "$(OUT)"

.PHONY: qa
qa: $(QA)/.installed ## Run Airbyte's own checks over that; ARGS="--network" runs those that need it, too
	@$(QA)/bin/python scripts/qa.py $(ARGS)

.PHONY: bench
bench: $(DEV)/.installed $(BENCH)/.installed ## Measure the connector beside its peers; ARGS="--help" lists the options
	@$(BIN)/python -m benchmarks $(ARGS)

.PHONY: bench-full
bench-full: $(DEV)/.installed $(BENCH)/.installed ## Measure all scenarios with all peers (an hour and a half), and draw them side by side
	@$(BIN)/python -m benchmarks --scenario all $(ARGS)
	@$(BIN)/python -m benchmarks.picture

.PHONY: image
image: ## Build the connector's OCI image
	@$(DOCKER) build --tag $(IMAGE) .

.PHONY: lock
lock: ## Renew poetry.lock and constraints.txt from pyproject.toml (needs poetry and poetry-plugin-export), and pipeline.txt from pipeline.in
	@poetry lock
	@poetry export --format constraints.txt --all-groups --without-hashes --output constraints.txt
	@$(PYTHON) -m venv --clear $(PIPELINE)
	@$(PIPELINE)/bin/python -m pip install --quiet --requirement pipeline.in
	@{ echo "# The environment of pipeline.in, .venv-pipeline; \`make lock\` writes it."; $(PIPELINE)/bin/python -m pip freeze; } >pipeline.txt

.PHONY: clean
clean: ## Remove the environments, the caches and what sync loaded
	@rm -rf $(DEV) $(AIRBYTE) $(BENCH) $(NEWEST) $(QA) $(DIST) $(PIPELINE) dist output .mypy_cache .pytest_cache .ruff_cache .hypothesis

$(DEV)/.installed: pyproject.toml constraints.txt
	@$(call environment,$(DEV),dev,the connector and its tools (a minute))
	@$(DEV)/bin/python -m pip install --quiet --constraint constraints.txt --editable .
	@touch $@

$(AIRBYTE)/.installed: pyproject.toml constraints.txt
	@test -n "$(TAKES_PYAIRBYTE)" || { echo "PyAirbyte needs Python 3.11 or 3.12; name one: make PYTHON=/path/to/python3.12 …" >&2; exit 1; }
	@$(call environment,$(AIRBYTE),pyairbyte,PyAirbyte (two minutes and 780 MB))
	@touch $@

$(PIPELINE)/.installed: pipeline.txt
	@test -n "$(TAKES_PYAIRBYTE)" || { echo "PyAirbyte needs Python 3.11 or 3.12; name one: make PYTHON=/path/to/python3.12 …" >&2; exit 1; }
	@echo "==> Setting up $(PIPELINE): dbt, the report, and Dagster (three minutes and 1.5 GB)"
	@$(PYTHON) -m venv --clear $(PIPELINE)
	@$(PIPELINE)/bin/python -m pip install --quiet --requirement pipeline.txt
	@touch $@

$(DIST)/.installed:
	@$(PYTHON) -m venv --clear $(DIST)
	@$(DIST)/bin/python -m pip install --quiet "build==$(BUILD_VERSION)"
	@touch $@

$(QA)/.installed:
	@echo "==> Setting up $(QA): Airbyte's checks of a connector (three minutes and 900 MB)"
	@test -n "$(TAKES_PYAIRBYTE)" || { echo "They need Python 3.11 or 3.12; name one: make PYTHON=/path/to/python3.12 …" >&2; exit 1; }
	@$(PYTHON) -m venv --clear $(QA)
	@$(QA)/bin/python -m pip install --quiet "airbyte-internal-ops==$(QA_VERSION)"
	@touch $@

$(BENCH)/.installed: benchmarks/requirements.txt
	@echo "==> Setting up $(BENCH): the peers of the benchmarks (half a minute and 130 MB)"
	@$(PYTHON) -m venv --clear $(BENCH)
	@$(BENCH)/bin/python -m pip install --quiet --requirement benchmarks/requirements.txt
	@touch $@

# $(call environment,FOLDER,GROUP,WHAT): a virtual environment with one dependency group, as the lock has it.
define environment
	echo "==> Setting up $(1): $(3)"; \
	test -n "$(PYTHON)" || { echo "No Python 3.11, 3.12 or 3.13 found; name one: make PYTHON=/path/to/python3.12 …" >&2; exit 1; }; \
	$(PYTHON) -m venv --clear $(1) || { echo "Making a virtual environment failed; on Debian: apt install python3-venv" >&2; exit 1; }; \
	$(1)/bin/python -m pip install --quiet --upgrade 'pip>=25.1'; \
	$(1)/bin/python -m pip install --quiet --constraint constraints.txt --group $(2)
endef
