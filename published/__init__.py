"""Published results and where they stand (data, no code)."""
