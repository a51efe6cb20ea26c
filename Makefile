# Every target works from a fresh clone: what it needs from Debian it installs as root, else it says
# which packages are missing and stops.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := build
MAKEFLAGS += --no-print-directory

VENV := .venv
BIN := $(VENV)/bin
TOOLS ?= target/tools
CARGO_DENY := 0.20.2
KAFKA := target/kafka/.libs
NODE_PRODUCER := examples/producers/node/node_modules/.package-lock.json
ASYNCAPI_SPECS := 6.11.1
ASYNCAPI := target/asyncapi/package.json
# The first that is 3.11 or newer; PYTHON=... chooses another one.
PYTHON ?= $(firstword $(foreach p,python3.11 python3.12 python3,$(shell $(p) -c \
  'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 && command -v $(p))))

RUST := $(wildcard Cargo.toml Cargo.lock rust-toolchain.toml) $(shell find rust_core 2>/dev/null -name '*.rs' -o -name Cargo.toml)

# Most of the long tests wait more than they compute, so one more than there are cores; each has
# servers of its own, so not more than four.
TESTS_AT_ONCE ?= $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$((n < 4 ? n + 1 : 4)))

# One profile for the module, the Rust tests and clippy, so that C code and macros are built once.
CARGO_PROFILE := --release --locked
# The same Python for maturin and for cargo alone: another one would build the binding again.
export PYO3_PYTHON := $(CURDIR)/$(BIN)/python
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1

# $(call need,packages,test that they are there): Debian packages, where they are missing.
define need
@if ! ( $(2) ) >/dev/null 2>&1; then \
  if [ "$$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then \
    echo "Missing: $(1). Install it (apt-get install $(1)) and run make again." >&2; exit 1; \
  fi; \
  $(call install,$(1)); \
fi
endef
define install
echo "Installing $(1)"; apt-get update -qq </dev/null; \
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(1) </dev/null >/dev/null
endef
# Pages that are made of the code: name=module.
GENERATED := docs/settings.md=sealwax.config.manual docs/asyncapi.yaml=connectors.asyncapi \
  docs/schemas/email-requested.schema.json=sealwax.mail.submission_schema \
  deploy/clickhouse/cluster.sql=sealwax.store.analytics.cluster_ddl
HAVE_POSTFIX := PATH=$$PATH:/usr/sbin command -v postfix >/dev/null

.PHONY: help build up sink kafka image producers test soak test-rust test-python check audit bench fmt docs clean postfix compiler java node

help: ## Say what there is
	@grep -E '^[a-z]+:.*## ' Makefile | sed -E 's/^([a-z]+):.*## (.*)/\1\t\2/' | expand -t 10

# Two makes at once (`make sink` beside `make up`) build one after the other, and once.
build: ## Build everything into .venv
	@flock Makefile $(MAKE) $(VENV)/.built

up: build ## Start the platform (settings from the environment)
	@exec $(BIN)/sealwax up $(ARGS)

sink: build ## An SMTP server that takes and prints all mail, on 127.0.0.1:2525
	@exec $(BIN)/python -m tests.support.mail_sink --dir sink-data $(ARGS)

kafka: build $(KAFKA) ## A Kafka broker on 127.0.0.1:9092, for trying out
	@exec $(BIN)/python -m tests.support.kafka $(ARGS)

image: build ## The steps of the Dockerfile in a clean root, without Docker (needs root; 5 minutes)
	$(call need,debootstrap,command -v debootstrap)
	$(BIN)/python deploy/docker/try_without_docker.py

producers: build $(NODE_PRODUCER) ## What the sample producers in examples/ need

test: test-rust test-python ## All tests

check: build ## Style, types, lints, layers, generated documents
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest sealwax._core
	$(BIN)/lint-imports
	@for made in $(GENERATED); do \
	  $(BIN)/python -m "$${made#*=}" | diff -u "$${made%%=*}" - || \
	    { echo "$${made%%=*} is not current: run make docs" >&2; exit 1; }; done
	cargo fmt --all --check
	cargo clippy --workspace --all-targets $(CARGO_PROFILE) -- -D warnings

soak: build postfix $(KAFKA) $(NODE_PRODUCER) ## The proofs of nothing lost in full, an hour or two; each prints its counts
	$(BIN)/pytest --soak -m proof -rP $(ARGS)

audit: build $(TOOLS)/bin/cargo-deny ## Licences, sources and bans of what we depend on
	$(TOOLS)/bin/cargo-deny --locked check bans licenses sources
	$(BIN)/pip check

bench: build postfix $(KAFKA) ## Figures, printed with machine and method
	@$(BIN)/python -m bench.run $(ARGS)
	@$(BIN)/python -m bench.restart
	@$(BIN)/python bench/accept.py
	@$(BIN)/python bench/smtp.py
	@$(BIN)/python bench/log.py
	@$(BIN)/python -m bench.replies
	@$(BIN)/python -m bench.services
	@$(BIN)/python -m bench.limits

fmt: build ## Format all code
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .
	cargo fmt --all

docs: build ## Make the generated documents again
	for made in $(GENERATED); do $(BIN)/python -m "$${made#*=}" > "$${made%%=*}"; done

clean: ## Remove what was built; data directories stay
	rm -rf $(VENV) target examples/producers/node/node_modules .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
	find sealwax flows connectors tests bench \( -name __pycache__ -o -name '*.so' \) -prune -exec rm -rf {} +

test-rust: build
	cargo test $(CARGO_PROFILE) -p sealwax-engine

test-python: build postfix $(KAFKA) $(NODE_PRODUCER) $(ASYNCAPI)
	$(BIN)/pytest -n $(TESTS_AT_ONCE) --dist worksteal $(ARGS)

# Postfix is a test's peer only: nothing may start it, and no configuration of ours stays behind.
postfix:
	@if [ "$$(id -u)" = 0 ] && command -v debconf-set-selections >/dev/null && ! ( $(HAVE_POSTFIX) ); then \
	  echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections; \
	  if [ ! -e /usr/sbin/policy-rc.d ]; then \
	    trap 'rm -f /usr/sbin/policy-rc.d' EXIT; \
	    printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d; \
	  fi; \
	  $(call install,postfix); \
	fi
	$(call need,postfix,$(HAVE_POSTFIX))

# The jars of a broker and of its tools; a version of its own in deploy/kafka/pom.xml.
$(KAFKA): deploy/kafka/pom.xml | java
	@echo "Fetching Kafka"; rm -rf target/kafka
	@mvn -B -q -f deploy/kafka/pom.xml dependency:copy-dependencies \
	  -DoutputDirectory=$(CURDIR)/target/kafka/libs -DincludeScope=runtime
	@touch $@

$(NODE_PRODUCER): examples/producers/node/package.json examples/producers/node/package-lock.json | node
	npm --prefix examples/producers/node ci --no-audit --no-fund
	@touch $@

# The specification's own schemas, which docs/asyncapi.yaml is tested against: data, no program.
$(ASYNCAPI): Makefile | node
	@rm -rf target/asyncapi && mkdir -p target/asyncapi
	@cd target/asyncapi && npm pack --silent @asyncapi/specs@$(ASYNCAPI_SPECS) >/dev/null && \
	  tar -xzf asyncapi-specs-*.tgz --strip-components=1 --no-same-owner
	@touch $@

node:
	$(call need,nodejs npm,command -v node && command -v npm)

# Kafka 4 runs on Java 17 and later.
java:
	$(call need,default-jre-headless maven,command -v java && command -v mvn)

compiler:
	$(call need,build-essential,command -v cc)
	@command -v cargo >/dev/null || { echo "Missing: a Rust toolchain (cargo). Install one, then run make again." >&2; exit 1; }

$(VENV)/.made:
	@[ -n "$(PYTHON)" ] || { echo "Missing: Python 3.11 or newer. Install python3, then run make again." >&2; exit 1; }
	$(call need,python3-venv,$(PYTHON) -c 'import ensurepip')
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet 'pip>=25.1' 'maturin>=1.16,<2'
	touch $@

# An editable install: only Rust and pyproject.toml need it again, Python files are read in place.
$(VENV)/.built: $(VENV)/.made pyproject.toml constraints.txt $(RUST) | compiler
	VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/maturin develop --release --locked --extras dev
	touch $@

$(TOOLS)/bin/cargo-deny: | compiler
	@if command -v cargo-deny >/dev/null; then \
	  mkdir -p $(TOOLS)/bin && ln -sf "$$(command -v cargo-deny)" $@; \
	else cargo install --quiet --locked --root $(TOOLS) cargo-deny@$(CARGO_DENY); fi
