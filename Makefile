# `make` alone explains the targets.
.DEFAULT_GOAL := help
SHELL := /bin/bash

# Prints one line and fails if a program is missing: $(call need,PROGRAM,WHAT TO INSTALL)
need = command -v $(1) >/dev/null || { echo "$(1) is missing: install $(2)" >&2; exit 1; }

.PHONY: help
help: ## Explain the targets
	@sed -nE 's/^([a-z-]+):[^#]*## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | awk -F'\t' '{ printf "  %-15s %s\n", $$1, $$2 }'

# The script itself asks for Go, which is needed only if a program is not built yet.
.PHONY: control-plane
control-plane: ## Build a real control plane for tests and demo, once (KUBERNETES_VERSION=1.37 or 1.36)
	@tests/control-plane/build >/dev/null

.PHONY: tools
tools: ## Build the other programs that tests and demo use, once
	@tests/tools/build netpolicy kube-router helm kubeconform promtool prometheus-crds >/dev/null

GENERATED := crds $(addprefix charts/enclave-operator/templates/,crds policies rbac) install.yaml docs/audit-event.schema.json

.PHONY: generate
generate: need-rust ## Write the generated files (crds/, a part of the chart, install.yaml) anew
	cargo run --quiet --locked --bin enclave-operator -- generate
	@helm=$$(tests/tools/build helm) && \
	{ cat charts/namespace.yaml && "$${helm#helm=}" template enclave-operator charts/enclave-operator --namespace enclave-system; } >install.yaml

.PHONY: check-generated
check-generated: generate ## Fail if the generated files that are committed are not current
	@test -z "$$(git status --porcelain -- $(GENERATED))" || { git --no-pager diff -- $(GENERATED); echo "the generated files are not current: run make generate and commit the result" >&2; exit 1; }

.PHONY: fmt
fmt: need-rust ## Format the code
	cargo fmt

.PHONY: lint
lint: need-rust ## Check format and lints
	cargo fmt --check
	cargo clippy --locked --all-targets -- --deny warnings
	cargo clippy --locked --test packets -- --deny warnings

.PHONY: check
check: need-rust ## Check format, lints and what is pure, in less than a minute after a change
	cargo fmt --check
	cargo clippy --locked --all-targets -- --deny warnings
	cargo test --locked --quiet --lib
	cargo test --locked --quiet --test pure -- --skip access:: --skip oracle::

.PHONY: test
test: control-plane need-rust ## Run all tests that need no root, those against a real API server too
	@tests/tools/build netpolicy helm kubeconform promtool prometheus-crds >/dev/null
	cargo test --locked

# Programs for administrators are not in everybody's PATH.
.PHONY: test-packets
test-packets need-packets: export PATH := $(PATH):/usr/sbin:/sbin
test-packets: need-packets control-plane tools need-rust ## Test with real packets between network namespaces (Linux, as root)
	cargo test --locked --test packets

# What docs/performance.md explains; passed on if it is set.
BENCH_VARIABLES := ROW SIZE PAIRS VOTES RATED_VOTES EDITS ASSIGNMENTS ELIGIBILITIES REVOCATIONS DECIDED \
	FOREIGN LARGE SECONDS CREATIONS OUT LABEL NOTE
BENCH = $(foreach name,$(BENCH_VARIABLES),$(if $($(name)),BENCH_$(name)='$($(name))')) \
	cargo bench --quiet --locked --bench operator --profile

.PHONY: bench
bench: control-plane need-rust ## Measure the operator as it is shipped (ROW, SIZE, OUT, LABEL: docs/performance.md)
	@tests/tools/build helm >/dev/null
	cargo build --locked --release --bin enclave-operator
	BENCH_PROGRAM=$(CURDIR)/target/release/enclave-operator BENCH_PROFILE='the profile release' $(BENCH) baseline

.PHONY: bench-quick
bench-quick: control-plane need-rust ## Measure what can be measured in minutes, unoptimised; fail only on counts
	@tests/tools/build helm >/dev/null
	@rm -rf target/bench
	BENCH_QUICK=1 BENCH_PROFILE='the profile dev' $(BENCH) dev

.PHONY: bench-report
bench-report: need-rust ## Write docs/performance.md anew from its figures and tests/bench/introduction.md
	BENCH_OUT=docs cargo bench --quiet --locked --bench operator --profile dev -- render

# At a terminal the cluster is left up; without one this is a test that cleans up behind itself.
.PHONY: demo
demo: control-plane need-rust ## Start a control plane with the operator and go through the stories
	@tests/tools/build helm >/dev/null
	@cargo build --locked --bins --example demo
	@cargo run --quiet --locked --example demo

.PHONY: demo-down
demo-down: need-rust ## End what the demo left running
	@if [ -e target/demo ]; then cargo run --quiet --locked --example demo -- down; else echo "No demo is up."; fi

.PHONY: clean
clean: need-rust demo-down ## Remove build results; the built control plane stays cached
	cargo clean

.PHONY: need-rust
need-rust:
	@$(call need,cargo,Rust 1.89 or newer from https://rustup.rs)
	@$(call need,cc,a C compiler such as gcc or clang)
	@$(call need,git,git)

# What `make test-packets` needs of the machine. It is checked first, before anything is built.
.PHONY: need-packets
need-packets:
	@[ "$$(uname)" = Linux ] || { echo "make test-packets needs Linux" >&2; exit 1; }
	@[ "$$(id -u)" = 0 ] || { echo "make test-packets makes network namespaces: run it as root" >&2; exit 1; }
	@for program in ip iptables ipset; do command -v $$program >/dev/null || missing="$$missing $$program"; done; \
	[ -z "$$missing" ] || { echo "make test-packets misses$$missing: apt-get install iproute2 iptables ipset" >&2; exit 1; }
