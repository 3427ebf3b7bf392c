# The commands of this repository. `make run` and `make test` work from a clean clone.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

TARGET := $(or $(CARGO_TARGET_DIR),target)
BIN := $(TARGET)/release

# Seconds for each fuzz target, and arguments for the gateway, as in `make run ARGS="--shards 1"`. Addresses are served
# besides the one of `make run`: with what `fanfare gen-cert` makes,
#   make run ARGS="--listen https://127.0.0.1:8443 --tls-certificate fanfare.crt --tls-key fanfare.key"
FUZZ_SECONDS ?= 60
ARGS ?=

# Seeds that `make model` runs the engine with.
SEEDS ?= 10000

# Tests of the gateway at a time.
TEST_THREADS ?= 4

# Versions of wse-client, each in a Python of its own.
WSE_CLIENTS := 2.5.1 1.4.3

.PHONY: help run monitor test test-python test-js test-monitor test-wse model bench fuzz ci setup

help:
	@echo "make run    build, then serve on 127.0.0.1:8080 with everything open (demo mode); ARGS=\"--shards 1\" for more flags"
	@echo "make monitor  the page for operators, which a gateway built with --features monitor serves at /monitor"
	@echo "make test   the whole test suite"
	@echo "make test-python  of it, the Python client against the built gateway"
	@echo "make test-js  of it, the TypeScript client: types, build, sizes, and tests in Node and Chromium against the built gateway"
	@echo "make test-monitor  of it, the page for operators in Chromium, against the built gateway"
	@echo "make test-wse  of it, the published clients of the wse protocol against the built gateway"
	@echo "make model  the engine against its model, with SEEDS ($(SEEDS)) seeds; FANFARE_MODEL_SEED=7 runs one"
	@echo "make bench  the benchmarks"
	@echo "make fuzz   every fuzz target for FUZZ_SECONDS ($(FUZZ_SECONDS)) seconds, two at a time"
	@echo "make ci     what continuous integration runs, conformance included"

setup:
	@scripts/setup

run: setup
	cargo build --release --locked
	@echo
	@echo "The gateway serves on 127.0.0.1:8080 until Ctrl-C. Try next:"
	@echo
	@echo "  http://127.0.0.1:8080/ in a browser: the same events over WebSocket and SSE"
	@echo "  $(BIN)/fanfare publish --event news --data '{\"hello\":\"world\"}'"
	@echo "  $(BIN)/loadgen fanout --url ws://127.0.0.1:8080"
	@echo
	@ulimit -n "$$(ulimit -H -n)" && exec $(BIN)/fanfare serve --mode demo --listen 127.0.0.1:8080 $(ARGS)

# With the Node of scripts/setup, if it is there. What it is made of has it built anew.
MONITOR := clients/monitor/dist/index.html
monitor: $(MONITOR)
$(MONITOR): $(shell find clients/js/src clients/monitor/src -type f) $(wildcard clients/monitor/*.*)
	@scripts/setup monitor
	cd clients/monitor && PATH=$(abspath $(TARGET))/node/bin:$$PATH npm run --silent build

# Most tests wait more than they compute, so there are more at a time than processors. The clients' suites run side by
# side, and their output comes when they end.
test:
	@scripts/setup test
	RUST_TEST_THREADS=$(TEST_THREADS) cargo test --workspace --locked
	@$(MAKE) --no-print-directory --output-sync=target --jobs 4 test-js test-wse test-python test-monitor

# The Python client against the gateway that `make test` has built.
test-python:
	@scripts/setup test
	$(TARGET)/python/bin/python -m mypy --config-file clients/python/pyproject.toml clients/python/src examples/backend.py examples/follow.py examples/wse_app.py
	FANFARE_BIN=$(abspath $(TARGET))/debug/fanfare $(TARGET)/python/bin/python -m pytest clients/python

# The TypeScript client against the gateway that `make test` has built. The Node of scripts/setup comes first, if it is there.
test-js:
	@scripts/setup test
	cd clients/js && PATH=$(abspath $(TARGET))/node/bin:$$PATH FANFARE_BIN=$(abspath $(TARGET))/debug/fanfare npm run --silent check

# The page for operators in Chromium, against the gateway that `make test` has built.
test-monitor: monitor
	@scripts/setup test
	cd clients/monitor && PATH=$(abspath $(TARGET))/node/bin:$$PATH FANFARE_BIN=$(abspath $(TARGET))/debug/fanfare npm run --silent test

# The published clients, unmodified, against the gateway that `make test` has built.
test-wse: $(WSE_CLIENTS:%=test-wse-%)

test-wse-%:
	@scripts/setup test
	FANFARE_BIN=$(abspath $(TARGET))/debug/fanfare $(TARGET)/wse-$*/bin/python -m pytest tests/wse

model: setup
	FANFARE_MODEL_SEEDS=$(SEEDS) cargo test --locked --lib -- --nocapture engine::model inbound::model

bench: setup
	cargo bench --workspace --locked

fuzz:
	@scripts/setup fuzz
	scripts/fuzz $(FUZZ_SECONDS)

ci:
	.ci/run
