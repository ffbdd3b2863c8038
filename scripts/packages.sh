# Installing Debian packages without starting the services in them. To be sourced.

as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi; }

# Names those of the packages given that are not installed.
missing_packages() {
  local package
  for package; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || printf '%s\n' "$package"
  done
}

# Debian starts the services of a package it installs. The lab runs daemons of its own and leaves
# the system's alone, so a policy (the interface Debian documents for this) refuses the start.
# Run it in a subshell: the policy goes when that ends.
install_packages() {
  local policy=/usr/sbin/policy-rc.d
  if ! as_root test -e $policy; then
    trap 'as_root rm -f '$policy EXIT
    write_policy $policy 'safe to delete.'
  elif ! { as_root $policy mariadb start >/dev/null 2>&1; [ $? = 101 ]; }; then
    trap 'as_root mv -f '$policy'.before-faultline '$policy EXIT
    as_root mv $policy $policy.before-faultline
    write_policy $policy 'the former file is beside it.'
  fi
  as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get update -qq
  as_root env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 \
    apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

write_policy() {
  printf '#!/bin/sh\n# Put here by Faultline while it installs packages; %s\nexit 101\n' "$2" | as_root tee "$1" >/dev/null
  as_root chmod 755 "$1"
}
