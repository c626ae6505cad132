# What a person types. Everything that takes thought is in modrace itself or in
# a script; each target says what it does when you run `make`.

CARGO   ?= cargo
TARGET  := x86_64-unknown-linux-gnu
RELEASE := target/$(TARGET)/release/modrace
DEBUG   := target/$(TARGET)/debug/modrace
# The lab kernels that the tests boot.
KERNELS := fixed vulnerable fixed-preempt vulnerable-preempt fixed-disk vulnerable-disk \
  vulnerable-old vulnerable-debug-info

.DEFAULT_GOAL := help
.PHONY: help demo test test-all bench lint build install deps deps-test clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

demo: deps build ## panic a vulnerable kernel in a VM, see the fixed one survive
	$(RELEASE) lab build fixed vulnerable
	scripts/demo $(RELEASE)

test: deps-test ## the whole test suite, VM tests included
	$(CARGO) build --locked
	$(DEBUG) lab build $(KERNELS)
	$(CARGO) test --locked --no-fail-fast

test-all: deps-test ## the same, and what takes many minutes
	$(CARGO) build --locked
	$(DEBUG) lab build $(KERNELS) vulnerable-kasan fixed-debugfs
	$(CARGO) test --locked --no-fail-fast -- --include-ignored

bench: deps build ## time to crash of the vulnerable kernel, 20 trials
	$(RELEASE) lab build vulnerable
	$(RELEASE) vm --kernel lab:vulnerable --trials 20 --duration 60s || test $$? -eq 1

lint: ## formatting and lints, warnings denied
	$(CARGO) fmt --check
	rustfmt --check --edition 2024 plugin/lib.rs
	clippy-driver plugin/lib.rs --crate-type cdylib --edition 2024 --cfg plugin -C panic=abort \
	  --emit metadata --out-dir target -W clippy::pedantic -D warnings
	$(CARGO) clippy --locked --all-targets -- -D warnings

build: ## an optimised modrace
	$(CARGO) build --locked --release

install: build ## modrace in cargo's bin folder
	$(CARGO) install --locked --path . --target $(TARGET)

deps: ## install what the demo needs
	@scripts/install-deps

deps-test: ## install what the tests need
	@scripts/install-deps --test

clean: ## remove build products; lab kernels: modrace lab remove
	$(CARGO) clean
