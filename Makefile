# Every task of the project; `make help` lists them. CI calls the same ones.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
UV_VERSION := 0.13.8
VENV := .venv
RUN := $(VENV)/bin/python
# The sandbox is installed too; its folder comes first so that each checkout runs its own sources.
export PYTHONPATH := plugins:tools:sandbox/src
# Without .pyc files every process of a stack and of the tests compiles Airflow from its source:
# 5.8 instead of 1.9 CPU-seconds for one import.
unexport PYTHONDONTWRITEBYTECODE

# What `make setup` installs: the product, and the sandbox with its own lock.
LOCKS := requirements.lock sandbox/requirements.lock
RUNTIME := $(VENV)/.runtime-$(shell cat $(LOCKS) sandbox/pyproject.toml | cksum | cut -d' ' -f1)
DEV := $(VENV)/.dev-$(shell cat $(LOCKS) requirements-dev.lock | cksum | cut -d' ' -f1)
PRODUCTION_VENV := .venv-production
PRODUCTION := $(PRODUCTION_VENV)/.production

.PHONY: help setup setup-dev setup-production up api up-celery demo demo-celery test lint type test-product test-sandbox test-all bench breaks crash fuzz-api openapi docs schema lock format \
        lint-configs generate-admin-key audit-verify rotate-kms reveal-key restore-state state-revision old-release clean

help: ## print this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-20s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/bin/uv:
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(None if (3, 11) <= v < (3, 14) \
	  else f"Python 3.11, 3.12 or 3.13 is needed; {sys.executable} is {sys.version.split()[0]}. Try: make PYTHON=python3.12 …")'
	@echo "==> making $(VENV)"
	@$(PYTHON) -m venv $(VENV) && $(VENV)/bin/python -m pip install -q --disable-pip-version-check uv==$(UV_VERSION)

$(RUNTIME): $(VENV)/bin/uv
	@echo "==> installing the pinned requirements"
	@VIRTUAL_ENV=$(VENV) $(VENV)/bin/uv pip install -q $(addprefix -r ,$(LOCKS))
	@VIRTUAL_ENV=$(VENV) $(VENV)/bin/uv pip install -q --no-deps -e sandbox
	@rm -f $(VENV)/.runtime-* && touch $@

$(DEV): $(RUNTIME)
	@echo "==> installing the test tools"
	@VIRTUAL_ENV=$(VENV) $(VENV)/bin/uv pip install -q -r requirements-dev.lock
	@echo "==> compiling Google's SQL parser"
	@$(RUN) tests/support/googlesql.py
	@rm -f $(VENV)/.dev-* && touch $@

$(PRODUCTION): requirements-production.lock sandbox/requirements.lock sandbox/pyproject.toml $(VENV)/bin/uv
	@echo "==> making $(PRODUCTION_VENV) with what production adds"
	@$(VENV)/bin/uv venv -q --allow-existing --python $(VENV)/bin/python $(PRODUCTION_VENV)
	@VIRTUAL_ENV=$(PRODUCTION_VENV) $(VENV)/bin/uv pip install -q -r requirements-production.lock -r sandbox/requirements.lock
	@VIRTUAL_ENV=$(PRODUCTION_VENV) $(VENV)/bin/uv pip install -q --no-deps -e sandbox
	@touch $@

setup: $(RUNTIME) ## make the virtual environment (nothing to do when it is current)

setup-dev: $(DEV) ## the same with the tools of the tests

setup-production: $(PRODUCTION) ## a second environment with Celery, FAB and their drivers

up: setup ## run the sandbox and Airflow in the foreground; Ctrl-C stops all
	@exec $(RUN) -m stack up

api: setup ## serve the HTTP API alone, for the Airflow at AIRFLOW_API_URL: make api [ARGS="--port 8000"]
	@exec $(RUN) -m convergence.api $(ARGS)

up-celery: setup-production ## the same as in production: PostgreSQL, Redis, two API servers, a Celery worker
	@exec $(PRODUCTION_VENV)/bin/python -m stack up --celery

demo-celery: setup-production ## the demo on that
	@exec $(PRODUCTION_VENV)/bin/python -m stack demo --celery

demo: setup ## show two organizations their daily cost, end to end, then stop everything
	@exec $(RUN) -m stack demo

test: setup-dev lint type test-product test-sandbox ## lint, types and both test suites

lint: setup-dev ## style, layers, pipeline files
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports
	$(RUN) -m convergence.pipelines.lint

type: setup-dev ## mypy, strict, on the code and the tests
	$(VENV)/bin/mypy
	$(VENV)/bin/mypy tests
	$(VENV)/bin/mypy sandbox/tests

