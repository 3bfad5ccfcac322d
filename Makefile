# Every target sets up what it needs from a bare checkout.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
PACKAGES := cli exporter formats measure runtime training
SOURCES := pyproject.toml constraints.txt CMakeLists.txt $(shell find runtime/native -name "*.cpp" -o -name "*.h" -o -name "*.cmake" -o -name CMakeLists.txt)
TREE := build/tree/sparse_export

.DEFAULT_GOAL := help
.PHONY: help setup lint typecheck test demo benchmarks report fuzz fuzz-readers campaign properties clean compat field cost gpu js browser wheels crash-test generate aarch64 memory-test

help: ## Show the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

# torch first, by its exact version: a range may fetch gigabytes of GPU libraries.
$(VENV)/.dependencies: constraints.txt pyproject.toml
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check "$$(grep -E '^torch==' constraints.txt)"
	$(PY) -m pip install --quiet --disable-pip-version-check "$$(grep -E '^torchvision==' constraints.txt)"
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt scikit-build-core cmake ninja
	touch $@

$(VENV)/.installed: $(VENV)/.dependencies $(SOURCES)
	$(PY) -m pip install --quiet --disable-pip-version-check --no-build-isolation -c constraints.txt \
	  -C cmake.define.SPARSE_EXPORT_DEVELOPER=ON -e '.[bench,dev,lab]'
	touch $@

setup: $(VENV)/.installed ## Virtual environment with everything in it, native library built

lint: setup ## Style, and the arrows between rooms
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m tools.imports

