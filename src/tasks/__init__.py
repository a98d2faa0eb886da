"""What a benchmark asks of a paper: its spec, losses and metrics."""
