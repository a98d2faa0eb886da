#!/usr/bin/env bash
# Starts a SLURM of this machine's own, as root, in a folder that holds all of it:   up.sh DIR PORT; . DIR/env.sh; …; down.sh DIR
# Two nodes, n1 and n2, of 4 CPUs, 8 GB and 2 pretended GPUs each. Uses the ports PORT to PORT+4. See install.sh for what it needs.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
dir=${1:?usage: up.sh DIR PORT}
port=${2:?usage: up.sh DIR PORT}
mkdir -p "$dir/state" "$dir/spool.n1" "$dir/spool.n2"
dir=$(cd "$dir" && pwd)
[ ! -e "$dir/env.sh" ] || { echo "$dir holds a cluster already: down.sh $dir" >&2; exit 1; }
host=$(hostname -s)

# Waits until a command succeeds; its last output, and the daemons' logs, where it never does.
wait_for() {
  for _ in $(seq 1 300); do
    timeout 5 "$@" >"$dir/wait.log" 2>&1 && return
    sleep 0.1
  done
  echo "never succeeded: $*" >&2
  tail -n 20 "$dir"/*.log >&2
  exit 1
}

nodes=""
for i in 1 2; do
  nodes+="NodeName=n$i NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + i)) CPUs=4 RealMemory=8000 Gres=gpu:2 Features=rack$i"$'\n'
done
conf=$(<"$here/slurm.conf.in")
conf=${conf//@DIR@/$dir}
conf=${conf//@HOST@/$host}
conf=${conf//@PORT@/$port}
conf=${conf//@DBD_PORT@/$((port + 3))}
printf '%s\n' "${conf//@NODES@/$nodes}" >"$dir/slurm.conf"
echo 'Name=gpu File=/dev/tty[0-1]' >"$dir/gres.conf"
# n1 and n2 are names that do not resolve, and all their processes meet on this machine
cat >"$dir/env.sh" <<END
export SLURM_CONF='$dir/slurm.conf' MASTER_ADDR=127.0.0.1 GLOO_SOCKET_IFNAME=lo
END
. "$dir/env.sh"

# munge: a key and a socket of its own, so that the machine's munge, if any, is left alone
(umask 077; head -c 128 /dev/urandom >"$dir/munge.key")
munged --force --key-file="$dir/munge.key" --socket="$dir/munge.socket" --pid-file="$dir/munged.pid" \
       --log-file="$dir/munged.log" --seed-file="$dir/munge.seed"

# the database, reached by its socket and by one port
mariadb-install-db --no-defaults --user=root --datadir="$dir/mysql" --auth-root-authentication-method=normal \
                   --skip-test-db >"$dir/mariadb-install.log" 2>&1
setsid mariadbd --no-defaults --user=root --datadir="$dir/mysql" --socket="$dir/mysql.sock" --pid-file="$dir/mariadbd.pid" \
                --bind-address=127.0.0.1 --port=$((port + 4)) --innodb-buffer-pool-size=64M --innodb-lock-wait-timeout=900 \
                >"$dir/mariadbd.log" 2>&1 </dev/null &
sql() { mariadb --no-defaults -uroot -S "$dir/mysql.sock" -e "$1"; }
export -f sql
export dir
wait_for bash -c 'sql "select 1"'
sql "create user slurm@'127.0.0.1' identified by 'slurm'; create user slurm@localhost identified by 'slurm';
     grant all on *.* to slurm@'127.0.0.1'; grant all on *.* to slurm@localhost"
(umask 077; cat >"$dir/slurmdbd.conf" <<END
DbdHost=$host
DbdAddr=127.0.0.1
DbdPort=$((port + 3))
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/munge.socket
PidFile=$dir/slurmdbd.pid
LogFile=$dir/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$((port + 4))
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct
END
)
slurmdbd
wait_for sacctmgr -n show cluster
sacctmgr -i add cluster erlangen >/dev/null

slurmctld -c
for i in 1 2; do slurmd -N "n$i"; done
wait_for bash -c '[ "$(sinfo -h -N -p main -t idle -o %N | wc -l)" = 2 ]'
echo "two nodes are up: . $dir/env.sh"
