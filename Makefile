# One command for each purpose; `make` alone lists them.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.PHONY: bounds driver-compilers help demo model embed-model ocr-models onnx-nodes openai-clients fetched prepared onnx-coverage test test-all test-modern test-narrow test-old test-examples lint bench bench-peers bench-gpu adapters gpu-check

ADAPTERS := scripts/adapters.sh
# Passed on to cargo: make test ARGS="--release"
ARGS ?=

help:
	@sed -n 's/^## //p' Makefile

## make demo        build, fetch a small language model, let it answer (ADAPTER=, PROMPT=, MODEL=)
demo:
	@scripts/demo.sh

## make test        lints and tests on software adapters and the CPU; the slow ones are in test-all
test: prepared test-modern test-narrow test-old test-examples

# What has to be fetched comes while the lints keep the processors busy.
fetched: adapters model embed-model ocr-models onnx-nodes openai-clients
prepared:
	@log=$$(mktemp); trap 'rm -f "$$log"' EXIT; failed=0; \
	$(MAKE) --no-print-directory fetched >"$$log" 2>&1 & fetching=$$!; \
	$(MAKE) --no-print-directory lint || failed=1; \
	wait $$fetching || failed=1; \
	cat "$$log" >&2; exit $$failed

## make test-all    the above, then every test (slow ones too) on each adapter by itself
test-all: test
	for name in swiftshader lavapipe lavapipe-old; do \
	    WGINFER_TEST_ALL=1 $(ADAPTERS) run "$$name" cargo test $(ARGS) --lib --bins --tests -- --include-ignored; \
	done

# The model that the tests of language models run; kept in the user's cache.
model:
	@scripts/fetch_demo_model.sh >/dev/null

# The model that the tests of embeddings run; kept in the user's cache.
embed-model:
	@scripts/fetch_embed_model.sh >/dev/null

# The models that read text, and a page; kept in the user's cache.
ocr-models:
	@scripts/fetch_ocr_models.sh >/dev/null

# OpenAI's own clients; kept in the user's cache.
openai-clients:
	@scripts/fetch_openai_clients.sh >/dev/null

# ONNX's own node tests; kept in the user's cache.
onnx-nodes:
	@scripts/fetch_onnx_nodes.sh >/dev/null

## make onnx-coverage  runs all of ONNX's node tests on every backend and writes docs/onnx-coverage.md
onnx-coverage: adapters onnx-nodes
	WGINFER_COVERAGE=docs/onnx-coverage.md $(ADAPTERS) run modern+swiftshader cargo test $(ARGS) --test onnx_nodes

# Every test body on the CPU backend, the modern lavapipe and SwiftShader, which one
# process has side by side; of the conformance suite a few shapes of each family.
TESTS := --lib --bins --tests
test-modern:
	WGINFER_TEST_QUICK=1 $(ADAPTERS) run modern+swiftshader cargo test $(ARGS) $(TESTS)

# A quick subset on what the modern lavapipe is where processors have no vectors of 256
# bits (ARM, say): subgroups of four, no matrices.
test-narrow:
	LP_NATIVE_VECTOR_WIDTH=128 $(ADAPTERS) run lavapipe cargo test $(ARGS) --test device --test session
	LP_NATIVE_VECTOR_WIDTH=128 WGINFER_TEST_QUICK=1 $(ADAPTERS) run lavapipe cargo test $(ARGS) --test conformance -- lavapipe::MatMul

# A quick subset on an older driver.
test-old:
	$(ADAPTERS) run lavapipe-old cargo test $(ARGS) --test device --test quant_decode --test session
	WGINFER_TEST_QUICK=1 $(ADAPTERS) run lavapipe-old cargo test $(ARGS) --test conformance -- lavapipe-old::

# What the documentation shows: its own examples, the README's, and an operator
# from outside the crate, which judges itself on each backend.
test-examples:
	cargo test $(ARGS) --doc
	for adapter in cpu llvmpipe SwiftShader; do \
	    $(ADAPTERS) run modern+swiftshader cargo run $(ARGS) --quiet --example custom_op -- "$$adapter"; \
	done

# The library without the command comes second; with the benchmarks beside it the
# dependencies keep the features of the first run and are not checked again.
## make lint        formatting and lints
lint:
	cargo fmt --check
	cargo clippy $(ARGS) --all-targets -- -D warnings
	cargo clippy $(ARGS) --lib --benches --no-default-features -- -D warnings
	@if command -v shellcheck >/dev/null; then shellcheck -x scripts/*.sh .ci/run; fi

## make bench       benchmarks on the software adapters and the CPU
bench: adapters
	$(ADAPTERS) run modern+swiftshader cargo bench $(ARGS)

## make bench-peers beside ONNX Runtime's WebGPU provider, burn and llama.cpp, on software adapters
bench-peers: adapters
	@benches/peers/run.sh

## make bench-gpu   this machine's GPU beside its own limits, PyTorch and burn (ADAPTER=, SIZE=, PYTHON=, PEERS=, ONLY=)
bench-gpu:
	@benches/peers/gpu.sh

## make gpu-check   every test and benchmark on this machine's GPU, with a report (ADAPTER=, REPORT=)
gpu-check:
	@scripts/gpu_check.sh

## make driver-compilers  what the drivers of AMD's and NVIDIA's GPUs make of the shaders, without such a GPU (GPUS=, VARIANT=, PARTS=)
driver-compilers:
	@scripts/driver_compilers.sh $(GPUS)

## make bounds      whether any kernel reads or writes outside of its buffers, on lavapipe (PART=)
bounds:
	@scripts/bounds.sh $(PART)

## make adapters    install the software adapters and check that they answer
adapters:
	@$(ADAPTERS) install all
