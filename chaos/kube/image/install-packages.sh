#!/bin/sh
# Brings an image to the list of packages beside this script, and makes the account of the daemons.
# Nothing is fetched when all packages are there.
set -eu
cd "$(dirname "$0")"

missing=
for package in $(sed 's/#.*//' packages.txt); do
  dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null | grep -q '^ii' || missing="$missing $package"
done
if [ -n "$missing" ]; then
  # In an image there is nothing that services could be started under.
  printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
  chmod 755 /usr/sbin/policy-rc.d
  apt-get update -qq
  # shellcheck disable=SC2086
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing
  rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/lib/mysql/* /var/lib/redis/*
fi

getent group faultline >/dev/null || groupadd --gid 10001 faultline
getent passwd faultline >/dev/null ||
  useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin faultline
