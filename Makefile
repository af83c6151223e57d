# What people and CI do with this repository; `make` alone lists it.
# One profile, release, for everything: CTranslate2 is compiled once, optimised.

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: demo test build weights fmt fmt-check lint doc bench bench-peers fuzz deps test-deps clean-cache help

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
PROGRAM := $(TARGET_DIR)/release/interviewai
CACHE := $(or $(INTERVIEWAI_CACHE_DIR),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/interviewai)
CARGO_FLAGS := --locked --release
ifdef JOBS
export CARGO_BUILD_JOBS := $(JOBS)
endif
step = @printf '\n== %s\n' '$(1)'

demo: deps build weights ## Play a sample interview, see transcript and answers
	$(call step,demo)
	@$(PROGRAM) demo

# What fails fast comes first.
# The program is built with its tests: `build`, which knows nothing of what tests need of tokio, would compile half of it twice.
test: test-deps fmt-check lint doc ## All checks and tests
	$(call step,build)
	@cargo test $(CARGO_FLAGS) --workspace --no-run
	$(call step,weights)
	@$(PROGRAM) models fetch base.en
	@$(PROGRAM) models fetch tiny.en
	$(call step,tests)
	@cargo test $(CARGO_FLAGS) --workspace

build: ## Build the program
	$(call step,build)
	@cargo build $(CARGO_FLAGS) --package interviewai

weights: build ## Fetch the speech recognition weights, once
	$(call step,weights)
	@$(PROGRAM) models fetch base.en

fmt: ## Format the code
	@cargo fmt --all

fmt-check:
	$(call step,format)
	@cargo fmt --all --check

lint: ## Lints, as errors
	$(call step,lints)
	@cargo clippy $(CARGO_FLAGS) --workspace --all-targets -- -D warnings

doc: ## Documentation, warnings as errors
	$(call step,documentation)
	@RUSTDOCFLAGS='-D warnings' cargo doc $(CARGO_FLAGS) --workspace --no-deps

bench: build weights ## Benches: tables on screen, JSON in target/bench-*.json
	$(call step,benches)
	@cargo bench --locked --profile release --bench ear -- --json $(TARGET_DIR)/bench-ear.json
	@cargo bench --locked --profile release --bench answers -- --json $(TARGET_DIR)/bench-answers.json
	@cargo bench --locked --profile release --bench speech -- --json $(TARGET_DIR)/bench-speech.json

bench-peers: build weights ## Beside faster-whisper and pywhispercpp, in one run of 10 minutes
	$(call step,bench beside peers)
	@cargo bench --locked --profile release --bench peers -- --json $(TARGET_DIR)/bench-peers.json

fuzz: ## Fuzz every parser of foreign bytes, SECONDS each (codecs/fuzz/README.md)
	$(call step,fuzz targets)
	@SECONDS_EACH=$(or $(SECONDS),600) scripts/fuzz

deps: ## Install system packages that are missing (apt)
	$(call step,system packages)
	@scripts/install-packages

test-deps: ## As deps, and what tests start: Redis, Chromium
	$(call step,system packages)
	@scripts/install-packages tests

clean-cache: ## Delete the fetched weights, test packages and peers
	rm -rf -- '$(CACHE)/weights' '$(CACHE)/test-packages' '$(CACHE)/test-servers' '$(CACHE)/peers'

help:
	@echo 'make demo and make test are all that a fresh machine needs. Targets:'
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r name does; do printf '  %-12s %s\n' "$$name" "$$does"; done
	@echo 'Variables:'
	@echo '  JOBS                    jobs of a build (default: one for each core)'
	@echo '  INTERVIEWAI_CACHE_DIR   where weights lie (default: interviewai in the user cache folder)'
	@echo '  INTERVIEWAI_SPEECH_DIR  recordings for tests and benches (default: ../shared/speech)'
	@echo '  INTERVIEWAI_SKIP_CHROMIUM=1  neither install Chromium nor test with it'
	@echo '  INTERVIEWAI_SKIP_MONGOD=1    neither fetch MongoDB nor test with it'
	@echo '  INTERVIEWAI_SKIP_SMTP=1      neither fetch an SMTP server nor test with it'
	@echo '  INTERVIEWAI_SKIP_REDIS=1     neither install redis-server nor test with it'
	@echo '  INTERVIEWAI_SKIP_SCHEMATHESIS=1  neither fetch Schemathesis nor test with it'
