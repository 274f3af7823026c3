# CONTRIBUTING.md explains the targets.

FUZZ_SECONDS ?= 30

.PHONY: all check test race fuzz bench bench-network

all:
	CGO_ENABLED=0 go build -trimpath -ldflags='-s -w' -o bin/ ./cmd/...

check:
	.ci/run

test:
	go test ./...

race:
	go test -race -short -timeout 20m ./...

fuzz:
	.ci/fuzz $(FUZZ_SECONDS)

bench:
	go test ./internal/bench -run '^TestFigures$$' -v -timeout 90m -full -report '$(CURDIR)/docs/performance.md'

bench-network:
	go test ./internal/routing -run '^TestSimulated$$' -v -timeout 60m -nodes 1000 -sweep 10000 -lookups 50 -report '$(CURDIR)/docs/performance.md'
