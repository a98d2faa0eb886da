"""Hydra's configuration tree, shipped as `erlangen.conf`."""
