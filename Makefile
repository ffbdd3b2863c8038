# Two commands are all a new machine needs: `make demo` and `make test`.
.DEFAULT_GOAL := help
SHELL := bash
PYTHON := .venv/bin/python
SUDO := $(if $(filter 0,$(shell id -u)),,sudo -E)

.PHONY: help
help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

.PHONY: install
install: ## install what is missing to run the lab
	@scripts/install.sh

.PHONY: install-dev
install-dev: ## install what is missing to run the tests
	@scripts/install.sh --dev

.PHONY: demo
demo: install ## predict, break and measure a site cut on a lab of real daemons
	@scripts/demo.sh

.PHONY: test
test: install-dev lint ## run every check and the whole test suite
	@scripts/test.sh

.PHONY: kind-image
kind-image: install ## build the images of the lab on kind (several minutes once, seconds later)
	$(SUDO) $(PYTHON) -m chaos.kube.image

.PHONY: lint
lint: install-dev ## formatting, lint, types, and the direction of the imports
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/lint-imports

.PHONY: format
format: ## put the code in its usual form
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

.PHONY: corpus
corpus: install ## run all six experiments on the local lab and record them under tests/corpus/ (~20 minutes)
	$(SUDO) $(PYTHON) -m benchmarks.record_corpus

.PHONY: validate-corpus
validate-corpus: ## predict the published measurements again and write docs/validation.md (a minute)
	$(PYTHON) -m benchmarks.published --all

.PHONY: findings
findings: ## simulate a published load-test study at its own size and write docs/findings.md (~25 minutes, resumable)
	$(PYTHON) -m benchmarks.findings

.PHONY: validate
validate: install ## predict and measure the validation campaign, ~75 minutes on a quiet machine; e.g. CAMPAIGN="--budget 30"
	$(SUDO) $(PYTHON) -m benchmarks.campaign $(CAMPAIGN)

.PHONY: docs
docs: ## write the pages that come from the code: JSON Schema of topologies, metrics
	$(PYTHON) -m topologies.schema
	$(PYTHON) -m experiments.reference

.PHONY: bench
bench: install-dev ## measure speed against other simulators, on a quiet machine; writes benchmarks/results/ (~20 minutes)
	@scripts/bench.sh $(BENCH)

.PHONY: lock
lock: ## lock the dependencies again (hashes only, no addresses)
	scripts/lock.sh

.PHONY: clean
clean: ## remove everything that was built, but no results
	rm -rf .venv .bench-venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
