# Everything from a fresh clone; needs Python 3.11 or newer and make. `make help` lists the targets.
#
#   make demo                the demo company, then web and worker on 127.0.0.1:8000 (BIND=host:port for another address)
#   make demo SERVE=0        the same without serving: prints the invoices and ends
#   make test                the whole suite (TESTS=path and PYTEST_OPTIONS="-n 2" narrow and speed it up)
#   make lint                style, types, import rules, migrations, API description
#   make requirements        which pinned requirements are behind
#   make clean               removes the environment and all caches; keeps the data
#   make clean-data          stops the embedded database and removes its data folder for good
#
# PYTHON=/path/to/python3.12 chooses the interpreter.

SHELL := /bin/sh
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo serve test lint requirements clean clean-data environment environment-dev

VENV := .venv/bin
SERVE ?= 1
BIND ?= 127.0.0.1:8000
TESTS ?= tests
PYTEST_OPTIONS ?=

# The first interpreter that is new enough, preferring one that can make environments without help.
find_python = \
	python="$(PYTHON)"; \
	for wanted in "import venv, ensurepip" "import venv"; do \
		for name in python3 python3.11 python3.12 python3.13 python3.14; do \
			[ -n "$$python" ] && break; \
			"$$name" -c "import sys; sys.exit(sys.version_info < (3, 11))" >/dev/null 2>&1 || continue; \
			"$$name" -c "$$wanted" >/dev/null 2>&1 && python="$$name"; \
		done; \
	done; \
	if [ -z "$$python" ]; then \
		echo "This needs Python 3.11 or newer; none of python3, python3.11 ... python3.14 is one." >&2; \
		echo "Install one (Debian, Ubuntu: apt-get install python3 python3-venv) or name it: make PYTHON=/path/to/python3.12 ..." >&2; \
		exit 1; \
	fi

help:
	@sed -n 's/^#   //p' Makefile

environment:
	@$(find_python); "$$python" billing_site/serving/environment.py requirements.txt

environment-dev:
	@$(find_python); "$$python" billing_site/serving/environment.py requirements.txt requirements-kafka.txt requirements-dev.txt

demo: environment
	@$(if $(filter 0 no false,$(SERVE)),$(VENV)/python manage.py demo --no-serve,exec $(VENV)/python manage.py demo --bind "$(BIND)")

serve: environment
	@exec $(VENV)/python manage.py serve --bind "$(BIND)"

test: environment-dev
	$(VENV)/python -m pytest $(PYTEST_OPTIONS) $(TESTS)

lint: environment-dev
	$(VENV)/ruff check .
	$(VENV)/ruff format --check .
	find templates -name '*.html' -exec $(VENV)/djade --target-version 5.2 --check {} +
	$(VENV)/mypy .
	$(VENV)/lint-imports
	$(VENV)/python manage.py makemigrations --check --dry-run
	$(VENV)/python manage.py spectacular --validate --fail-on-warn --file /dev/null

requirements: environment-dev
	$(VENV)/python -m pip list --outdated

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -not -path './.data/*' -prune -exec rm -rf {} +
	@echo "The data folder is kept; 'make clean-data' before 'make clean' removes it."

clean-data:
	@if [ -x $(VENV)/python ] && [ -d "$${BILLING_DATA_DIR:-.data}" ]; then $(VENV)/python manage.py database stop; fi
	rm -rf "$${BILLING_DATA_DIR:-.data}"
