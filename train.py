"""The front door: python train.py model=egnn data=qm9"""

import os

os.environ.setdefault(
    "OMP_WAIT_POLICY", "PASSIVE"
)  # before torch: threads that spin while they wait starve a busy machine

from erlangen.train import main  # noqa: E402

if __name__ == "__main__":
    main()
