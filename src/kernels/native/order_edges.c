/* Edges of a neighbour search in order: see kernels/neighbor_list.py. */
#include "real.h"

/* Pairs (destination, source) of one graph, whose atoms begin at `start`, by destination, then by source, into arrays of `total`
   edges from `place` on. */
void order_edges(real (*vector)[3], const double (*vectors)[3], const int64_t (*pairs)[2], const int32_t (*shifts)[3],
                 int64_t *edge_index, int32_t (*offset)[3], int64_t place, int64_t total, int64_t count, int64_t atoms,
                 int64_t start, int64_t threads) {
    (void)threads;
    int64_t *source = edge_index + place, *destination = source + total;
    vector += place, offset += place;
    uint32_t *from = calloc(2 * (atoms + 1 + count), sizeof(uint32_t)), *to = from + atoms + 1;
    uint32_t *by_source = to + atoms + 1, *order = by_source + count;
    for (int64_t e = 0; e < count; e++) from[pairs[e][1] + 1]++, to[pairs[e][0] + 1]++;
    for (int64_t i = 0; i < atoms; i++) from[i + 1] += from[i], to[i + 1] += to[i];
    for (int64_t e = 0; e < count; e++) by_source[from[pairs[e][1]]++] = (uint32_t)e;
    for (int64_t k = 0; k < count; k++) order[to[pairs[by_source[k]][0]]++] = by_source[k];
    for (int64_t k = 0; k < count; k++) {
        int64_t e = order[k];
        destination[k] = pairs[e][0] + start;
        source[k] = pairs[e][1] + start;
        memcpy(offset[k], shifts[e], sizeof(*offset));
        for (int64_t x = 0; x < 3; x++) vector[k][x] = (real)vectors[e][x];
    }
    free(from);
}
