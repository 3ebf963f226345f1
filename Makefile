# Modules: the library (.) and examples are joined by go.work; internal/compare stands alone, and in it internal/compare/libp2p, which
# only compare and tidy build: libp2p is large.
GO      ?= go
COMPARE := internal/compare
LIBP2P  := internal/compare/libp2p
FUZZTIME ?= 60s

.PHONY: test race bench compare fuzz lint soak netns tidy

test: ## library, examples and the comparison module's tests
	$(GO) test ./... ./examples/...
	cd $(COMPARE) && GOWORK=off $(GO) test ./...

race: ## library and examples under the race detector
	$(GO) test -race ./... ./examples/...

soak: ## the long versions of the simulations
	HEARTH_SOAK=1 $(GO) test -timeout 60m ./... ./examples/...

netns: ## relays in network namespaces, with delay, loss and a cut; needs root, takes up to 4 minutes
	$(GO) run ./examples/netns $(NETNSFLAGS)

bench: ## the library's own benchmarks
	$(GO) test -run '^$$' -bench . -benchmem ./...

compare: ## benchmarks beside other implementations, in one run
	cd $(COMPARE) && GOWORK=off $(GO) test -run '^$$' -bench . -benchmem ./...
	cd $(LIBP2P) && GOWORK=off $(GO) vet ./... && GOWORK=off $(GO) test ./... && GOWORK=off $(GO) run ./cmd/table

fuzz: ## every fuzz target for FUZZTIME
	@set -e; for pkg in $$($(GO) list ./... ./examples/...); do \
	  for f in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
	    echo "$$pkg $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) $$pkg; \
	  done; \
	done

lint: ## gofmt, go vet and staticcheck, all clean
	@test -z "$$(gofmt -l .)" || { gofmt -l .; echo 'gofmt: files above need formatting'; exit 1; }
	$(GO) vet ./... ./examples/...
	cd $(COMPARE) && GOWORK=off $(GO) vet ./...
	staticcheck ./... ./examples/...
	cd $(COMPARE) && GOWORK=off staticcheck ./...

tidy:
	$(GO) mod tidy
	cd examples && GOWORK=off $(GO) mod tidy
	cd $(COMPARE) && GOWORK=off $(GO) mod tidy
	cd $(LIBP2P) && GOWORK=off $(GO) mod tidy
