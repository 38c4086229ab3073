# Every target sets up what it needs: python3 (3.11 to 3.13), make and a package registry are enough.
PYTHON ?= python3
HOST ?= $(or $(DECONVNET_HOST),127.0.0.1)
PORT ?= $(or $(DECONVNET_PORT),8000)
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check
PROJECT := pyproject.toml hatch_build.py package.json package-lock.json
COMPILE = $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	--no-header --no-annotate --no-emit-index-url

.DEFAULT_GOAL := help
.NOTPARALLEL:
.DELETE_ON_ERROR:
.PHONY: help serve install test check format bench audit sbom coverage soak chaos accept translations lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

serve: $(VENV)/runtime ## start the server on http://127.0.0.1:8000 (HOST=, PORT=)
	DECONVNET_HOST=$(HOST) DECONVNET_PORT=$(PORT) $(BIN)/deconvnet serve

install: $(VENV)/runtime ## the set-up alone, into .venv

test: $(VENV)/dev chromium nginx ## run all tests, those in a real browser too
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile

check: $(VENV)/dev ## formatting, lint, types, licences
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	@$(BIN)/python -m tests.licences >$(VENV)/licences.txt && echo "All licences are known: $(VENV)/licences.txt"

format: $(VENV)/dev ## mend formatting and what lint can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/dev ## run the benchmarks
	$(BIN)/python -m benchmarks

audit: $(VENV)/dev ## known weaknesses of what users run; fails where nobody can be asked
	@$(BIN)/pip-audit --strict --disable-pip --require-hashes -r requirements.lock --progress-spinner off || \
		{ echo; echo '*** NOT CLEAN, OR NOT AUDITED: the lines above say which. This is no pass. ***'; exit 1; }

sbom: $(VENV)/dev ## what users run as a CycloneDX document: build/sbom.json
	@mkdir -p build
	$(BIN)/cyclonedx-py requirements requirements.lock --pyproject pyproject.toml --mc-type application \
		--output-reproducible --of JSON -o build/sbom.json

coverage: $(VENV)/dev ## lines and branches of the upload gate and the weights gate
	$(BIN)/python -m tests.coverage

soak: $(VENV)/dev ## 10,000 mixed requests: does the server grow?
	$(BIN)/python -m tests.soak

chaos: $(VENV)/dev ## two minutes in which everything breaks: are the answers honest?
	$(BIN)/python -m tests.chaos

accept: $(VENV)/dev ## overwrite the golden pictures with today's; look at them first
	$(BIN)/python -m pytest -k golden --accept

translations: $(VENV)/dev ## gather what pages and errors say into app/locale
	$(BIN)/python -m app.cli.translations

lock: $(VENV)/dev ## resolve the newest versions anew into requirements*.lock
	$(BIN)/python -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' \
		> $(VENV)/build.in
	$(COMPILE) --upgrade --extra dev pyproject.toml $(VENV)/build.in -o requirements-dev.lock
	$(COMPILE) --upgrade --extra onnx --constraint requirements-dev.lock pyproject.toml $(VENV)/build.in -o requirements.lock
	echo fpng-py | $(COMPILE) --upgrade --no-deps - -o requirements-fpng.lock

clean: ## remove what make made
	rm -rf $(VENV) static/vendor build dist

# The files below are stamps, written when a step is done; a second call does nothing.
$(VENV)/made:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
		{ echo "$(PYTHON) is $$($(PYTHON) -V 2>&1); Python 3.11 to 3.13 is needed: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(call apt,python3-venv) || \
		{ echo "Python's venv is missing. Install it once: sudo apt-get install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/runtime: $(VENV)/made requirements.lock requirements-fpng.lock $(PROJECT)
	$(PIP) install --require-hashes -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	@$(PIP) install --quiet --no-deps --require-hashes -r requirements-fpng.lock 2>/dev/null || \
		echo "Pillow packs the pictures: fpng, which is faster, comes as source and needs a C++ compiler."
	@touch $@

$(VENV)/dev: $(VENV)/runtime requirements-dev.lock
	$(PIP) install --require-hashes -r requirements-dev.lock
	@touch $@

.PHONY: chromium
chromium:
	@command -v chromium >/dev/null || $(call apt,chromium) || \
		printf '\n*** THE BROWSER TESTS WILL BE SKIPPED: no Chromium. Install it once: %s ***\n\n' \
			'sudo apt-get install chromium'

.PHONY: nginx
nginx:
	@PATH="$$PATH:/usr/sbin" command -v nginx >/dev/null || $(call apt,nginx-light) || \
		printf '\n*** THE TESTS BEHIND A PROXY WILL BE SKIPPED: no nginx. Install it once: %s ***\n\n' \
			'sudo apt-get install nginx-light'

# Install a system package where that is allowed without a question; false where it is not.
root = $(if $(filter 0,$(shell id -u)),,sudo -n )
apt = { $(root)true 2>/dev/null && $(root)apt-get update && \
	$(root)env DEBIAN_FRONTEND=noninteractive apt-get install --yes --no-install-recommends $(1); }
