# make help lists the targets. CI runs `make check` and `make test-long`.

GO       ?= go
CONFIG   ?= cloudidq.yaml
FUZZTIME ?= 20s
CHECKS   ?= 500
VERSION  ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

# The linter is built once per version, outside of the tree and of go.mod.
GOLANGCI_VERSION := v2.15.0
CACHE            := $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/cloudidq-ci
GOLANGCI         := $(CACHE)/bin/$(GOLANGCI_VERSION)/golangci-lint

.DEFAULT_GOAL := help
.PHONY: help build test test-long test-browser test-readme race check fmt fmt-check vet lint lint-deploy tidy tidy-check bench bench-micro fuzz run \
	demo docker release release-check deps

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

build: ## build bin/cloudidq, static unless CGO_ENABLED=1
	CGO_ENABLED=$(or $(CGO_ENABLED),0) $(GO) build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/cloudidq ./cmd/cloudidq

# The tests compile and link faster without debug information. The tests of the documents build
# programs with the same flags, so that nothing is compiled twice.
TESTFLAGS := -race -trimpath -gcflags=all=-dwarf=false -ldflags=-w
# Tests of processes mostly wait, so four packages run at a time even on two cores. The slowest
# packages start first.
LONGEST   := ./cmd/cloudidq ./worker ./docs ./internal/httpapi ./store

test: deps ## run all tests, with the race detector and in random order
	CLOUDIDQ_TEST_GOFLAGS="$(TESTFLAGS)" $(GO) test $(TESTFLAGS) -shuffle=on -vet=off -p 4 -timeout 30m $(LONGEST) ./...

test-long: deps ## run the tests that take minutes: large files, an outage, more random calls
	CLOUDIDQ_TEST_BACKFILL_LINES=200000 CLOUDIDQ_TEST_DOWN=60s $(GO) test $(TESTFLAGS) -count=1 -timeout 60m \
		-run '^(TestBackfill_CommandLineKilled|TestWebhooks_ReceiverIsDown)$$' ./cmd/cloudidq
	$(GO) test $(TESTFLAGS) -count=1 -timeout 60m -run 'Contract/AnyCalls|AnyCalls|EveryResultInOneDelivery|Backfill_Property' ./store ./internal/backfill -rapid.checks=$(CHECKS)

test-browser: deps ## test the pages in a headless Chromium, which it installs
	@.ci/deps chromium
	$(GO) test $(TESTFLAGS) -run '^Test(Browser|Page)' ./internal/httpapi ./internal/browsertest

test-readme: ## run every command of the README, in a fresh copy
	$(GO) test -count=1 -run '^TestReadme' -v ./docs

race: test ## the same as test

check: ## run the checks that CI runs before test-long
	@for step in fmt-check vet lint tidy-check build test; do \
		printf '\n== %s\n' "$$step"; $(MAKE) --no-print-directory "$$step" || exit; \
	done

fmt: ## format the Go files
	gofmt -w .

fmt-check: ## list the Go files that are not formatted
	@files=$$(gofmt -l .); if [ -n "$$files" ]; then echo "not formatted (run make fmt):"; echo "$$files"; exit 1; fi

vet: ## run go vet
	$(GO) vet ./...

lint: $(GOLANGCI) ## run golangci-lint with .golangci.yml
	$(GOLANGCI) run ./...

$(GOLANGCI):
	GOBIN=$(dir $@) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)

tidy: ## bring go.mod and go.sum up to date
	$(GO) mod tidy

tidy-check: ## show what tidy would change
	$(GO) mod tidy -diff

bench: ## run the benchmarks of the whole program against other designs
	$(GO) test -run '^$$' -bench . -benchmem ./bench

bench-micro: ## run the benchmarks of single packages
	$(GO) test -run '^$$' -bench . -benchmem ./worker ./internal/queue ./internal/batch ./internal/activity ./internal/deliver ./internal/wechat ./store ./tasks ./internal/lines ./internal/backfill

fuzz: ## run every fuzz test for FUZZTIME (20s)
	@GO=$(GO) .ci/fuzz $(FUZZTIME)

run: build ## run a worker with CONFIG (cloudidq.yaml)
	./bin/cloudidq worker --config $(CONFIG)

demo: ## run the demo against a simulated WeChat
	$(GO) run ./cmd/cloudidq demo

docker: ## build the image cloudidq
	docker build --build-arg VERSION=$(VERSION) --build-arg REVISION=$$(git rev-parse --short=12 HEAD) -t cloudidq .

lint-deploy: ## check every file under deploy/ with the program that reads it
	.ci/lint-deploy

release: ## build the archives, SBOMs and checksums of VERSION in dist/
	.ci/release $(VERSION)

release-check: ## build the release twice, in two folders, and compare
	.ci/release --check $(VERSION)

deps: # install the programs that the tests need
	@.ci/deps redis-server postgres cc
