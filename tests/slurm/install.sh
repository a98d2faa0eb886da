#!/bin/sh
# Debian's packages for a cluster on this machine, with the database that sacct reads; exit code 1, and why, where they cannot be had.
set -eu
missing=""
for package in munge slurmctld slurmd slurm-client slurmdbd mariadb-server; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' || missing="$missing $package"
done
if [ "$(id -u)" != 0 ]; then
  echo "no SLURM tests here: a cluster of their own must be started by root" >&2
  exit 1
fi
if ! grep -q ' /sys/fs/cgroup' /proc/mounts; then
  echo "no SLURM tests here: slurmd needs a file system mounted at /sys/fs/cgroup" >&2
  exit 1
fi
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null; then
  echo "no SLURM tests here: they need Debian's packages$missing" >&2
  exit 1
fi
echo "installing$missing with apt-get; their own services are not started"
apt-get update -qq
# in runlevel 1 no package starts a service
RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -qq --no-install-recommends $missing >/dev/null
