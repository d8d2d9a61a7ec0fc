# The two commands of the README are make demo and make test; both set up what they
# need. make help lists the rest.
SHELL := bash
TOOL := go tool -modfile=tools/go.mod
WITH := go run ./internal/testenv/with --

.DEFAULT_GOAL := help
.PHONY: help setup demo circle test test-faults chaos test-containers test-python lint generate generate-python check-generated bench fuzz

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 20

setup: ## find or install what tests and the demo need
	@scripts/setup.sh

demo: ## real events to recommendations; KEEP=1 leaves it running, JSON=1 prints JSON
	@scripts/setup.sh demo >&2
	@mkdir -p bin && go build -o bin/demo ./examples/movielens/demo
	@bin/demo $(if $(KEEP),--keep) $(if $(JSON),--json)

test: setup ## unit, property and integration tests, with the race detector
	$(WITH) bash -c '$(TOOL) gotestsum --format pkgname -- -race -timeout 9m -p 2 ./... && \
	  go test -count 1 -run Allocates ./featurestore/online ./featurestore/fold ./inference ./inference/oip'

test-faults: setup ## every fault at its short size, with a checker of every row; see docs/exactly-once.md
	ONEHOP_TEST_FAULTS=1 timeout 900 go test -count 1 -race -timeout 14m -v ./internal/chaos

chaos: ## the same at full size, about fifty minutes; FAULT=kill,flush runs some, TIMES=n of each, CHAOS_SEED=n again, OUT=dir keeps JSON
	go run ./internal/chaos/run -fault '$(FAULT)' -times '$(or $(TIMES),0)' -seed '$(or $(CHAOS_SEED),0)' -out '$(OUT)'

test-containers: ## the integration suite again, with everything in containers
	@scripts/test-containers.sh

test-python: setup ## the Python client against onehop dev, and the example's trainer, in a virtual environment of its own
	@mkdir -p bin && go build -o bin/ ./cmd/onehop ./cmd/serve
	@clients/python/test.sh
	@python=$$(scripts/venv.sh) && cd examples/movielens && \
	  $$python -m pip install --quiet --disable-pip-version-check -r requirements.txt && $$python -m unittest -q

circle: ## the example from events to a trained model in service; GENERATED=n invents ratings, SAVE=1 keeps the model
	@scripts/setup.sh demo >&2
	@examples/movielens/circle.sh

lint: ## golangci-lint, strict
	$(TOOL) golangci-lint run ./...

generate: ## make the generated code and the JSON Schema anew
	schemas/generate.sh
	go generate ./featurestore/definition

generate-python: ## make the generated code of the Python client anew; after make test-python
	PYTHON=$(CURDIR)/.cache/python/bin/python clients/python/generate.sh

check-generated: ## fail when generated code is stale or the API broke
	schemas/generate.sh --check

bench: ## our speed beside its floor; see docs/performance.md
	go run ./cmd/onehop bench hop
	go run ./cmd/onehop bench ingest

fuzz: ## every fuzz test for half a minute
	@for p in $$(grep -rl --include=*_test.go 'func Fuzz' . | xargs -n1 dirname | sort -u); do \
	  for f in $$(grep -rhoE 'func Fuzz[A-Za-z]+' $$p --include=*_test.go | sed 's/func //'); do \
	    go test -run xxx -fuzz "^$$f$$" -fuzztime 30s -fuzzminimizetime 20x $$p || exit 1; done; done
