"""Data made on the spot: miniatures in official formats, simulators and counterexamples."""
