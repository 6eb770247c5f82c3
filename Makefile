# osteon: each task of the project is one command here. `make` alone lists them.
# Needed: a Rust toolchain with rustfmt and clippy, a C and C++ compiler, Python 3 with pip, and for the tests PostgreSQL's server
# programs (OSTEON_TEST_WITHOUT_POSTGRES=1 leaves out the half of the store's tests that runs on it), for `make interop` npm. The rest is
# fetched, into $OSTEON_CACHE, else $XDG_CACHE_HOME/osteon, else ~/.cache/osteon.

# What `make run` serves; change it for one run with `make run LISTEN=127.0.0.1:9000`.
LISTEN ?= 127.0.0.1:8080
MODELS ?= models
DATA ?= data
# cpu, cuda (the first GPU), cuda:1, cuda:0,cuda:1, cuda:all
DEVICE ?= cpu

TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)

.DEFAULT_GOAL := help
.PHONY: help run test faults interop deny chart reload model bench bench-workflow bench-train clean
# cargo uses all cores by itself, and locks its folder: steps side by side would only wait for each other.
.NOTPARALLEL:

help: ## List these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: ## Build the server, and start it with the bundled model on 127.0.0.1:8080
	@scripts/fetch-onnxruntime $(if $(filter cuda%,$(DEVICE)),--cuda) > /dev/null
	cargo build --release --locked --bin osteon
	exec "$(TARGET_DIR)/release/osteon" serve --device "$(DEVICE)" --listen "$(LISTEN)" --models "$(MODELS)" --data "$(DATA)"

# Cheapest first, so that a slip shows early. All cargo steps but the first use the same profile and the same features:
# clippy and the docs share one set of checked crates, and libtorch's binding, the slowest of all, is compiled once.
test: ## Run every check and every test, fetching what they need (libtorch: 0.5 GB, once)
	cargo fmt --all --check
	@$(MAKE) --no-print-directory deny
	@scripts/fetch-onnxruntime > /dev/null
	@scripts/fetch-libtorch > /dev/null
	cargo clippy --locked --workspace --all-targets --features train,failpoints -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --features train
	@packages="$$(scripts/fetch-python-tests)" && set -x && \
		env $${packages:+PYTHONPATH="$$packages" OSTEON_PYTHON_TESTS_FETCHED=1} cargo test --locked --workspace --features train
	@# The container is built without `train`; code that only compiles together with it must fail here, not there.
	cargo clippy --locked --bin osteon -- -D warnings
	@$(MAKE) --no-print-directory chart

# What to make and count: `make faults FAULTS="--only F1,F3 --engine sqlite"`; `make faults FAULTS=--help` lists more.
FAULTS ?=

# The same dependencies as in the tests, so that only this package is compiled again, and with some optimisation: it works under load here.
faults: ## Kill, fill, stall, overload ... the server on purpose, and count what it costs (FAULTS=--quick)
	@scripts/fetch-onnxruntime > /dev/null
	@library="$$(scripts/fetch-libfaketime)" || true; set -x; \
		env CARGO_PROFILE_DEV_OPT_LEVEL=1 $${library:+OSTEON_LIBFAKETIME="$$library"} \
		cargo test --locked --features failpoints --test faults -- $(FAULTS)

# What to check: `make interop INTEROP="--only orthanc --keep"`; `make interop INTEROP=--help` lists more.
INTEROP ?=
# A program that is built already; without it, it is built here.
OSTEON ?=

interop: ## Meet Orthanc, OHIF, DCMTK, dicomweb-client ... on this machine; installs Debian's packages of them where they are missing
	@scripts/fetch-onnxruntime > /dev/null
	$(if $(OSTEON),,cargo build --locked --bin osteon)
	python3 tests/interop --osteon "$(or $(OSTEON),$(TARGET_DIR)/debug/osteon)" --output "$(TARGET_DIR)/interop" $(INTEROP)

deny: ## Check licences, banned crates and sources of all dependencies, where cargo-deny is installed
	@if command -v cargo-deny > /dev/null; then \
		set -x; cargo deny --log-level error --locked check bans licenses sources; \
	else \
		echo "skipped: licences and sources of dependencies (to check them: cargo install cargo-deny --locked)"; \
	fi

chart: ## Check the Helm chart and the Dockerfile
	scripts/check-chart

reload: ## Publish and take away versions of a model a thousand times under load: no request fails, memory stays (ten minutes)
	@scripts/fetch-onnxruntime > /dev/null
	cargo run --release --locked --example reload_check -- models/spine-osteoporosis-phantom/1

model: ## Train the bundled model again, by its documented, seeded command
	@scripts/fetch-onnxruntime > /dev/null
	@scripts/fetch-libtorch > /dev/null
	scripts/train-bundled-model

bench: bench-workflow ## Measure the workflow, and against five other servers (whose launchers are in PEERS=folder); a benchmark is never part of the tests
	@scripts/fetch-onnxruntime > /dev/null
	cargo build --release --locked --bin osteon --example decode_times
	scripts/bench

# Ten minutes, and 8 GB of temporary files; for a part of it: cargo bench --bench workflow -- --help
bench-workflow: ## Measure studies a second, and whether a study costs more as studies accumulate; needs PostgreSQL's server
	@scripts/fetch-onnxruntime > /dev/null
	cargo bench --locked --bench workflow

# What to measure: `make bench-train BENCH="--only pipeline"`; `make bench-train BENCH=--help` lists more. A quarter of an hour;
# `BENCH=--short` tries it in three minutes.
BENCH ?=

bench-train: ## Measure osteon-train against PyTorch on the same libtorch, and its reading of images against a DataLoader
	@scripts/fetch-libtorch > /dev/null
	cargo build --release --locked --features train --bin osteon-train --example train_times
	scripts/bench-train $(BENCH)

# data/ stays: it holds stored studies. So does the cache, which other checkouts share.
clean: ## Remove what was built; stored studies and fetched libraries stay
	cargo clean
