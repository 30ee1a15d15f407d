# The commands a person needs. Each installs what is missing (as root on Debian) or names it, and is safe to run again.

export PATH := $(CURDIR)/target/tools/bin:$(PATH)
DATA ?= $(CURDIR)/data
LISTEN ?= 127.0.0.1:8460

.PHONY: help run build test test-slow bench bench-identify lint fmt clean

help: ## what there is to make
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' Makefile

run: build ## build everything, then watch this machine's loopback with the console on 127.0.0.1:8460
	@target/release/portreeve serve --data "$(DATA)" --listen $(LISTEN) --watch 127.0.0.1 --watch ::1

build: ## the console and the release binary, target/release/portreeve
	@scripts/ensure run
	@cargo xtask build

lint: ## formatting, clippy, and the walls between crates
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	cargo xtask tidy

test: ## every test but the slow ones
	@scripts/ensure test
	@scripts/test

test-slow: ## long suites, not part of make test; a hundred real servers among them (half a gigabyte from PyPI and npm)
	@scripts/ensure slow
	@scripts/test --slow

bench: ## measure scans beside masscan, zmap and nmap (root; half an hour and more); the result goes to docs/benchmarks
	@scripts/ensure bench
	@cargo xtask bench scan

bench-identify: ## measure identification beside nmap on real servers (root; forty minutes); the result goes to docs/benchmarks
	@scripts/ensure slow
	@cargo xtask bench identify --record

fmt: ## format the Rust code
	cargo fmt --all

clean: ## remove what was built; the data directory stays
	rm -rf target web/dist web/node_modules
