#!/usr/bin/env bash
# Resolves the dependencies to exact versions with their hashes, and no word on where they come from.
set -euo pipefail
cd "$(dirname "$0")/.."
"$(command -v /usr/bin/python3)" -m venv .lock-venv
trap 'rm -rf .lock-venv' EXIT
.lock-venv/bin/pip install --quiet pip-tools
compile() {
  .lock-venv/bin/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --resolver=backtracking \
    --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-annotate --no-header "$@" pyproject.toml scripts/build.in
}
compile --extra lab --output-file requirements.lock
compile --extra lab --extra study --extra dev --output-file requirements-dev.lock
# The simulators that benchmarks compare with, on top of everything else and in the same versions of it.
.lock-venv/bin/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --resolver=backtracking \
  --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-annotate --no-header \
  --constraint requirements-dev.lock --output-file requirements/bench.txt requirements/bench.in
# Those that need a newer Python have an environment of their own.
newer=${FAULTLINE_PEER_PYTHON:-python3.13}
if "$newer" -c '' 2> /dev/null; then
  "$newer" -m venv .lock-venv/newer
  .lock-venv/newer/bin/pip install --quiet pip-tools
  .lock-venv/newer/bin/pip-compile --quiet --generate-hashes --allow-unsafe --strip-extras --resolver=backtracking \
    --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-annotate --no-header \
    --output-file requirements/peers.txt requirements/peers.in
fi
if grep -nE '://' requirements*.lock requirements/*.txt; then
  echo "lock: an address got into a lock file" >&2
  exit 1
fi
