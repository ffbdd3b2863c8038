#!/usr/bin/env bash
# Installs what is missing, and only that: Debian packages, then a virtual environment from the
# hash-locked dependencies. Safe to run again; it does nothing when nothing is missing.
#
#   scripts/install.sh [--dev]     --dev also installs what only the tests need
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/packages.sh

packages=(python3-venv mariadb-server mariadb-client galera-4 rsync redis-server redis-sentinel haproxy nginx-light gdnsd
          wireguard-tools wireguard-go iproute2 iputils-ping nftables procps)
lock=requirements.lock
actionlint=v1.7.7
if [ "${1:-}" = --dev ]; then
  packages+=(oidc-agent-cli)
  lock=requirements-dev.lock
fi

say() { printf '%s\n' "install: $*" >&2; }

mapfile -t missing < <(missing_packages "${packages[@]}")

if [ ${#missing[@]} -gt 0 ]; then
  if ! command -v apt-get >/dev/null; then
    say "this machine has no apt-get; the lab needs Debian 12 or Ubuntu 24.04 (missing: ${missing[*]})"
    exit 64
  fi
  if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
    say "run as root, or install sudo, to get these Debian packages: ${missing[*]}"
    exit 64
  fi
  say "Debian packages: ${missing[*]}"
  (install_packages "${missing[@]}")
fi

# The distribution's Python first: another one on the PATH may be older than 3.11.
python=
for candidate in /usr/bin/python3 python3; do
  if "$candidate" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python=$candidate
    break
  fi
done
if [ -z "$python" ]; then
  say "Python 3.11 or newer is needed (Debian 12, Ubuntu 24.04 or later)"
  exit 64
fi

stamp=.venv/.installed
wanted=$(cat $lock pyproject.toml | sha256sum)
installed=$(cat $stamp 2>/dev/null || true)
# What the tests need includes what the lab needs.
[ "$installed" != "$(cat requirements-dev.lock pyproject.toml | sha256sum)" ] || wanted=$installed
if [ "$installed" != "$wanted" ] || ! .venv/bin/python -c 'import faultline' 2>/dev/null; then
  say "Python packages from $lock (checked against their hashes)"
  "$python" -m venv .venv
  .venv/bin/pip install --quiet --disable-pip-version-check --require-hashes -r $lock
  .venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
  printf '%s\n' "$wanted" > $stamp
fi
# Kept in the user's cache: the first prediction then starts at once.
.venv/bin/python -m sim.engine.warm

# What checks the workflows, from its Go module; without Go its test is skipped, with a word about it.
if [ "${1:-}" = --dev ] && [ ! -x .venv/bin/actionlint ] && command -v go >/dev/null; then
  say "actionlint $actionlint"
  GOBIN=$PWD/.venv/bin go install "github.com/rhysd/actionlint/cmd/actionlint@$actionlint"
fi