# mypy cannot follow the folder mapping of an editable install: show it the package as it is installed.
typecheck: setup ## Types
	mkdir -p $(TREE)
	ln -sfn $(addprefix $(CURDIR)/,$(wildcard src/sparse_export/*.py) src/sparse_export/py.typed $(PACKAGES)) $(TREE)/
	MYPYPATH=build/tree $(PY) -m mypy -p sparse_export
	MYPYPATH=build/tree:benchmarks $(PY) -m mypy examples/demo tools benchmarks

# The report's page is tested in a real browser, where one can be had; without it those tests say they are skipped.
$(VENV)/.browser: $(VENV)/.installed
	command -v chromium >/dev/null || (apt-get update -qq && apt-get install -y -qq chromium) >/dev/null 2>&1 \
	  || echo "no chromium here: the browser tests are skipped"
	touch $@

# Where node is missing those tests say they are skipped.
tests/js/node_modules/.installed: tests/js/package-lock.json
	cd tests/js && npm ci --silent --no-audit --no-fund
	touch $@

js: tests/js/node_modules/.installed $(VENV)/.browser ## Exported files in node and in a browser
	$(PY) -m pytest tests/js

# csr: larger than the smallest format, but expanded faster when a page loads it.
build/browser/index.html: tests/js/node_modules/.installed demo-out/model.csr.onnx $(wildcard examples/browser/*)
	$(VENV)/bin/sparse-export demo-out/model.pt --force --format dense -o demo-out/model.dense.onnx
	examples/browser/assemble.sh demo-out/model.dense.onnx demo-out/model.csr.onnx build/browser

browser: build/browser/index.html ## examples/browser with the demo's net, on http://localhost:8000
	$(PY) -m http.server --bind 127.0.0.1 --directory build/browser 8000

picture: build/browser/index.html $(VENV)/.browser ## docs/figures/browser.png: digits drawn on that page (an idle minute)
	node tests/js/draw.mjs build/browser "$$(command -v chromium)" docs/figures/browser.png

# aarch64 is compiled by a cross compiler and run by an emulator; without them those tests say they are skipped.
$(VENV)/.aarch64: $(VENV)/.installed
	command -v aarch64-linux-gnu-g++ >/dev/null && command -v qemu-aarch64 >/dev/null \
	  || (apt-get update -qq && apt-get install -y -qq g++-aarch64-linux-gnu qemu-user) >/dev/null 2>&1 \
	  || echo "no cross compiler or no emulator for aarch64 here: those tests are skipped"
	touch $@

aarch64: $(VENV)/.aarch64 ## Thousands of random layers on every target of aarch64, under qemu and sanitizers
	$(PY) -m tests.native.aarch64 --cases $(or $(CASES),2000)

# The oldest runtime that files are promised for, beside the newest one of the virtual environment.
OLD_ORT := build/onnxruntime-1.20
$(OLD_ORT)/.installed: $(VENV)/.dependencies
	$(PY) -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(OLD_ORT) onnxruntime==1.20.1
	touch $@

compat: setup $(OLD_ORT)/.installed ## What must hold on the oldest onnxruntime (1.20) too
	SPARSE_EXPORT_OLD_ORT=$(CURDIR)/$(OLD_ORT) $(PY) -m pytest -k "oldest"

test: lint typecheck $(VENV)/.browser $(VENV)/.aarch64 $(OLD_ORT)/.installed ## Everything CI runs: style, types, native build, tests
	SPARSE_EXPORT_OLD_ORT=$(CURDIR)/$(OLD_ORT) $(PY) -m pytest

demo: setup ## Train, prune, export, compare: the main job on real data
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" bash examples/demo/run.sh

fuzz-readers: setup ## A million damaged files through every reader and the whole export
	$(PY) -m tests.fuzz.readers --cases $(or $(CASES),1000000)

properties: setup ## 2,500 property-based cases a format (about ten minutes)
	HYPOTHESIS_PROFILE=thorough $(PY) -m pytest tests/contract

# The programs of runtime/native/fuzz, with AddressSanitizer and UndefinedBehaviorSanitizer; `make fuzz CXX=clang++` has
# them built by another compiler.
CXX := $(if $(filter default,$(origin CXX)),g++,$(CXX))
FUZZ := build/fuzz/$(notdir $(CXX))
CMAKE := PATH="$(CURDIR)/$(VENV)/bin:$$PATH" cmake
FUZZ_OPTIONS := -G Ninja -DCMAKE_CXX_COMPILER=$(CXX) -DSPARSE_EXPORT_FUZZ=ON -DSPARSE_EXPORT_DEVELOPER=ON

$(FUZZ)/build.ninja: setup
	$(CMAKE) -S . -B $(FUZZ) $(FUZZ_OPTIONS) >/dev/null

# Errors only: results and statuses pass, anything a sanitizer sees does not.
fuzz: $(FUZZ)/build.ninja ## A million random packed inputs through the native operators, under sanitizers
	$(CMAKE) --build $(FUZZ) --target fuzz_ops
	$(FUZZ)/runtime/native/fuzz_ops $(or $(CASES),1000000)

# Every system call of every writer killed, failed and cut short, through a preloaded shim (Linux, a C compiler).
crash-test: setup ## A thousand kills and a thousand faults of whatever writes files (an idle quarter of an hour)
	$(PY) -m tests.crash.every_call --kills $(or $(CASES),1000) --faults $(or $(CASES),1000)

# Linux: the peak is read from /proc.
memory-test: setup ## Peak memory of exporting large checkpoints and models, each against its bound (some minutes)
	$(PY) -m tests.memory.large

# Under sanitizers against double precision (exit code 77: not on this CPU), once more for data races alone, then
# through onnxruntime against numpy. The targets are the library's own list.
campaign: TARGETS = $(shell $(PY) -c "from tests.native.tables import TARGETS; print(*TARGETS)")
campaign: $(FUZZ)/build.ninja ## Thousands of random shapes through the kernels of every instruction set
	$(CMAKE) --build $(FUZZ) --target random_layers
	for target in $(TARGETS); do \
	  SPARSE_EXPORT_TARGET=$$target $(FUZZ)/runtime/native/random_layers $(or $(CASES),3000) || [ $$? -eq 77 ] || exit 1; done
	$(CMAKE) -S . -B $(FUZZ)/threads $(FUZZ_OPTIONS) -DSPARSE_EXPORT_SANITIZERS=thread >/dev/null
	$(CMAKE) --build $(FUZZ)/threads --target random_layers
	$(FUZZ)/threads/runtime/native/random_layers $(or $(THREAD_CASES),1000)
	for target in $(TARGETS); do \
	  SPARSE_EXPORT_TARGET=$$target $(PY) tests/runtime/random_layers.py --cases $(or $(CASES),2000) || exit 1; \
	  SPARSE_EXPORT_TARGET=$$target $(PY) -m tests.runtime.random_bit_layers --cases $(or $(CASES),2000) || exit 1; done

benchmarks: setup demo-out/model.csr.onnx ## Every published figure, into benchmarks/results (an idle hour)
	$(PY) benchmarks/sizes.py
	$(PY) benchmarks/packing.py
	$(PY) benchmarks/every_net.py
	$(PY) benchmarks/kernels.py --density 0.1 0.2 --targets avx512 avx2 scalar
	$(PY) benchmarks/kernels.py --formats --rows 1 --targets avx512 avx2
	$(PY) benchmarks/kernels.py --linear-time
	$(PY) benchmarks/models.py
	$(PY) benchmarks/models.py --memory
	$(PY) benchmarks/loads.py
	$(PY) benchmarks/binary.py
	$(PY) benchmarks/int8.py
	$(PY) benchmarks/int8.py --target avx2
	$(PY) benchmarks/defaults.py
	$(PY) benchmarks/binary.py --targets avx512vnni avx2 scalar
	$(VENV)/bin/sparse-export bench demo-out/model.pt demo-out/model.csr.onnx --peers --data demo-out/held-out.npz \
	  --save benchmarks/results/vgg11.json --markdown benchmarks/results/vgg11.md --html benchmarks/results/vgg11.html --force
	$(PY) -m tools.readme

field: setup ## Trained networks of packages, pruned, exported, proven, measured: docs/field.md (an idle hour)
	status=0; $(PY) benchmarks/field.py $(if $(TARGETS),--targets $(TARGETS)) || status=$$?; \
	$(PY) -m tools.readme && exit $$status

# Into runtime/cost_table.json: what is believed where a file is written, and where it is loaded.
cost: setup ## Fit the cost model to measured layers, for AVX2 and AVX-512 (a quarter of an idle hour)
	$(PY) benchmarks/fit_cost.py
# zig, which compiles for aarch64, is large: it comes when it is needed.
$(VENV)/.zig: $(VENV)/.installed
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt ziglang
	touch $@

wheels: $(VENV)/.zig $(VENV)/.aarch64 ## The files to publish, into dist, each tried in a fresh environment; FULL=1 with torch too
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(PY) -m tools.wheels
	$(PY) -m tools.wheel_smoke $(if $(FULL),--full)

# Whatever python3 has torch: a machine with a GPU need not be set up. ONLY="vgg11 layers" runs a part.
gpu: ## Every GPU figure, into benchmarks/results/gpu-*.json (eight minutes); says so where there is no GPU
	$(if $(wildcard $(PY)),$(PY),$(PYTHON)) benchmarks/gpu.py $(if $(ONLY),--only $(ONLY))

demo-out/model.csr.onnx:
	$(MAKE) demo

report: setup ## The lab report, every experiment anew; FULL=1 for the long one
	$(PY) -m tools.lab_report $(if $(FULL),--full)

generate: setup ## Every derived file anew; CHECK=1 changes nothing and says what is stale (the tests do that too)
	$(PY) -m tools.generate $(if $(CHECK),--check)

clean: ## Remove what was built
	rm -rf build $(VENV) demo-out .mypy_cache .ruff_cache .pytest_cache .hypothesis
