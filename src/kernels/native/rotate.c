/* Features of nodes into the frames of edges and back: see kernels/rotate_gather.py and kernels/rotate_scatter.py.

   Row r of an edge is sum_k D[place + k] x[start + k], k < width: `table` has (place, start, width) of every row. */
#include "lanes.h"

typedef struct {
    const int64_t *table;
    int64_t rows, components, packed, channels;
} frame;

INLINE void to_frame(const frame *s, const real *x, const real *D, real *y) {
    for (int64_t c = 0; c < s->channels; c += LANES) {
        lanes in[s->components];
        for (int64_t k = 0; k < s->components; k++) in[k] = load(x + k * s->channels + c, s->channels - c);
        for (int64_t r = 0; r < s->rows; r++) {
            const int64_t *row = s->table + 3 * r;
            lanes sum = {0};
            for (int64_t k = 0; k < row[2]; k++) sum += D[row[0] + k] * in[row[1] + k];
            store(y + r * s->channels + c, sum, s->channels - c);
        }
    }
}

INLINE void add_from_frame(const frame *s, const real *y, const real *D, real *x) {
    for (int64_t c = 0; c < s->channels; c += LANES) {
        lanes out[s->components];
        for (int64_t k = 0; k < s->components; k++) out[k] = load(x + k * s->channels + c, s->channels - c);
        for (int64_t r = 0; r < s->rows; r++) {
            const int64_t *row = s->table + 3 * r;
            lanes value = load(y + r * s->channels + c, s->channels - c);
            for (int64_t k = 0; k < row[2]; k++) out[row[1] + k] += D[row[0] + k] * value;
        }
        for (int64_t k = 0; k < s->components; k++) store(x + k * s->channels + c, out[k], s->channels - c);
    }
}

/* What multiplies D: products of rows in the frame with components outside, summed over channels. */
INLINE void products(const frame *s, const real *y, const real *x, real *by_D) {
    lanes sums[s->packed];
    memset(sums, 0, sizeof(sums));
    for (int64_t c = 0; c < s->channels; c += LANES)
        for (int64_t r = 0; r < s->rows; r++) {
            const int64_t *row = s->table + 3 * r;
            lanes value = load(y + r * s->channels + c, s->channels - c);
            for (int64_t k = 0; k < row[2]; k++)
                sums[row[0] + k] += value * load(x + (row[1] + k) * s->channels + c, s->channels - c);
        }
    for (int64_t i = 0; i < s->packed; i++) by_D[i] = sum_of(sums[i]);
}

void rotate_gather(const real *x, const real *D, const int64_t *node, const int64_t *table, real *y, int64_t edges,
                   int64_t rows, int64_t components, int64_t packed, int64_t channels, int64_t threads) {
    frame s = {table, rows, components, packed, channels};
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t e = 0; e < edges; e++)
        to_frame(&s, x + node[e] * components * channels, D + e * packed, y + e * rows * channels);
}

/* Every thread has nodes of its own, and takes their edges in order. */
void rotate_scatter(const real *y, const real *D, const int64_t *node, const int64_t *table, real *x, int64_t edges,
                    int64_t rows, int64_t components, int64_t packed, int64_t channels, int64_t nodes, int64_t threads) {
    frame s = {table, rows, components, packed, channels};
    int64_t size = components * channels;
    FOR_PARTS {
        int64_t first = BEGIN(nodes), end = END(nodes);
        memset(x + first * size, 0, (end - first) * size * sizeof(real));
        for (int64_t e = 0; e < edges; e++)
            if (node[e] >= first && node[e] < end)
                add_from_frame(&s, y + e * rows * channels, D + e * packed, x + node[e] * size);
    }
}

void rotate_products(const real *y, const real *x, const int64_t *node, const int64_t *table, real *by_D, int64_t edges,
                     int64_t rows, int64_t components, int64_t packed, int64_t channels, int64_t threads) {
    frame s = {table, rows, components, packed, channels};
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t e = 0; e < edges; e++)
        products(&s, y + e * rows * channels, x + node[e] * components * channels, by_D + e * packed);
}
