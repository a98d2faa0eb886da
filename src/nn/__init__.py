"""Layers that two papers or more share."""
