"""Papers on sequences."""
