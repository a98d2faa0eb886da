#!/usr/bin/env bash
# Ends the jobs that run on the cluster in DIR and the daemons that up.sh started there, by process id, and removes DIR.
set -u
dir=${1:?usage: down.sh DIR}
dir=$(cd "$dir" && pwd) && [ -e "$dir/env.sh" ] || exit 0
. "$dir/env.sh"
jobs=$(timeout 5 squeue -h -o %A)
[ -z "$jobs" ] || timeout 10 scancel --signal=KILL --full $jobs 2>/dev/null # what has just ended is no error
sleep 0.5

# Whether a process is one of ours: its id may have been given to another since.
ours() { grep -qz "^SLURM_CONF=$dir/slurm.conf$" "/proc/$1/environ" 2>/dev/null; }

for daemon in slurmd.n1 slurmd.n2 slurmctld slurmdbd munged mariadbd; do
  pid=$(cat "$dir/$daemon.pid" 2>/dev/null) && ours "$pid" || continue
  kill "$pid"
  for _ in $(seq 1 50); do ours "$pid" || break; sleep 0.1; done
  ! ours "$pid" || kill -9 "$pid" # a slurmd that has lost its slurmctld does not listen
done
rm -rf "$dir"