test-product: setup-dev ## the product's tests alone: make test-product [ARGS="path…"]
	$(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=25 -m "not slow" $(ARGS)

test-sandbox: setup-dev ## the sandbox's tests alone: make test-sandbox [ARGS="path…"]
	$(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=25 -m "not slow" $(or $(ARGS),sandbox/tests)

test-all: setup-dev lint type ## every test, the slow ones too
	$(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=25 -m "not e2e"
	$(RUN) -m pytest -m e2e
	$(RUN) -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=25 sandbox/tests

lint-configs: setup ## check pipeline files: make lint-configs [ARGS="path…"]
	@$(RUN) -m convergence.pipelines.lint $(ARGS)

bench: setup-dev ## print every figure that the project holds itself to
	@$(RUN) tests/benchmarks/run.py $(ARGS)

breaks: setup-dev setup-production ## break each part of the Celery stack in turn: make breaks [ARGS="worker scheduler …"]
	@PYTHONPATH=plugins:tools:sandbox/src:tests $(RUN) tests/e2e/breaks/run.py $(ARGS)

crash: setup-dev ## kill, freeze and overlap runs at named points and random moments: make crash SEEDS=n [FROM=…] [SEED=…] [ARGS=--naive]
	@PYTHONPATH=plugins:tools:sandbox/src:tests $(RUN) -m crash --seeds "$${SEEDS:-20}" --from "$${FROM:-1}" $${SEED:+--seed "$$SEED"} $(ARGS)

fuzz-api: setup-dev ## ask every operation of the API with every check of schemathesis, for ten minutes
	@PYTHONPATH=plugins:tools:sandbox/src:tests $(RUN) tests/integration/api/fuzz.py --seconds 600

openapi: setup ## print the OpenAPI document
	@$(RUN) -m convergence.api.openapi

docs: setup ## write the generated pages of docs/: catalogue, errors, configuration
	@$(RUN) -m convergence.pipelines.catalogue
	@$(RUN) -m reference_pages

schema: setup ## write the JSON Schema of pipeline files
	@$(RUN) -m convergence.pipelines.json_schema

generate-admin-key: setup ## print a strong root key
	@$(RUN) -c "import secrets; print('root_' + secrets.token_urlsafe(36))"

audit-verify: setup ## check the audit log's hash chains: make audit-verify [ARGS="org…"]
	@$(RUN) -m convergence.tenants.audit_verify $(ARGS)

rotate-kms: setup ## encrypt every credential and key anew under the newest KMS version: make rotate-kms [ARGS=--new-version]
	@$(RUN) -m convergence.tenants.encryption.rotate_kms $(ARGS)

# Values given to make are in the recipe's environment: quoted by the shell, never parsed by it.
reveal-key: setup ## decrypt an organization's key for support, audited: make reveal-key ORG=… KEY_ID=… OPERATOR=… REASON="…"
	@$(RUN) -m convergence.tenants.api_keys.reveal_key --org "$$ORG" --key-id "$$KEY_ID" --operator "$$OPERATOR" --reason "$$REASON" $(ARGS)

restore-state: setup ## after the state store was lost: give it back what the warehouse keeps
	@$(RUN) -m convergence.tenants.restore_state $(ARGS)

state-revision: setup ## write the next revision of the state store's tables: make state-revision MESSAGE="rename a table"
	@$(RUN) -m convergence.state.migrations "$$MESSAGE"

old-release: setup ## fill a data directory with an old release's code: make old-release [ARGS="--orgs 1 --days 5"]
	@$(RUN) scripts/old_release.py $(ARGS)

format: setup-dev ## rewrite the code in the house style
	$(VENV)/bin/ruff check --fix .
	$(VENV)/bin/ruff format .

COMPILE = $(VENV)/bin/uv pip compile -q --universal --python-version 3.11 --no-header --generate-hashes
# Every environment that has both must find the same versions in both.
AGREE = -c requirements.lock -c sandbox/requirements.lock

lock: $(VENV)/bin/uv ## resolve requirements*.txt and sandbox/pyproject.toml again into the lock files
	$(COMPILE) requirements.txt -o requirements.lock
	$(COMPILE) -c requirements.lock sandbox/pyproject.toml -o sandbox/requirements.lock
	$(COMPILE) $(AGREE) requirements-dev.txt -o requirements-dev.lock
	$(COMPILE) $(AGREE) requirements-production.txt -o requirements-production.lock

clean: ## remove everything that runs left under var/
	rm -rf var
