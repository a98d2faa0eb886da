#!/bin/sh
# The main job in a few minutes on two cores: EGNN and its floors on a named subset of the real QM9, and one report.
set -eu
python=$1
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}" # molecules are small: a second thread gains little, and waits on a busy machine
subset='data=qm9 data.targets=[gap] data.train_size=8000 data.val_size=1000 data.test_size=2000'
"$python" train.py --multirun model=mean,composition $subset resume=true
"$python" train.py experiment=demo resume=true
"$python" -m erlangen.cli report runs
