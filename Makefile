# `make run` runs the product on this machine, `make test` proves it. Both set up what they need.
# Every path is relative: the folder may lie anywhere, also where the path has a space in it.

BIN := .venv/bin
PRODUCT := requirements.txt
DEVELOPMENT := requirements.txt requirements-dev.txt
COMPILE := pip-compile --quiet --generate-hashes --strip-extras --allow-unsafe \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links

.PHONY: help run test setup setup-product lint types bench lock clean

help:
	@echo "make run     the product on this machine, until Ctrl-C"
	@echo "make test    lint, format, types, import floors, migrations and all tests"
	@echo "make setup   .venv with the pinned requirements of product and development"
	@echo "make lint    ruff and import-linter"
	@echo "make types   mypy"
	@echo "make bench   the yardsticks of bench/README.md"
	@echo "make lock    requirements*.in to requirements*.txt, pinned and hashed"
	@echo "make clean   remove .venv and caches; the database stays (.local/README says where)"

run: setup-product
	@$(BIN)/python manage.py run

# Stops at the first failure.
test: setup
	@echo; echo "== ruff check";           $(BIN)/ruff check
	@echo; echo "== ruff format --check";  $(BIN)/ruff format --check
	@echo; echo "== mypy";                 $(BIN)/mypy
	@echo; echo "== import floors";        $(BIN)/lint-imports
	@echo; echo "== migrations";           $(BIN)/python manage.py makemigrations --check --dry-run
	@echo; echo "== chromium";             .ci/chromium
	@echo; echo "== pytest";               $(BIN)/python -m pytest -n 2

setup:
	@$(call install,$(DEVELOPMENT))

setup-product:
	@$(call install,$(PRODUCT))

lint: setup
	@$(BIN)/ruff check && $(BIN)/ruff format --check && $(BIN)/lint-imports

types: setup
	@$(BIN)/mypy

bench: setup
	@$(BIN)/python -m bench

lock: setup
	@CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/$(COMPILE) --output-file requirements.txt requirements.in
	@CUSTOM_COMPILE_COMMAND="make lock" $(BIN)/$(COMPILE) --output-file requirements-dev.txt requirements-dev.in

clean:
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache staticfiles
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The first of these that is Python 3.11 sets up the environment; PYTHON=… chooses another.
define install
for python in "$(PYTHON)" python3.11 python3 python; do \
	if "$$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then \
		exec "$$python" -P raxx/kernel/install.py $(1); \
	fi; \
done; \
echo "Raxx needs Python 3.11, and neither python3.11 nor python3 is that. Install it, or say where it is: make $@ PYTHON=/path/to/python3.11"; \
exit 1
endef
