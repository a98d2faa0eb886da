/* Convolutions over fibres, channel by channel: see kernels/fibre_convolution.py.

   Registers keep what a few nodes have at a few orientations, or what a few pairs of orientations add up over nodes. */
#include "lanes.h"

#define TILE 4
#define FEW 16 /* nodes of which the first cache holds the channels at hand */

typedef struct {
    int64_t from, to, channels, by_from, by_to; /* numbers of orientations, and how far the kernel's are from each other */
} fibres;

/* Of `count` nodes and `wide` orientations, of which x, kernel and out are the first. */
INLINE void convolve(int64_t count, int64_t wide, const fibres *f, const real *x, const real *kernel, real *out, int64_t left) {
    lanes sums[TILE][TILE] = {{{0}}};
    for (int64_t o = 0; o < f->from; o++) {
        lanes at[TILE];
        for (int64_t p = 0; p < wide; p++) at[p] = load(kernel + o * f->by_from + p * f->by_to, left);
        for (int64_t n = 0; n < count; n++) {
            lanes value = load(x + (n * f->from + o) * f->channels, left);
            for (int64_t p = 0; p < wide; p++) sums[n][p] += at[p] * value;
        }
    }
    for (int64_t n = 0; n < count; n++)
        for (int64_t p = 0; p < wide; p++) store(out + (n * f->to + p) * f->channels, sums[n][p], left);
}

/* y_p = sum over o of kernel[o * by_from + p * by_to] x_o */
void fibre_convolution(const real *x, const real *kernel, real *out, int64_t nodes, int64_t from, int64_t channels, int64_t to,
                       int64_t by_from, int64_t by_to, int64_t threads) {
    fibres f = {from, to, channels, by_from, by_to};
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t n = 0; n < nodes; n += TILE)
        for (int64_t c = 0; c < channels; c += LANES)
            for (int64_t p = 0; p < to; p += TILE) {
                const real *in = x + n * from * channels + c, *k = kernel + p * by_to + c;
                real *sums = out + (n * to + p) * channels + c;
                int64_t count = least_count(TILE, nodes - n), wide = least_count(TILE, to - p), left = channels - c;
                if (count == TILE && wide == TILE && left >= LANES) convolve(TILE, TILE, &f, in, k, sums, LANES);
                else convolve(count, wide, &f, in, k, sums, left);
            }
}

/* Adds what `count` nodes give to `high` times `wide` pairs of orientations, of which x, y and out are the first. */
INLINE void pairs(int64_t high, int64_t wide, const fibres *f, const real *x, const real *y, real *out, int64_t count,
                  int64_t left) {
    lanes sums[TILE][TILE];
    for (int64_t i = 0; i < high; i++)
        for (int64_t j = 0; j < wide; j++) sums[i][j] = load(out + (i * f->to + j) * f->channels, left);
    for (int64_t n = 0; n < count; n++) {
        lanes at_x[TILE];
        for (int64_t i = 0; i < high; i++) at_x[i] = load(x + (n * f->from + i) * f->channels, left);
        for (int64_t j = 0; j < wide; j++) {
            lanes at_y = load(y + (n * f->to + j) * f->channels, left);
            for (int64_t i = 0; i < high; i++) sums[i][j] += at_x[i] * at_y;
        }
    }
    for (int64_t i = 0; i < high; i++)
        for (int64_t j = 0; j < wide; j++) store(out + (i * f->to + j) * f->channels, sums[i][j], left);
}

/* Every thread has channels of its own, so that sums over nodes have one order. */
void fibre_products(const real *x, const real *y, real *out, int64_t nodes, int64_t from, int64_t channels, int64_t to,
                    int64_t threads) {
    fibres f = {.from = from, .to = to, .channels = channels};
    memset(out, 0, from * to * channels * sizeof(real));
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t c = 0; c < channels; c += LANES)
        for (int64_t n = 0; n < nodes; n += FEW)
            for (int64_t o = 0; o < from; o += TILE)
                for (int64_t p = 0; p < to; p += TILE) {
                    const real *in = x + (n * from + o) * channels + c, *of = y + (n * to + p) * channels + c;
                    real *pair = out + (o * to + p) * channels + c;
                    int64_t count = least_count(FEW, nodes - n), high = least_count(TILE, from - o), wide = least_count(TILE, to - p);
                    int64_t left = channels - c;
                    if (high == TILE && wide == TILE && left >= LANES) pairs(TILE, TILE, &f, in, of, pair, count, LANES);
                    else pairs(high, wide, &f, in, of, pair, count, left);
                }
}
