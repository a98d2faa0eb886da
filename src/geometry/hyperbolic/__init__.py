"""Hyperbolic space of curvature -c, c > 0, in two models: `lorentz` (the hyperboloid) and `poincare` (the ball)."""
