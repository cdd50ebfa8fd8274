# All commands of the project. People, hooks and CI call the same targets. `make help` lists them.
#
# Needs Python >= 3.11, a Rust toolchain and make. Everything else goes into .venv, target and .tools.
# The tests also need Go (conformance suite, clients) and skopeo; see tests/tools/install.

PYTHON ?= python3
# Arguments for `ociserver serve` and for pytest: make serve SERVE='--port 5001 --immutable-tags'
SERVE  ?=
TESTS  ?=
# Arguments for the example of a cluster: make serve-cluster CLUSTER='--port 5001 --folder data'
CLUSTER ?=
BENCH  ?=
# Arguments for `maturin build`: make wheel WHEEL='--zig --target aarch64-unknown-linux-musl --compatibility musllinux_1_2'
# zig links against the symbols of glibc 2.17, whatever glibc this machine has.
WHEEL  ?= $(if $(filter Linux,$(shell uname)),--zig --compatibility manylinux2014)
# Arguments for the comparison with other registries: make bench-compare COMPARE='--only reads --binary zot=/usr/bin/zot'
COMPARE ?=

# The name of the container image, and arguments for buildah, such as another base: make image IMAGE='--build-arg BASE=...'
TAG    ?= localhost/ociserver
IMAGE  ?=

VENV := .venv
# An absolute path, so that programs in other folders find it too.
BIN  := $(CURDIR)/$(VENV)/bin
PIP  := $(BIN)/python -m pip install --quiet --disable-pip-version-check

# maturin installs into VIRTUAL_ENV, which must not be another active environment.
export VIRTUAL_ENV := $(CURDIR)/$(VENV)
unexport CONDA_PREFIX PYTHONPATH PYTHONHOME

RUST_FILES := Cargo.toml $(wildcard Cargo.lock) $(shell find rust/attach rust/core rust/io rust/load rust/py -name '*.rs' -o -name Cargo.toml)
OBJECTS_FILES := Cargo.toml $(wildcard Cargo.lock) $(shell find rust/attach rust/core rust/objects rust/objects-py -type f)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help  ## List the targets
help:
	@sed -n 's/^\.PHONY: \([a-z-]*\)  *## /\1|/p' Makefile | awk -F'|' '{ printf "  make %-18s %s\n", $$1, $$2 }'

# --- environment: one stamp file for each slow step, so that a second call is fast -------------------

$(VENV)/created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "ociserver needs Python >= 3.11, and '$(PYTHON)' is older or missing. Try: make PYTHON=python3.12 ..."; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "python3 -m venv failed. On Debian and Ubuntu: apt-get install python3-venv"; exit 1; }
# The pip of Python 3.11 does not know dependency groups.
	$(PIP) 'pip>=25.1'
	@touch $@

$(VENV)/built: $(VENV)/created pyproject.toml $(RUST_FILES)
	@command -v cargo >/dev/null || { echo "cargo is missing: install Rust from https://rustup.rs"; exit 1; }
	$(PIP) --group build
# A release build, as shipped. Python files are used from python/ and need no new build.
# Without a group, maturin would also install `dev`, which `make serve` does not need.
	PIP_QUIET=1 $(BIN)/maturin develop --release --quiet --group build
	@touch $@

# The extension for object storage is a package of its own, with its own profile, because it depends on some 150 crates.
# After the other one, because two runs of pip in one environment can disturb each other.
$(VENV)/objects: $(OBJECTS_FILES) | $(VENV)/built
	PIP_QUIET=1 $(BIN)/maturin develop --profile objects --quiet --manifest-path rust/objects-py/Cargo.toml
	@touch $@

$(VENV)/dev: $(VENV)/built $(VENV)/objects pyproject.toml
	$(PIP) --group dev
	@touch $@

TOOLS := $(wildcard $(addprefix tests/tools/,install go.* linters/go.* helm/go.* stores/go.* stores/*/* clients/go.* clients/*/* clients/*/src/* peers/build peers/*/*))

# Exit code 3: a program is missing and was reported. The tests that need it are skipped.
.tools/installed: $(TOOLS)
	@tests/tools/install && touch $@ || [ $$? = 3 ]

# Also with the programs that only `make test-full` needs.
.tools/installed-full: $(TOOLS)
	@FULL_TESTS=1 tests/tools/install && touch .tools/installed $@ || [ $$? = 3 ]

.PHONY: build  ## Build the packages into .venv
build: $(VENV)/built $(VENV)/objects

.PHONY: dev  ## Build, and install all that tests and lint need into .venv
dev: $(VENV)/dev

.PHONY: tools  ## Install the programs that the tests need into .tools
tools: .tools/installed

.PHONY: serve  ## Build, and serve a registry on localhost:5000 (SERVE='--port 5001 ...')
serve: $(VENV)/built
	@exec $(BIN)/ociserver serve $(SERVE)

.PHONY: serve-cluster  ## Serve a registry of two nodes over PostgreSQL and a bucket on this machine (CLUSTER='--folder data ...')
serve-cluster: dev
	@exec $(BIN)/python deploy/cluster/serve.py $(CLUSTER)

# --- tests -----------------------------------------------------------------------------------------

.PHONY: test  ## Build, and run all tests
test: dev tools test-rust
# By file, because tests of one file share a server. In three processes, because tests wait more than they compute.
# Tests that measure time or memory run last, one after another. Only their files are collected, because that of all
# takes long.
	$(BIN)/pytest -m "not alone" --numprocesses 3 --dist loadfile --durations 15
	$(BIN)/pytest -m alone $$(grep -rl --include '*.py' 'mark\.alone' tests)

