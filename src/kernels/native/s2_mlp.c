/* SiLU at each point of a grid on the sphere, to features as signals: see kernels/s2_mlp.py. The signals are never stored.

   A component is a function of the colatitude times cos or sin of m times the azimuth. At each colatitude the components are
   summed up by orders, the orders at each azimuth, and what comes out goes the same way back. */
#include "lanes.h"

INLINE lanes sigmoid(lanes x) {
    real each[LANES];
    memcpy(each, &x, sizeof(x));
#pragma omp simd
    for (int64_t i = 0; i < LANES; i++) each[i] = sigmoid_of(each[i]);
    memcpy(&x, each, sizeof(x));
    return x;
}

typedef struct {
    const real *up, *down, *turn; /* (beta, components) to the grid and from it, (alpha, orders) */
    const int64_t *order;         /* of each component, from 0 on */
    int64_t components, beta, alpha;
} grid;

/* By orders, at one colatitude. */
INLINE void summed(int64_t orders, const grid *s, const real *factor, const lanes *x, lanes *sums) {
    for (int64_t m = 0; m < orders; m++) sums[m] = (lanes){0};
    for (int64_t k = 0; k < s->components; k++) sums[s->order[k]] += factor[k] * x[k];
}

INLINE void forward(int64_t orders, const grid *s, const real *x, real *out, int64_t channels) {
    lanes in[s->components], result[s->components], f[orders], g[orders];
    for (int64_t c = 0; c < channels; c += LANES) {
        for (int64_t k = 0; k < s->components; k++) in[k] = load(x + k * channels + c, channels - c), result[k] = (lanes){0};
        for (int64_t b = 0; b < s->beta; b++) {
            const real *up = s->up + b * s->components, *down = s->down + b * s->components;
            summed(orders, s, up, in, f);
            for (int64_t m = 0; m < orders; m++) g[m] = (lanes){0};
            for (int64_t a = 0; a < s->alpha; a++) {
                const real *turn = s->turn + a * orders;
                lanes value = {0};
                for (int64_t m = 0; m < orders; m++) value += turn[m] * f[m];
                value *= sigmoid(value);
                for (int64_t m = 0; m < orders; m++) g[m] += turn[m] * value;
            }
            for (int64_t k = 0; k < s->components; k++) result[k] += down[k] * g[s->order[k]];
        }
        for (int64_t k = 0; k < s->components; k++) store(out + k * channels + c, result[k], channels - c);
    }
}

INLINE void backward(int64_t orders, const grid *s, const real *gradient, const real *x, real *by_x, int64_t channels) {
    lanes in[s->components], by[s->components], result[s->components], f[orders], g[orders], h[orders];
    for (int64_t c = 0; c < channels; c += LANES) {
        for (int64_t k = 0; k < s->components; k++) {
            in[k] = load(x + k * channels + c, channels - c);
            by[k] = load(gradient + k * channels + c, channels - c);
            result[k] = (lanes){0};
        }
        for (int64_t b = 0; b < s->beta; b++) {
            const real *up = s->up + b * s->components, *down = s->down + b * s->components;
            summed(orders, s, up, in, f);
            summed(orders, s, down, by, g);
            for (int64_t m = 0; m < orders; m++) h[m] = (lanes){0};
            for (int64_t a = 0; a < s->alpha; a++) {
                const real *turn = s->turn + a * orders;
                lanes value = {0}, by_value = {0};
                for (int64_t m = 0; m < orders; m++) value += turn[m] * f[m], by_value += turn[m] * g[m];
                lanes share = sigmoid(value);
                by_value *= share * (1 + value * (1 - share));
                for (int64_t m = 0; m < orders; m++) h[m] += turn[m] * by_value;
            }
            for (int64_t k = 0; k < s->components; k++) result[k] += up[k] * h[s->order[k]];
        }
        for (int64_t k = 0; k < s->components; k++) store(by_x + k * channels + c, result[k], channels - c);
    }
}

/* Few orders, whose number the compiler then knows, stay in registers. */
#define FOR_ORDERS(orders, function, ...)                 \
    switch (orders) {                                     \
    case 3: function(3, __VA_ARGS__); break;              \
    case 5: function(5, __VA_ARGS__); break;              \
    case 7: function(7, __VA_ARGS__); break;              \
    case 9: function(9, __VA_ARGS__); break;              \
    default: function(orders, __VA_ARGS__);               \
    }

void s2_mlp(const real *x, const real *up, const real *down, const real *turn, const int64_t *order, real *out, int64_t rows,
            int64_t components, int64_t channels, int64_t beta, int64_t alpha, int64_t orders, int64_t threads) {
    grid s = {up, down, turn, order, components, beta, alpha};
    int64_t size = components * channels;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < rows; row++) FOR_ORDERS(orders, forward, &s, x + row * size, out + row * size, channels)
}

void s2_mlp_backward(const real *gradient, const real *x, const real *up, const real *down, const real *turn,
                     const int64_t *order, real *by_x, int64_t rows, int64_t components, int64_t channels, int64_t beta,
                     int64_t alpha, int64_t orders, int64_t threads) {
    grid s = {up, down, turn, order, components, beta, alpha};
    int64_t size = components * channels;
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t row = 0; row < rows; row++)
        FOR_ORDERS(orders, backward, &s, gradient + row * size, x + row * size, by_x + row * size, channels)
}
