"""erlangen: a benchmark harness that reproduces papers of geometric and equivariant deep learning."""
