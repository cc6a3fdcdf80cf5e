# tollhouse. Needs make and Python 3.11 or newer, nothing else: what runs is installed into .venv, pinned by hash.
PYTHON ?= python3
ARGS ?=
# One more than there are cores: many tests wait for processes.
PYTEST_ARGS ?= -n $(shell expr $$(getconf _NPROCESSORS_ONLN) + 1)

VENV := .venv
BIN := $(VENV)/bin
CLIENTS := .venv-clients
AUDIT := .venv-audit
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet
# The rooms that decide and never act: each branch is tested. tests/test_house.py compares this list with its ranks.
PURE := errors catalog cost prices tokens health habits routing attempts hedges budget ledger bound stats pricebook keys quota feedback series

comma := ,
empty :=
PURE_FILES := adapters/*$(subst $(empty) ,,$(foreach room,$(PURE),$(comma)proxy/$(room).py$(comma)proxy/$(room)/*))
LOCK = $(BIN)/uv pip compile --no-config --quiet --universal --python-version 3.11 --generate-hashes \
	--custom-compile-command 'make lock' $(LOCK_ARGS)

.DEFAULT_GOAL := help
.PHONY: help serve demo test test-long test-clients faults soak savings image manifests sbom audit bench steps growth replay lint lock clean

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "%-14s%s\n", $$1, $$2 }' Makefile

serve: $(VENV)/serve.stamp  ## run the proxy; ARGS='--port 8080' are handed on
	@exec $(BIN)/tollhouse serve $(ARGS)

demo: $(VENV)/serve.stamp  ## run it against simulated vendors; no keys needed
	@exec $(BIN)/tollhouse demo $(ARGS)

test: $(VENV)/dev.stamp  ## all tests, then the coverage gates: 100 % where we decide, 95 % over all
	@$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest $(PYTEST_ARGS) -m 'not long'
	@$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --include='$(PURE_FILES)' --fail-under=100
	$(BIN)/coverage report --fail-under=95

test-long: $(VENV)/dev.stamp  ## crowds and crashes against budgets, over both stores; 10,000 hostile requests; at most 15 minutes
	timeout 900 $(BIN)/python -m pytest -m long -s tests/money tests/reliability tests/test_hostile_admin.py tests/hostile

test-clients: $(VENV)/serve.stamp $(CLIENTS)/stamp tests/clients/node/node_modules/stamp  ## LangChain and others, against the demo; needs Node 20
	$(CLIENTS)/bin/python -m pytest -c tests/clients/pytest.ini $(PYTEST_ARGS) tests/clients

faults: $(VENV)/dev.stamp  ## each fault of a vendor, once and for a minute; writes docs/reliability.md; ARGS='--seconds 10'
	@$(BIN)/python -m tests.reliability.faults $(ARGS)

soak: $(VENV)/dev.stamp  ## ten minutes of faults, leavers and a Redis that restarts; docs/reliability.md; ARGS='--seconds 60'
	@$(BIN)/python -m tests.reliability.soak $(ARGS)

savings: $(VENV)/dev.stamp  ## what each strategy costs on an hour of real traffic; writes docs/savings.md
	@$(BIN)/python -m tests.reliability.savings

image:  ## the container's image, where there is buildah; ARGS='tollhouse:0.1.0 --no-cache'
	@deploy/container/build $(ARGS)

manifests: $(VENV)/dev.stamp  ## render deploy/overlays into deploy/rendered; needs kustomize, kubectl or Go
	@$(BIN)/python -m tests.kustomize

sbom: $(AUDIT)/stamp  ## build/sbom.json: what is pinned, for all platforms, as CycloneDX says it; the image has one of its own
	@mkdir -p build
	$(AUDIT)/bin/cyclonedx-py requirements --pyproject pyproject.toml --output-reproducible --output-file build/sbom.json requirements/serve.txt

audit: $(AUDIT)/stamp  ## is any pin known to be vulnerable? ARGS=--if-reachable passes where nobody can be asked, and says so
	@$(AUDIT)/bin/python tests/audit.py $(ARGS)

bench: $(VENV)/dev.stamp  ## side by side with its peers, less than 15 minutes; writes docs/performance.md; ARGS=--help
	@$(BIN)/python -m tests.bench $(ARGS)

steps: $(VENV)/dev.stamp  ## what a request costs, counted: instructions of bytecode and calls, by file; ARGS='plain,stream --most 60'
	@$(BIN)/python -m tests.bench.steps $(ARGS)

growth: $(VENV)/dev.stamp  ## what a request costs when keys, budgets, models, ... grow; draws docs/performance; ARGS=--help
	@$(BIN)/python -m tests.bench.growth $(ARGS)

replay: $(VENV)/dev.stamp  ## an hour of real traffic, ten times as fast; 8 minutes; writes docs/performance; ARGS=--help
	@$(BIN)/python -m tests.bench.replay $(ARGS)

lint: $(VENV)/dev.stamp  ## ruff and mypy
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

lock: $(VENV)/dev.stamp  ## pin anew; LOCK_ARGS=--upgrade takes the newest, LOCK_ARGS='--upgrade-package httpx' one
	$(LOCK) pyproject.toml requirements/build.in requirements/dev.in -c requirements/platforms.in -o requirements/dev.txt
	$(LOCK) pyproject.toml -c requirements/dev.txt -o requirements/serve.txt
	$(LOCK) requirements/build.in -c requirements/dev.txt -o requirements/build.txt
	$(LOCK) requirements/audit.in -c requirements/dev.txt -o requirements/audit.txt
	$(LOCK) requirements/clients.in -o requirements/clients.txt

clean:  ## remove what was built, not what was earned: .tollhouse stays
	rm -rf $(VENV) $(CLIENTS) $(AUDIT) tests/clients/node/node_modules build dist .coverage .coverage.* .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find adapters proxy tests -name __pycache__ -prune -exec rm -rf {} +

# dev.txt is a superset of serve.txt with the same versions, so serving and testing share one environment.
$(VENV)/serve.stamp: pyproject.toml requirements/build.txt requirements/serve.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("tollhouse needs Python 3.11 or newer; this is %d.%d. Try: make PYTHON=python3.12" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes -r requirements/build.txt -r requirements/serve.txt
	$(PIP) --no-index --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/dev.stamp: $(VENV)/serve.stamp requirements/dev.txt
	$(PIP) --require-hashes -r requirements/dev.txt
	@touch $@

# Heavy, and of other versions than ours (requirements/clients.in says why): what they test runs from $(VENV).
$(CLIENTS)/stamp: requirements/clients.txt
	$(PYTHON) -m venv --clear $(CLIENTS)
	$(CLIENTS)/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r $<
	@touch $@

tests/clients/node/node_modules/stamp: tests/clients/node/package.json tests/clients/node/package-lock.json
	npm --prefix $(dir $<) ci --silent --ignore-scripts --no-audit --no-fund
	@touch $@

# Apart from the others: what looks at our dependencies is none of them.
$(AUDIT)/stamp: requirements/audit.txt
	$(PYTHON) -m venv --clear $(AUDIT)
	$(AUDIT)/bin/python -m pip --disable-pip-version-check install --quiet --require-hashes -r $<
	@touch $@
