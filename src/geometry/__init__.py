"""Pure mathematics without parameters: rotations, spherical harmonics, Wigner matrices, grids, Clifford algebras.

The convention, stated once and followed by every file here (it is e3nn's, so features and weights carry over):

- Vectors are (x, y, z), right-handed; rotations act from the left, r -> R r. The **polar axis is y**.
- Degree l has 2l + 1 real components in the order m = -l, ..., l, and degree l of a stack 0..lmax stands at [l^2,
  (l+1)^2).
  With y = |r| cos(theta), z = |r| sin(theta) cos(phi), x = |r| sin(theta) sin(phi), and the associated Legendre
  functions without the Condon-Shortley phase, component m is  P_l^|m|(cos theta)  times  cos(m phi) for m >= 0, sin(|m|
  phi) for m < 0, times a positive constant. Degree 1 is therefore (x, y, z), and D^1(R) = R.
- Normalisation on the unit sphere: `component` has sum_m Y_lm^2 = 2l + 1, `norm` has sum_m Y_lm^2 = 1, `integral` has
  integral Y_lm^2 = 1 over the sphere. Without input normalisation Y_lm is the homogeneous polynomial of degree l.
- Y(R r) = D(R) Y(r), D(R1 R2) = D(R1) D(R2). For improper R, D^l here carries the parity (-1)^l of the harmonics;
  `representation` gives any O(3) irrep, where `e` is even and `o` odd under r -> -r.
- Irreps are written "8x0e+4x1o+2e" and laid out irrep after irrep, each (mul, 2l + 1) with mul the slower index.
- Three-way couplings are e3nn's `wigner_3j` in sign and in normalisation (the sum of all squares is 1).
- Azimuth about y is alpha = phi above, the colatitude is beta = theta.

Functions take any floating dtype and any device, and answer in them; constant tables are exact, made on first use and
cached. NaN or infinity in an input appears in the output of the same batch element only; zero vectors have a defined
result.
"""
