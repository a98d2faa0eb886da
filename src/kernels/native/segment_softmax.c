/* Softmax over segments of rows, head by head: see kernels/segment_softmax.py. Rows may come in any order.

   What is found for segments is found by threads that have segments of their own, so that all is added up in one order; what is
   found for rows, by threads that have rows of their own. */
#include "real.h"

#define FOR_HEADS(heads, function, ...)                   \
    switch (heads) {                                      \
    case 1: function(1, __VA_ARGS__); break;              \
    case 4: function(4, __VA_ARGS__); break;              \
    case 8: function(8, __VA_ARGS__); break;              \
    default: function(heads, __VA_ARGS__);                \
    }

/* The greatest of each segment, NaN where one is, up to a row whose segment is none of `size`: whether there is one. */
INLINE int tops(int64_t heads, const real *logits, const int64_t *index, real *top, int64_t rows, int64_t size, int64_t first,
                int64_t end) {
    for (int64_t e = 0; e < rows; e++) {
        if ((uint64_t)index[e] >= (uint64_t)size) return 1;
        if (index[e] < first || index[e] >= end) continue;
        const real *value = logits + e * heads;
        real *largest = top + index[e] * heads;
        for (int64_t h = 0; h < heads; h++)
            largest[h] = value[h] > largest[h] || value[h] != value[h] ? value[h] : largest[h];
    }
    return 0;
}

INLINE void sums(int64_t heads, const real *values, const int64_t *index, real *total, int64_t rows, int64_t first,
                 int64_t end) {
    for (int64_t e = 0; e < rows; e++) {
        if (index[e] < first || index[e] >= end) continue;
        for (int64_t h = 0; h < heads; h++) total[index[e] * heads + h] += values[e * heads + h];
    }
}

INLINE void exponentials(int64_t heads, const real *logits, const int64_t *index, const real *top, real *out, int64_t first,
                         int64_t end) {
    for (int64_t e = first; e < end; e++)
        for (int64_t h = 0; h < heads; h++) out[e * heads + h] = logits[e * heads + h] - top[index[e] * heads + h];
#pragma omp simd
    for (int64_t i = first * heads; i < end * heads; i++) out[i] = exp_down(out[i]);
}

INLINE void scaled(int64_t heads, const int64_t *index, const real *factor, real *out, int64_t first, int64_t end) {
    for (int64_t e = first; e < end; e++)
        for (int64_t h = 0; h < heads; h++) out[e * heads + h] *= factor[index[e] * heads + h];
}

/* p (g - sum over the segment of p g), of which p g is given */
INLINE void by_rows(int64_t heads, const real *weight, const int64_t *index, const real *total, real *by_logits, int64_t first,
                    int64_t end) {
    for (int64_t e = first; e < end; e++)
        for (int64_t h = 0; h < heads; h++)
            by_logits[e * heads + h] -= weight[e * heads + h] * total[index[e] * heads + h];
}

/* Gives 1, and no weights, if a row's segment does not exist. */
int64_t segment_softmax(const real *logits, const int64_t *index, real *out, int64_t rows, int64_t heads, int64_t size,
                        int64_t threads) {
    int64_t wrong = 0;
    real *top = malloc((2 * size * heads + 1) * sizeof(real)), *total = top + size * heads;
    for (int64_t i = 0; i < size * heads; i++) top[i] = -INFINITY, total[i] = 0;
    FOR_PARTS {
        int found = 0;
        FOR_HEADS(heads, found = tops, logits, index, top, rows, size, SHARE(size))
        if (found) {
#pragma omp atomic write
            wrong = 1;
        }
    }
    if (wrong) {
        free(top);
        return 1;
    }
    /* where every logit is -inf, weights are 0 */
    for (int64_t i = 0; i < size * heads; i++) top[i] = top[i] == -INFINITY ? 0 : top[i];
    FOR_PARTS FOR_HEADS(heads, exponentials, logits, index, top, out, SHARE(rows))
    FOR_PARTS FOR_HEADS(heads, sums, out, index, total, rows, SHARE(size))
    for (int64_t i = 0; i < size * heads; i++) total[i] = total[i] == 0 ? 1 : 1 / total[i];
    FOR_PARTS FOR_HEADS(heads, scaled, index, total, out, SHARE(rows))
    free(top);
    return 0;
}

void segment_softmax_backward(const real *gradient, const real *weight, const int64_t *index, real *by_logits, int64_t rows,
                              int64_t heads, int64_t size, int64_t threads) {
    real *total = calloc(size * heads + 1, sizeof(real));
#pragma omp parallel for simd num_threads(threads) schedule(static)
    for (int64_t i = 0; i < rows * heads; i++) by_logits[i] = gradient[i] * weight[i];
    FOR_PARTS FOR_HEADS(heads, sums, by_logits, index, total, rows, SHARE(size))
    FOR_PARTS FOR_HEADS(heads, by_rows, weight, index, total, by_logits, SHARE(rows))
    free(total);
}
