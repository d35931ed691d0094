# The gates of this project, one recipe each. `.ci/run` installs the tools and calls them
# in the order of `gates`; at home they run one by one as well, with the tools on the path.

ci := justfile_directory() / "target/ci"
export PATH := ci / "venv/bin:" + env("PATH")

# List the recipes.
default:
    @just --list

# Name the gates in the order in which CI runs them.
@gates:
    echo fmt clippy test features minimal fuzz doc deny protos build demo deploy-kit oracles docs scenarios

# Check the format of the code.
fmt:
    cargo fmt --check
    cargo fmt --check --manifest-path fuzz/Cargo.toml

# Lint all targets.
clippy:
    cargo clippy --locked --all-targets -- -D warnings

# Run the README's test command, and the test that must mount a file system.
test:
    NATS_SERVER="$(command -v nats-server)" cargo test --locked
    cargo test --locked --test it -- --ignored

# Test what is off by default: that spans reach a collector, and the action log in Kafka.
features:
    CARGO_PROFILE_DEV_OPT_LEVEL=0 NATS_SERVER="$(command -v nats-server)" \
        cargo test --locked --features otlp,kafka --lib --test it -- trace kafka fleet

# Check the build of the server's image, without evaluation.
minimal:
    cargo check --locked --no-default-features

# Check that the targets of cargo fuzz compile; the tests run what they share with them.
fuzz:
    cp Cargo.lock fuzz/Cargo.lock
    cargo check --manifest-path fuzz/Cargo.toml --target-dir target

# Build the documentation of the code.
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps

# Check licenses, sources and versions of dependencies; advisories where they can be fetched.
deny:
    .ci/deny

# Lint the protos by the rules STANDARD of buf, and refuse what breaks clients of the last release.
protos:
    npm install --silent --no-audit --no-fund --prefix {{ci}}/buf @bufbuild/buf@1.75.0
    {{ci}}/buf/node_modules/.bin/buf lint proto
    {{ci}}/buf/node_modules/.bin/buf breaking proto --against tests/corpus/released-protos

# Keep the protos of a release, with which `protos` compares later ones.
keep-protos:
    rm -r tests/corpus/released-protos
    cp -r proto tests/corpus/released-protos
    rm tests/corpus/released-protos/buf.yaml

# Build the release binary that the gates below run.
build:
    cargo build --locked --release

# Run the README's main command, with clients that are not ours.
demo: build
    .ci/demo {{ci}}

# Check rules, dashboard, manifests, images and load profiles.
deploy-kit:
    deploy/prometheus/check
    python deploy/kubernetes/check
    python3 deploy/ghz/check_test.py
    python3 deploy/scenarios/history_test.py
    check-jsonschema --builtin-schema vendor.compose-spec deploy/docker-compose.yml deploy/fleet.compose.yml
    hadolint Dockerfile
    shellcheck deploy/batch.sh deploy/prometheus/check .ci/demo .ci/deny .ci/oracles .ci/run

# Compare profiles and a replay of the sample with NumPy and SciPy.
oracles: demo
    .ci/oracles {{ci}}

# Check the documentation: settings page, links, commands, book.
docs: build
    docs/settings.py --check
    python docs/check
    mdbook build docs

# Run the scenarios: Envoy, load, hostile clients.
scenarios: build
    deploy/scenarios/run
