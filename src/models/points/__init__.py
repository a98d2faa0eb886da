"""Papers on point clouds."""
