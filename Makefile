# One line each; what they run is in the files they name.

.PHONY: demo test lint bench fuzz e2e image static tools

# The whole product on a cluster of its own; `make demo ARGS=--stay` keeps it up.
demo:
	cargo run --locked --example demo -- $(ARGS)

# All tests, with the real parts installed where that is allowed; most of them wait most of the time.
test: tools
	RUST_TEST_THREADS=4 cargo test --locked --workspace $(ARGS)

# Formatting, lints, documentation, YAML, Dockerfile and shell.
lint:
	.ci/lint

# The figures of docs/performance.md.
bench:
	cargo bench --locked $(ARGS)

# Foreign bytes for each parser, a minute each; `make fuzz ARGS='600 review'` tries one for ten.
fuzz:
	fuzz/run $(ARGS)

# The suite on a real control plane: PODREFRESH_TEST_KUBECONFIG names it.
e2e:
	@: $${PODREFRESH_TEST_KUBECONFIG:?must name the kubeconfig of a cluster for tests} && cargo test --locked --test it $(ARGS)

# The static binary on scratch.
image:
	docker build --build-arg REVISION=$$(git rev-parse HEAD) --build-arg SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct) --tag ghcr.io/podrefresh/podrefresh:0.1.0 .

# The program without libraries, unoptimized, for the test that runs it in an empty root.
static:
	cargo build --locked --bin podrefresh --target x86_64-unknown-linux-musl

# The real parts that the tests talk to.
tools:
	tests/tools.sh
