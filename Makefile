# make run    the hub, with a token made for this run; no Redis needed
# make check  before each commit: lint and unit tests; no root and no services
# make test   everything that CI runs: formatting, vet, staticcheck, unit and end-to-end tests, with a real Redis
# make lint   formatting, vet, staticcheck and dead code alone
# make console       builds the pages of the console: admin/console/dist, from admin/console/web
# make console-test  checks that they are what their sources build, and tests them in a real browser
# make socketio-test  tests the client libraries of Socket.IO against a hub
# make sdk-test   tests the SDK in TypeScript, alone and with the conformance suite of all SDKs
# make deploy-test   tests the image, the compose file, the Helm chart, the Kustomize overlays and the monitoring,
#                   without cluster and registry
# make release    the files of a release, in dist: binaries, SBOMs, the file system of the image, checksums
# make dist       the packages of the SDKs in TypeScript and Python, in dist; each is installed into an empty project, where
#                 the documents' examples run
# make fuzz   each fuzz target for FUZZTIME
# make bench        mastersocket beside the least that a server could do, in less than 4 minutes; BENCH_FLAGS are flags
#                   of that tool: docs/benchmarks.md
# make bench-peers  the same beside its peers, which it installs, in about an hour
# make bench-go     the benchmarks of the packages

GO       ?= go
FUZZTIME ?= 60s
COUNT    ?= 1

.PHONY: run build check test lint release fuzz bench bench-peers bench-go console console-test socketio-test python-test examples-test sdk-test deploy-test deps dist clean

run: build
	bin/mastersocket serve

build:
	$(GO) build -trimpath -o bin/mastersocket ./cmd/mastersocket

# TIMED packages break things and look at the clock while they heal: nothing else runs beside them. The race detector
# allocates, so the budgets of allocations and memory are tested without it.
TIMED    = ./broker/redis ./internal/clustertest ./internal/rolltest
BUDGETED = ./auth ./broker/memory ./broker/redis ./hub ./intent ./opcodes ./transport ./services/echo ./internal/hubtest

# What check leaves out says so: MASTERSOCKET_TEST_NO_SERVICES skips what needs Redis, -short what takes long. test clears
# the variables, so that it leaves out nothing.
check: lint
	MASTERSOCKET_TEST_NO_SERVICES=1 $(GO) test -short $$($(GO) list ./... | grep -v -e /clustertest$$ -e /rolltest$$)

test: export MASTERSOCKET_TEST_NO_SERVICES =
test: deps lint
	$(GO) test -race -count=$(COUNT) -timeout=20m $$($(GO) list ./... | grep -v -e /broker/redis$$ -e /clustertest$$ -e /rolltest$$)
	$(GO) test -race -count=$(COUNT) -timeout=20m -p=1 $(TIMED)
	$(GO) test -count=1 -run 'Alloc|MemoryPer|MembershipCost' -v $(BUDGETED)
	cd bench && $(GO) vet ./... && $(GO) test -count=$(COUNT) ./...
	$(MAKE) deploy-test
	$(MAKE) socketio-test
	$(MAKE) python-test
	$(MAKE) sdk-test
	$(MAKE) examples-test
	$(MAKE) console-test

lint:
	@unformatted=$$(gofmt -l .); [ -z "$$unformatted" ] || { echo "not gofmt-ed: $$unformatted"; exit 1; }
	$(GO) vet ./...
	$(GO) tool -modfile=tools/go.mod staticcheck ./...
	scripts/deadcode

WEB     = admin/console/web
MODULES = $(WEB)/node_modules/.package-lock.json

$(MODULES): $(WEB)/package-lock.json
	cd $(WEB) && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

console: $(MODULES)
	cd $(WEB) && npm run build

console-test: deps build $(MODULES)
	cd $(WEB) && npm run check && npm run e2e

SOCKETIO = services/socketio/clients

$(SOCKETIO)/node_modules/.package-lock.json: $(SOCKETIO)/package-lock.json
	cd $(SOCKETIO) && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

socketio-test: deps $(SOCKETIO)/node_modules/.package-lock.json
	MASTERSOCKET_SOCKETIO_CLIENTS=1 $(GO) test -race -count=$(COUNT) -v -run ClientLibraries ./services/socketio ./services/fleet

# Debian's Python, which has the packages that scripts/deps installs.
PYTHON = /usr/bin/python3

python-test: deps build
	cd sdk/python && $(PYTHON) -m mypy --strict mastersocket tests && $(PYTHON) -m unittest

SDK_TS = sdk/typescript

$(SDK_TS)/node_modules/.package-lock.json: $(SDK_TS)/package-lock.json
	cd $(SDK_TS) && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

$(SDK_TS)/dist: $(SDK_TS)/node_modules/.package-lock.json $(shell find $(SDK_TS)/src -name '*.ts')
	cd $(SDK_TS) && npm run build
	@touch $@

# Most scenarios wait, so many run at once; what runs real hubs takes the machine.
sdk-test: deps $(SDK_TS)/dist
	cd $(SDK_TS) && npm run lint && npm test
	MASTERSOCKET_SDK=typescript,typescript-platform $(GO) test -count=$(COUNT) -parallel 8 -skip '^TestReal' ./sdk/conformance
	MASTERSOCKET_SDK=typescript $(GO) test -count=$(COUNT) -parallel 1 -run '^TestReal' ./sdk/conformance

SHOP = examples/shop

$(SHOP)/node_modules/.package-lock.json: $(SHOP)/package-lock.json
	cd $(SHOP) && npm ci --ignore-scripts --no-audit --no-fund
	@touch $@

examples-test: deps build $(SDK_TS)/dist $(SHOP)/node_modules/.package-lock.json
	cd $(SHOP) && npm test

deploy-test: deps
	cd deploy/test && $(GO) vet ./... && $(GO) test -count=$(COUNT) ./...
	cd deploy/test/monitoring && $(GO) vet ./... && $(GO) test -count=$(COUNT) ./...

# What the tests need beside Go. Where it is missing and can be installed, it is.
deps:
	@scripts/deps

release:
	rm -rf dist
	scripts/release dist

# setuptools builds within the source, hence from a copy.
dist: deps $(SDK_TS)/dist
	rm -rf dist/mastersocket-*.tgz dist/mastersocket-*.whl
	mkdir -p dist
	cd $(SDK_TS) && npm pack --silent --ignore-scripts --pack-destination ../../dist
	copy=$$(mktemp -d) && cp -r sdk/python $$copy && \
		$(PYTHON) -m pip wheel -q --no-deps --no-build-isolation -w dist $$copy/python; result=$$?; rm -rf $$copy; exit $$result
	MASTERSOCKET_SDK=go,python,typescript MASTERSOCKET_DIST=$(CURDIR)/dist $(GO) test -count=1 -run InstalledPackages ./sdk/conformance

fuzz:
	scripts/fuzz $(FUZZTIME)

bench: build
	bench/peers/install floor
	bench/.cache/bin/bench -servers mastersocket,mastersocket-1-loop,floor-c,floor-go,floor-c-coalescing,floor-go-coalescing $(BENCH_FLAGS)

bench-peers: build
	bench/peers/install
	bench/.cache/bin/bench -cluster $(BENCH_FLAGS)

bench-go:
	$(GO) test -run '^$$' -bench . -benchmem ./...

clean:
	rm -rf bin dist
