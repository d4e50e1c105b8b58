# Developer commands of recsvc; `make` lists them. Each sets up what it needs (tools/setup.sh).

SHELL := /bin/sh
BIN := .venv/bin
# Most tests wait for real time more than they compute: four keep two cores busy, and each has roles of its own.
WORKERS := $(shell cores=$$(nproc); echo $$((cores < 2 ? 2 : 4)))
# Hundreds of short processes run below; each would compile every module that it imports.
unexport PYTHONDONTWRITEBYTECODE
CONFIGURE := cmake -S . -G Ninja -DRECSVC_TESTS=ON -DRECSVC_PYTHON=OFF

.DEFAULT_GOAL := help
.PHONY: serve-demo bench bench-peers bench-at-once bench-report help setup setup-test demo test checks lint types ctest sanitize pytest wheel wheel-test wheel-test-debian mutants format clean

# One target after the other, but for those that `make test` runs side by side once everything is set up.
ifdef side_by_side
checks: lint types sanitize wheel-test ctest
else
.NOTPARALLEL:
ready := setup-test
ready_to_run := setup
endif

# $(call again,MARK): tests of real time that a busy machine has starved run once more, one after the other. A test that
# fails twice has failed; what failed once stays in the output, under its first name.
again = || { [ $$? = 1 ] && echo "recsvc: once more, by themselves: the tests above that failed" && \
	$(BIN)/python -m pytest -m $(1) --last-failed --last-failed-no-failures=none; }

# $(call failed,WHAT): ends the command before it with one clear line.
failed = || { echo "recsvc: error: $(1) failed (lines above)" >&2; exit 1; }
# $(call logged,FILE,COMMANDS): shows the output of the commands only when they fail.
logged = { $(2); } >$(1) 2>&1 || { cat $(1) >&2; false; }

help: ## list the targets
	@echo "recsvc: make TARGET, one of"
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  \1\t\2/p' Makefile | expand -t 20

setup: ## install what recording needs: system packages, .venv, the core
	@tools/setup.sh run

setup-test: ## install what the tests need as well
	@tools/setup.sh test

demo: setup ## record 5 s of test picture and tone to demo.webm
	@echo "recsvc: recording 5 s of test picture and tone to demo.webm"
	@$(BIN)/recsvc record --audio test: --video test: --duration 5 -o demo.webm $(call failed,the recording)

serve-demo: ## record with a service, from Node.js and C at the same time, to demo-node.webm and demo-c.webm
	@tools/setup.sh clients
	@tools/serve_demo.sh

test: checks pytest ## run all checks and tests, stop at the first failure

ifndef side_by_side
checks: setup-test ## run all checks but the Python tests, side by side
	@$(MAKE) --no-print-directory --jobs=$(shell nproc) --output-sync=target side_by_side=yes checks
endif

lint: $(ready) ## check style and formatting (ruff)
	@echo "recsvc: checking style and formatting"
	@$(BIN)/ruff check --quiet . $(call failed,ruff check)
	@$(BIN)/ruff format --quiet --check . $(call failed,the check of the formatting (mended by: make format))

types: $(ready) ## check types (mypy)
	@echo "recsvc: checking types"
	@$(BIN)/mypy $(call failed,mypy)

ctest: $(ready) ## build and run the C tests
	@echo "recsvc: building and running the C tests"
	@mkdir -p build
	@{ $(call logged,build/ctest.log,$(CONFIGURE) -B build/ctest && cmake --build build/ctest); } $(call failed,the build of the C tests)
	@ctest --parallel $(shell nproc) --test-dir build/ctest --output-on-failure --no-tests=error $(call failed,a C test)

sanitize: $(ready) ## the C tests under the address and undefined-behaviour sanitizers
	@echo "recsvc: building and running the C tests with sanitizers"
	@mkdir -p build
	@{ $(call logged,build/sanitize.log,$(CONFIGURE) -DRECSVC_SANITIZE=ON -B build/sanitize && cmake --build build/sanitize); } $(call failed,the build with sanitizers)
	@ctest --parallel $(shell nproc) --test-dir build/sanitize --output-on-failure --no-tests=error $(call failed,a C test under sanitizers)

