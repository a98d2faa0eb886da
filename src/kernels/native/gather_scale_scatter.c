/* Messages along edges, without a tensor of messages: see kernels/gather_scale_scatter.py. */
#include "real.h"

/* y += w x of one edge, with a weight for each channel (`each` is 1) or one for all (0). */
INLINE void add_message(int64_t channels, real *y, const real *x, const real *w, int64_t each) {
    if (each) {
#pragma omp simd
        for (int64_t k = 0; k < channels; k++) y[k] += w[k] * x[k];
    } else {
        add(y, w[0], x, channels);
    }
}

/* Every thread has destinations of its own, and takes their edges in order: sums don't depend on how many threads there are. */
INLINE void messages(int64_t channels, const real *x, const real *weight, const int64_t *from, const int64_t *to, real *out,
                     int64_t edges, int64_t size, int64_t each, int64_t part, int64_t parts) {
    int64_t first = size * part / parts, end = size * (part + 1) / parts, width = each ? channels : 1;
    memset(out + first * channels, 0, (end - first) * channels * sizeof(real));
    for (int64_t e = 0; e < edges; e++)
        if (to[e] >= first && to[e] < end)
            add_message(channels, out + to[e] * channels, x + from[e] * channels, weight + e * width, each);
}

void gather_scale_scatter(const real *x, const real *weight, const int64_t *from, const int64_t *to, real *out,
                          int64_t edges, int64_t size, int64_t channels, int64_t each, int64_t threads) {
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int64_t part = 0; part < threads; part++)
        FOR_CHANNELS(channels, messages, x, weight, from, to, out, edges, size, each, part, threads)
}

INLINE void products(int64_t channels, const real *gradient, const real *x, const int64_t *from, const int64_t *to,
                     real *by_weight, int64_t each, int64_t first, int64_t end) {
    for (int64_t e = first; e < end; e++) {
        const real *g = gradient + to[e] * channels, *row = x + from[e] * channels;
        if (each) {
            real *by = by_weight + e * channels;
#pragma omp simd
            for (int64_t k = 0; k < channels; k++) by[k] = g[k] * row[k];
        } else {
            by_weight[e] = dot(g, row, channels);
        }
    }
}

/* The gradient by the weights; that by x is the same operation with sources and destinations exchanged. */
void edge_products(const real *gradient, const real *x, const int64_t *from, const int64_t *to, real *by_weight, int64_t edges,
                   int64_t channels, int64_t each, int64_t threads) {
#pragma omp parallel for num_threads(threads) schedule(static, 1)
    for (int64_t part = 0; part < threads; part++)
        FOR_CHANNELS(channels, products, gradient, x, from, to, by_weight, each, edges * part / threads,
                     edges * (part + 1) / threads)
}
