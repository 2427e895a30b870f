# Custody. `make help` lists what there is.
SHELL := /bin/bash
GO ?= go

# Binaries that a user runs; the rest of bin/ is built by the targets that need it.
BINARIES := bin/custody bin/daprd bin/controlplane bin/orders-server bin/orders-agent

# Packages whose code runs concurrently, tested with the race detector.
RACE := ./internal/... ./middleware/... ./resources/...
REST := . ./cmd/... ./tests/... ./examples/...

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build custody, daprd, the control plane and the example into bin/
	$(GO) build -o bin/ ./cmd/custody ./cmd/daprd ./cmd/controlplane
	$(GO) build -o bin/orders-server ./examples/orders/server
	$(GO) build -o bin/orders-agent ./examples/orders/agent

.PHONY: demo
demo: build ## run the orders example to its end: deny all, allow per tool, attacks, receipts
	$(GO) run ./examples/orders/demo

.PHONY: up
up: build ## start the orders example and keep it running (Ctrl-C ends it)
	bin/custody up -f examples/orders/dapr.yaml

.PHONY: test
test: build ## everything that CI runs: unit, conformance and integration tests on real parts
	$(GO) test -race -timeout 20m $(RACE)
	$(GO) test -timeout 30m $(REST)

.PHONY: check
check: fmt-check vet lint test ## what must pass before a commit

.PHONY: fmt
fmt: ## format the code
	$(GO) tool gofumpt -w $$(git ls-files -co --exclude-standard '*.go')

.PHONY: fmt-check
fmt-check:
	@out=$$($(GO) tool gofumpt -l $$(git ls-files -co --exclude-standard '*.go')); \
	if [ -n "$$out" ]; then echo "not formatted (make fmt):"; echo "$$out"; exit 1; fi

.PHONY: vet
vet:
	$(GO) vet ./...

.PHONY: lint
lint: ## run the linters that .golangci.yml names
	$(GO) -C tests/lint build -o ../../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint
	bin/golangci-lint run ./...

.PHONY: bench
bench: build ## measure calls against a sidecar without a guard and with OPA, in ratios of one run
	$(GO) build -o bin/daprd-nopgo -pgo=off ./cmd/daprd
	$(GO) build -o bin/daprd-opa -tags opa ./cmd/daprd
	$(GO) test -run '^$$' -bench . -benchmem ./internal/... ./middleware/...
	$(GO) run ./tests/bench

.PHONY: fuzz
FUZZTIME ?= 60s
fuzz: ## fuzz every parser of outside bytes for FUZZTIME each
	@set -e; for package in $$($(GO) list ./internal/...); do \
		for target in $$($(GO) test -list '^Fuzz' $$package | grep '^Fuzz' || true); do \
			echo "$$package $$target"; $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $$package; \
		done; \
	done

.PHONY: test-cli
test-cli: build ## run the example with the Dapr CLI, built in a module of its own (minutes; not in CI)
	tests/cli/run.sh

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
