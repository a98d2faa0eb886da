"""The front door: python train.py model=egnn data=qm9"""

from erlangen.train import main

if __name__ == "__main__":
    main()
