#!/usr/bin/env bash
# Runs the test suite. Tests on kind clusters need a Docker engine and images: under CI both are got
# and anything missing is a failure; elsewhere the tests that cannot run are listed as skipped.
#
#   scripts/test.sh [pytest arguments]     everything, the notebooks included, when there are none
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/packages.sh

say() { printf '%s\n' "test: $*" >&2; }
as_root_keeping() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -E "$@"; fi; }
engine_answers() { as_root docker version >/dev/null 2>&1; }

if [ "${CI:-}" = true ]; then
  engine_answers || trap 'as_root env "PATH=$PATH" .ci/docker-engine stop' EXIT
  as_root env "PATH=$PATH" .ci/docker-engine start
fi
if ! engine_answers; then
  say "no Docker engine answers, so the tests on kind clusters are skipped"
elif ! as_root_keeping .venv/bin/python -m chaos.kube.image; then
  [ "${CI:-}" != true ] || exit 1
  say "the images are not there, so the tests on kind clusters are skipped"
fi

[ $# -gt 0 ] || set -- --nbmake tests notebooks
as_root_keeping .venv/bin/python -m pytest "$@"
