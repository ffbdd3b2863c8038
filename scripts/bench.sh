#!/usr/bin/env bash
# Puts the simulators that benchmarks compare with beside the project's own environment, and runs the benchmarks.
set -euo pipefail
cd "$(dirname "$0")/.."
python=.venv/bin/python

"$python" -m venv --system-site-packages .bench-venv
"$python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])' \
  > ".bench-venv/lib/$(ls .bench-venv/lib | head -1)/site-packages/faultline.pth"
.bench-venv/bin/pip install --quiet --require-hashes -r requirements/bench.txt

# Two of them need a newer Python. Without one their places in the record say so.
newer() {
  local found
  for found in "${FAULTLINE_PEER_PYTHON:-}" python3.13 python3.14 "$HOME"/.pyenv/versions/3.1[34]*/bin/python; do
    if [ -n "$found" ] && "$found" -c 'import sys; sys.exit(sys.version_info < (3, 13))' 2> /dev/null; then
      echo "$found"
      return
    fi
  done
}
found=$(newer)
if [ -n "$found" ]; then
  "$found" -m venv .bench-venv/peers
  .bench-venv/peers/bin/pip install --quiet --require-hashes -r requirements/peers.txt
fi
FAULTLINE_PEERS=.bench-venv/peers/bin/python .bench-venv/bin/python -m benchmarks "$@"
