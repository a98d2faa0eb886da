"""Papers on molecules and materials."""
