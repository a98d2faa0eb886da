/* Edges of a neighbour search in order: see kernels/neighbor_list.py. */
#include "real.h"

/* Places of `count` pairs in the order of their column `at`, those that are equal in the order of `before` (or as they come). */
static void order_by(const int64_t (*pairs)[2], int64_t at, const int64_t *before, int64_t *order, int64_t *begin, int64_t count,
                     int64_t atoms) {
    memset(begin, 0, (atoms + 1) * sizeof(int64_t));
    for (int64_t e = 0; e < count; e++) begin[pairs[e][at] + 1]++;
    for (int64_t i = 0; i < atoms; i++) begin[i + 1] += begin[i];
    for (int64_t k = 0; k < count; k++) {
        int64_t e = before ? before[k] : k;
        order[begin[pairs[e][at]]++] = e;
    }
}

/* Pairs (destination, source) of one graph, whose atoms begin at `start`, by destination, then by source. */
void order_edges(real (*vector)[3], const double (*vectors)[3], const int64_t (*pairs)[2], const int32_t (*shifts)[3],
                 int64_t *source, int64_t *destination, int32_t (*offset)[3], int64_t count, int64_t atoms, int64_t start,
                 int64_t threads) {
    (void)threads;
    int64_t *begin = malloc((atoms + 1 + 2 * count) * sizeof(int64_t)), *by_source = begin + atoms + 1, *order = by_source + count;
    order_by(pairs, 1, 0, by_source, begin, count, atoms);
    order_by(pairs, 0, by_source, order, begin, count, atoms);
    for (int64_t k = 0; k < count; k++) {
        int64_t e = order[k];
        destination[k] = pairs[e][0] + start;
        source[k] = pairs[e][1] + start;
        memcpy(offset[k], shifts[e], sizeof(*offset));
        for (int64_t x = 0; x < 3; x++) vector[k][x] = (real)vectors[e][x];
    }
    free(begin);
}
