# Two commands: `make demo` runs a real city, `make test` passes every test. Both do all their own set-up.
.PHONY: demo test setup build lint

demo: build
	@"$${CARGO_TARGET_DIR:-target}/debug/civicmesh" demo

test: build
	@scripts/test

build: setup
	@scripts/build

setup:
	@scripts/setup

lint: setup
	@scripts/lint
