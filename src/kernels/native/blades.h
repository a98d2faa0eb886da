/* The loop around a product of blades that is written out for one algebra: kernels/geometric_native.py defines BLADES and

       INLINE void terms(const real *first, const real *second, real *out, int64_t columns, int past);

   for LANES columns of each blade, before it includes this. Blades lie `columns` numbers apart. */

/* Fewer than LANES columns, among zeros. */
INLINE void last_columns(const real *first, const real *second, real *out, int64_t columns, int64_t count) {
    real a[BLADES * LANES] = {0}, b[BLADES * LANES] = {0}, sums[BLADES * LANES];
    for (int64_t blade = 0; blade < BLADES; blade++) {
        memcpy(a + blade * LANES, first + blade * columns, count * sizeof(real));
        memcpy(b + blade * LANES, second + blade * columns, count * sizeof(real));
    }
    terms(a, b, sums, LANES, 0);
    for (int64_t blade = 0; blade < BLADES; blade++)
        memcpy(out + blade * columns, sums + blade * LANES, count * sizeof(real));
}

void product_of_blades(const real *first, const real *second, real *out, int64_t columns, int64_t threads) {
    int64_t whole = columns / LANES * LANES;
    int past = whole == columns && can_put_past(out, BLADES * columns);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t at = 0; at < whole; at += LANES)
        if (past) terms(first + at, second + at, out + at, columns, 1);
        else terms(first + at, second + at, out + at, columns, 0);
    if (whole < columns) last_columns(first + whole, second + whole, out + whole, columns, columns - whole);
}
