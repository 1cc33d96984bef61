# make demo and make test do everything on a fresh machine with Python 3.11 or newer.
PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test slow mutants check docs dist sbom constraints clean

demo: .venv/.demo
	$(BIN)/tsirius run configs/demo.toml

test: .venv/.dev
	@# what is compiled is kept, else every process that a test starts compiles all that it imports
	PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n auto --dist loadfile --no-loadscope-reorder

slow: .venv/.dev
	$(BIN)/python -m pytest -m slow

mutants: .venv/.dev  # would the tests notice a mistake? resumes where it was stopped
	$(BIN)/python tests/mutants.py

check: .venv/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/.dev  # the generated pages, then all of them as a site in .venv/site
	$(BIN)/python docs/generate.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --site-dir .venv/site

dist: .venv/bin/python  # sdist and wheel in dist/, checked, each installed in an empty environment and tried there
	rm -rf dist .venv/tools
	$(PYTHON) -m venv .venv/tools
	.venv/tools/bin/python -m pip install --quiet --disable-pip-version-check 'build>=1.2' 'twine>=6'
	.venv/tools/bin/python -m build --outdir dist .
	.venv/tools/bin/twine check --strict dist/*
	for file in dist/*; do \
	  rm -rf .venv/empty && $(PYTHON) -m venv .venv/empty && \
	  .venv/empty/bin/python -m pip install --quiet --disable-pip-version-check -c constraints.txt "$$file" && \
	  (cd .venv/empty && bin/tsirius --version && bin/tsirius demo) || exit 1; \
	done
	rm -rf .venv/empty .venv/tools

sbom: .venv/.demo  # a CycloneDX list of what is installed in .venv, with licences
	$(PYTHON) -m venv .venv/sbom
	.venv/sbom/bin/python -m pip install --quiet --disable-pip-version-check 'cyclonedx-bom>=5'
	.venv/sbom/bin/cyclonedx-py environment --output-reproducible --of JSON -o .venv/sbom.json $(BIN)/python

constraints:  # the versions of a fresh installation become the pinned ones
	rm -rf .venv/fresh && $(PYTHON) -m venv .venv/fresh
	.venv/fresh/bin/python -m pip install --quiet --disable-pip-version-check 'torch==2.13.0' -e '.[browser,dev,gpu,scale]'
	{ echo "# What the tests pass with. Written by: make constraints"; \
	  .venv/fresh/bin/python -m pip freeze --exclude-editable | sed 's/+cpu$$//'; } > constraints.txt
	rm -rf .venv/fresh

clean:
	rm -rf .venv dist .pytest_cache .mypy_cache .ruff_cache .hypothesis mutants

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "tsirius needs Python 3.11 or newer; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	$(PYTHON) -m venv .venv

.venv/.demo: .venv/bin/python pyproject.toml constraints.txt
	@# a module is compiled when it is first imported: most never are, which saves time and 100 MB
	@begun=$$(date +%s); \
	  $(BIN)/python -m pip install --no-compile --quiet --disable-pip-version-check -c constraints.txt -e . && \
	  echo "set up in $$(($$(date +%s) - begun)) s, $$(du -sm .venv | cut -f1) MB"
	@touch $@

.venv/.dev: .venv/bin/python pyproject.toml constraints.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev,gpu]'
	@touch $@ .venv/.demo
