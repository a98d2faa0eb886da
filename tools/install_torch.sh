#!/bin/sh
# Installs torch for the interpreter $1: a CPU build, without gigabytes of CUDA, unless CUDA=1.
set -eu
python=$1
if [ "${CUDA:-}" ]; then
    exec "$python" -m pip install --quiet 'torch>=2.11'
fi
case $(uname -s) in
    Linux) build=torch==$TORCH+cpu ;; # on Linux a plain version means CUDA
    *) build=torch==$TORCH ;;
esac
"$python" -m pip install --quiet "$build" 2>/dev/null && exit 0
# A package index without CPU builds: uv knows where PyTorch keeps them.
"$python" -m pip install --quiet uv
"$python" -m uv pip install --quiet --python "$python" --torch-backend=cpu "torch==$TORCH"