pytest: setup-test ## run the Python tests: side by side, then those that need the machine for themselves
	@echo "recsvc: running the Python tests side by side"
	@$(BIN)/python -m pytest -m "not alone" --benchmark-disable --numprocesses=$(WORKERS) --dist=worksteal $(call again,"not alone") $(call failed,a Python test)
	@echo "recsvc: running the Python tests and small benchmarks that need the machine for themselves"
	@$(BIN)/python -m pytest -m alone $(call again,alone) $(call failed,a Python test)

bench: setup-test ## measure everything in full size (about 25 minutes, best alone on the machine)
	@mkdir -p build
	@RECSVC_BENCH_ROUNDS=60 RECSVC_BENCH_SECONDS=10 RECSVC_BENCH_HOURS=10 $(BIN)/python -m pytest bench --ignore=bench/peers --timeout=1800 \
		--benchmark-json=build/bench.json --benchmark-sort=name --benchmark-columns=min,median,max,rounds

bench-peers: setup-test ## stop recsvc and eight other recorders in turn, 30 times each (10 minutes; with CPU=yes CPU time too, 45)
	@tools/setup_peers.sh
	@mkdir -p build
	@RECSVC_BENCH_ROUNDS=$${RECSVC_BENCH_ROUNDS:-30} $(BIN)/python -m pytest bench/peers $(if $(CPU),,-k stop_to_data) --timeout=7200 \
		--benchmark-json=build/peers.json --benchmark-sort=name --benchmark-columns=min,median,max,rounds
	@$(BIN)/python bench/report.py --print build/peers.json

bench-at-once: setup-test ## CPU time and memory of up to 200 recordings, and how many go on, with GStreamer's and FFmpeg's (12 minutes, best alone on the machine)
	@tools/setup_peers.sh
	@$(BIN)/python bench/bench_at_once.py
	@$(BIN)/python bench/bench_at_once.py --most

bench-report: setup-test ## tables and plots of the last `make bench` into bench/README.md
	@test -s build/bench.json || $(MAKE) --no-print-directory bench
	@$(BIN)/python bench/report.py build/bench.json $(wildcard build/peers.json) $(call failed,the report)

wheel: ## build dist/recsvc-*.whl for any Linux of glibc 2.34 or newer, codec libraries inside (3 minutes, then seconds)
	@tools/setup.sh wheel
	@tools/wheel.sh build

wheel-test-debian: setup-test wheel ## install that wheel into bare Debians 12 and 13 and record 1 s with it (2 minutes more)
	@tools/wheel.sh try bookworm trixie

wheel-test: $(ready_to_run) ## build the wheel, install it into an empty environment, record 1 s with it
	@echo "recsvc: building the wheel"
	@rm -rf build/wheel && mkdir -p build/wheel
	@$(BIN)/python -m pip wheel -qq --no-deps -w build/wheel . $(call failed,the build of the wheel)
	@$(BIN)/python tools/check_wheel.py build/wheel/*.whl $(call failed,the check of the wheel)
	@echo "recsvc: installing it into an empty virtual environment"
	@$(BIN)/python -m venv build/wheel/venv && build/wheel/venv/bin/python -m pip install -qq --no-compile build/wheel/*.whl $(call failed,the installation of the wheel)
	@echo "recsvc: recording 1 s with it"
	@cd build/wheel && venv/bin/recsvc record --audio test: --video test: --duration 1 -o wheel.webm && test -s wheel.webm $(call failed,the recording with the wheel)

mutants: setup-test ## put small faults into the pure modules and list those that no test notices (up to an hour)
	@mkdir -p build/mutants
	@test -x build/mutants/venv/bin/cosmic-ray || { $(BIN)/python -m venv build/mutants/venv && build/mutants/venv/bin/python -m pip install -qq 'cosmic-ray>=8.4'; } $(call failed,the installation of cosmic-ray)
	@build/mutants/venv/bin/python tools/mutants.py $(MODULES) $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SHARE),--share $(SHARE)) $(if $(SEED),--seed $(SEED))

format: setup-test ## format the Python code and mend what ruff can
	@$(BIN)/ruff check --quiet --fix . $(call failed,ruff check)
	@$(BIN)/ruff format .

clean: ## remove everything the other targets made
	@for directory in build/debian/*/; do tools/debian.sh remove "$${directory%/}"; done
	rm -rf .venv build dist demo.webm demo-node.webm demo-c.webm examples/c/record examples/node/node_modules .mypy_cache .pytest_cache .ruff_cache .hypothesis .benchmarks
	find recsvc tests -name __pycache__ -type d -exec rm -rf {} +
