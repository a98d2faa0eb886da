/* The loops around a product of blades with a weight for each triple of grades and channel, written out for one algebra:
   kernels/weighted_native.py defines BLADES, PATHS, and for LANES columns of each blade

       INLINE void product(const real *x, const real *y, const real *w, real *out, int64_t columns, int64_t wide);
       INLINE void gradients(const real *x, const real *y, const real *g, const real *w, real *by_x, real *by_y, real *by_w,
                             int64_t columns, int64_t wide);

   before it includes this. A column is a row's channel; blades lie `columns` numbers apart. Weights come as `wide` numbers a
   path, the channels over and over, so that LANES columns that begin at any channel find theirs side by side. */

#define TOGETHER 256 /* registers of columns whose gradients of weights are added up in `real`, before they go to a double */

INLINE real *weights_around(const real *weight, int64_t channels, int64_t wide) {
    real *around = malloc(PATHS * wide * sizeof(real));
    for (int64_t path = 0; path < PATHS; path++)
        for (int64_t k = 0; k < wide; k++) around[path * wide + k] = weight[path * channels + k % channels];
    return around;
}

INLINE void columns_in(real *to, const real *from, int64_t columns, int64_t count) {
    memset(to, 0, BLADES * LANES * sizeof(real));
    for (int64_t blade = 0; blade < BLADES; blade++) memcpy(to + blade * LANES, from + blade * columns, count * sizeof(real));
}

INLINE void columns_out(real *to, const real *from, int64_t columns, int64_t count) {
    for (int64_t blade = 0; blade < BLADES; blade++) memcpy(to + blade * columns, from + blade * LANES, count * sizeof(real));
}

void weighted_product(
    const real *x, const real *y, const real *weight, real *out, int64_t columns, int64_t channels, int64_t threads
) {
    int64_t wide = channels + LANES, whole = columns / LANES * LANES, rest = columns - whole;
    real *w = weights_around(weight, channels, wide);
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t at = 0; at < whole; at += LANES) product(x + at, y + at, w + at % channels, out + at, columns, wide);
    if (rest) {
        real a[BLADES * LANES], b[BLADES * LANES], o[BLADES * LANES];
        columns_in(a, x + whole, columns, rest);
        columns_in(b, y + whole, columns, rest);
        product(a, b, w + whole % channels, o, LANES, wide);
        columns_out(out + whole, o, columns, rest);
    }
    free(w);
}

/* Adds to (PATHS, channels) what was summed up over `wide` numbers a path. */
INLINE void fold(double *total, const real *sums, int64_t channels, int64_t wide) {
    for (int64_t path = 0; path < PATHS; path++)
        for (int64_t k = 0; k < wide; k++) total[path * channels + k % channels] += sums[path * wide + k];
}

void weighted_product_gradients(
    const real *x, const real *y, const real *weight, const real *g, real *by_x, real *by_y, real *by_weight,
    int64_t columns, int64_t channels, int64_t threads
) {
    int64_t wide = channels + LANES, count = columns / LANES, whole = count * LANES, rest = columns - whole;
    int64_t size = PATHS * channels;
    real *w = weights_around(weight, channels, wide), *sums = malloc((threads + 1) * PATHS * wide * sizeof(real));
    double *totals = calloc((threads + 1) * size, sizeof(double));
    FOR_PARTS {
        real *sum = sums + part * PATHS * wide;
        for (int64_t from = BEGIN(count); from < END(count); from += TOGETHER) {
            memset(sum, 0, PATHS * wide * sizeof(real));
            int64_t to = least_count(from + TOGETHER, END(count));
            for (int64_t at = from * LANES; at < to * LANES; at += LANES) {
                int64_t channel = at % channels;
                gradients(x + at, y + at, g + at, w + channel, by_x + at, by_y + at, sum + channel, columns, wide);
            }
            fold(totals + part * size, sum, channels, wide);
        }
    }
    if (rest) {
        real a[BLADES * LANES], b[BLADES * LANES], c[BLADES * LANES], by_a[BLADES * LANES], by_b[BLADES * LANES];
        real *sum = sums + threads * PATHS * wide;
        memset(sum, 0, PATHS * wide * sizeof(real));
        columns_in(a, x + whole, columns, rest);
        columns_in(b, y + whole, columns, rest);
        columns_in(c, g + whole, columns, rest);
        gradients(a, b, c, w + whole % channels, by_a, by_b, sum + whole % channels, LANES, wide);
        columns_out(by_x + whole, by_a, columns, rest);
        columns_out(by_y + whole, by_b, columns, rest);
        fold(totals + threads * size, sum, channels, wide);
    }
    for (int64_t k = 0; k < size; k++) {
        double total = 0;
        for (int64_t part = 0; part <= threads; part++) total += totals[part * size + k];
        by_weight[k] = total;
    }
    free(w), free(sums), free(totals);
}