.PHONY: test-rust  ## Run the tests of the Rust crates
test-rust:
# The other crates need a Python interpreter. The tests in Python cover them.
	cargo test --locked --quiet --package ociserver-core --package ociserver-io --package ociserver-load \
		--package ociserver-objects

.PHONY: test-python  ## Run the Python tests without the conformance suite and the clients (TESTS='-k ...')
test-python: dev
	$(BIN)/pytest --ignore tests/conformance --ignore tests/clients $(TESTS)

.PHONY: test-conformance  ## Run the conformance suite of the distribution spec against the server
test-conformance: dev tools
	$(BIN)/pytest tests/conformance

.PHONY: test-clients  ## Push and pull with real clients
test-clients: dev tools
	$(BIN)/pytest tests/clients

.PHONY: test-full  ## Run the tests that take an hour: 500 kills, power cuts, collection under load (TESTS='...')
test-full: dev .tools/installed-full
	FULL_TESTS=1 $(BIN)/pytest --durations 20 $(or $(TESTS),tests/contract tests/store tests/faults tests/compose/cache tests/memory tests/clients tests/deploy)

.PHONY: test-package  ## Build sdist and wheel, install the wheel into an empty environment, push and pull
test-package: wheel
	tests/packaging/check $(BIN)/python

.PHONY: test-image  ## Build the image, and push to it and pull from it, as root (TAG=NAME, IMAGE='--build-arg BASE=...')
test-image: dev tools image
	OCISERVER_IMAGE=$(TAG) $(BIN)/pytest --timeout 300 tests/deploy/image_checks.py

.PHONY: bench  ## Run the benchmarks: parts of the server, then whole servers (BENCH='--help')
bench: dev tools
	$(if $(wildcard benches/bench_*.py),$(BIN)/pytest --benchmark-enable --benchmark-only --timeout 0 benches)
	$(BIN)/python -m benches.end_to_end $(BENCH)

.PHONY: bench-compare  ## Measure other registries and ours, some 20 minutes (COMPARE='--help')
bench-compare: dev tools
# Exit code 3: some registries are missing and were reported. The tables say so too.
	tests/tools/peers/build || [ $$? = 3 ]
	$(BIN)/python -m benches.compare $(COMPARE)

.PHONY: bench-guard  ## Compare the micro benchmarks with those of an earlier commit (BENCH='--base REV --fail')
bench-guard: dev
	$(BIN)/python -m benches.guard $(BENCH)

# --- lint ------------------------------------------------------------------------------------------

.PHONY: lint  ## Check format, style and types of Rust and Python, and the stubs against the binary
lint: lint-rust lint-python

.PHONY: lint-rust  ## cargo fmt, clippy
lint-rust: $(VENV)/created
	cargo fmt --all --check
	cargo fmt --manifest-path tests/tools/clients/rust-client/Cargo.toml --check
	cargo clippy --locked --quiet --workspace --all-targets -- -D warnings

.PHONY: lint-python  ## ruff, mypy, stubtest, import-linter
lint-python: dev
	$(BIN)/ruff check --quiet
	$(BIN)/ruff format --quiet --check
	$(BIN)/mypy
	$(BIN)/stubtest --mypy-config-file pyproject.toml --allowlist rust/objects-py/stubtest.txt ociserver._core ociserver_objects
	$(BIN)/lint-imports --no-cache --no-logo

.PHONY: format  ## Format Rust and Python, and fix what can be fixed automatically
format: dev
	cargo fmt --all
	cargo fmt --manifest-path tests/tools/clients/rust-client/Cargo.toml
	$(BIN)/ruff check --fix-only --quiet
	$(BIN)/ruff format --quiet

# --- packages and documents ------------------------------------------------------------------------

.PHONY: docs  ## Build the documentation site into target/docs; a broken link is an error
docs: dev
	$(BIN)/sphinx-build --fail-on-warning --keep-going --quiet -c docs/site -d target/doctrees . target/docs
	@echo "target/docs/index.html"

$(VENV)/package: $(VENV)/created pyproject.toml
	$(PIP) --group build --group package
	@touch $@

.PHONY: wheel  ## Build an sdist, and from it the wheels, into dist (WHEEL='--help')
wheel: $(VENV)/package
	rm -rf dist target/sdist
	$(BIN)/maturin sdist --out dist
	mkdir -p target/sdist
	tar -xzf dist/*.tar.gz -C target/sdist --strip-components 1
# From the sdist, so that one build checks both. It has the sources of both packages: an sdist of the extension alone would
# have another Cargo.lock than the one that is tested. As pip builds it: in an environment with the build requirements alone.
	CARGO_TARGET_DIR=$(CURDIR)/target MATURIN_PEP517_ARGS="$(WHEEL)" \
		CARGO_ZIGBUILD_ZIG_PATH="$$($(BIN)/python -c 'import ziglang; print(*ziglang.__path__)')/zig" \
		$(BIN)/python -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist \
			dist/*.tar.gz ./target/sdist/rust/objects-py
	@ls -l dist

.PHONY: image  ## Build the container image with buildah (TAG=NAME, IMAGE='--build-arg BASE=...')
image: wheel
# The format of Docker, because that of OCI has no health checks.
	buildah build --format docker --layers=false $(IMAGE) --tag $(TAG) --file deploy/container/Containerfile .

.PHONY: clean  ## Remove everything that was built
clean:
	rm -rf $(VENV) .tools target dist results .mypy_cache .ruff_cache .pytest_cache .hypothesis .benchmarks
	find python tests benches -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true
	rm -f python/ociserver/_core*.so
