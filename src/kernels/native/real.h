/* Numbers, functions of them that compilers vectorise, and loops over chunks of rows that sum up in a fixed order. */
#pragma once
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

typedef REAL real;
#define INLINE static inline __attribute__((always_inline))

/* So many rows are worked on at a time at most, and so many numbers: what belongs to them stays in the cache. */
#define CHUNK 512
#define NUMBERS 16384

#ifdef REAL_IS_FLOAT
#define EPSILON 1.1920929e-7f

INLINE float from_bits(int32_t i) { union { int32_t i; float f; } u = {.i = i}; return u.f; }
INLINE int32_t to_bits(float f) { union { float f; int32_t i; } u = {.f = f}; return u.i; }

/* e^r - 1 for |r| <= log(2) / 2 by its series, and 2^n, of x = n log(2) + r, |x| < 87. */
INLINE float split_exp(float x, float *scale) {
    float n = rintf(x * 1.44269504f);
    float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
    float p = 1.f / 5040;
    p = p * r + 1.f / 720;
    p = p * r + 1.f / 120;
    p = p * r + 1.f / 24;
    p = p * r + 1.f / 6;
    p = p * r + .5f;
    *scale = from_bits(((int32_t)n + 127) << 23);
    return p * r * r + r;
}
INLINE float less1exp(float x) { float s, p = split_exp(x, &s); return s * p + (s - 1); }

INLINE float exp_of(float x) { float s, p = split_exp(x, &s); return s * p + s; }
/* e^x for x <= 0, and 0 where a float has no digits left for it. */
INLINE float exp_down(float x) { return x < -87 ? 0 : exp_of(x); }

/* log(1 + a) for a >= 0: of u = 1 + a = 2^n m, m around 1, by the series of artanh, and what u lost in rounding. */
INLINE float log1plus(float a) {
    float u = 1 + a;
    int32_t bits = to_bits(u) + (0x3f800000 - 0x3f3504f3);
    float n = (float)((bits >> 23) - 127);
    float f = from_bits((bits & 0x007fffff) + 0x3f3504f3) - 1;
    float s = f / (2 + f), z = s * s;
    float p = 1.f / 9;
    p = p * z + 1.f / 7;
    p = p * z + 1.f / 5;
    p = p * z + 1.f / 3;
    p = p * z;
    return n * 0.693147181f + (2 * s * p + (2 * s + (a - (u - 1)) / u));
}
INLINE float root2(float x) { return sqrtf(x); }
INLINE float positive(float x) { return fabsf(x); }
INLINE float with_sign(float x, float y) { return copysignf(x, y); }
#else
#define EPSILON 2.220446049250313e-16
INLINE double less1exp(double x) { return expm1(x); }
INLINE double exp_of(double x) { return exp(x); }
INLINE double exp_down(double x) { return exp(x); }
INLINE double log1plus(double a) { return log1p(a); }
INLINE double root2(double x) { return sqrt(x); }
INLINE double positive(double x) { return fabs(x); }
INLINE double with_sign(double x, double y) { return copysign(x, y); }
#endif

INLINE real least(real a, real b) { return b < a ? b : a; }
INLINE real most(real a, real b) { return a < b ? b : a; }

/* As geometry/hyperbolic/numerics.py: sqrt, of no less than a square of the smallest number that counts. */
INLINE real length_of(real square) { return root2(most(square, EPSILON * EPSILON)); }
INLINE real sigmoid_of(real x) { return 1 / (1 + exp_of(least(most(-x, -80), 80))); }
INLINE real cosh_of(real sinh) { return root2(1 + sinh * sinh); }
INLINE real sinh_of(real x) { real e = less1exp(x); return (e + e / (e + 1)) / 2; }
INLINE real asinh_of(real x) {
    real a = positive(x), square = a * a;
    return with_sign(log1plus(a + square / (1 + root2(1 + square))), x);
}

INLINE real dot(const real *a, const real *b, int64_t n) {
    real sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t k = 0; k < n; k++) sum += a[k] * b[k];
    return sum;
}

/* y += a x */
INLINE void add(real *y, real a, const real *x, int64_t n) {
#pragma omp simd
    for (int64_t k = 0; k < n; k++) y[k] += a * x[k];
}

/* A part for each thread, and where it begins and ends among so many: what belongs to one of them is added up in one order. */
#define FOR_PARTS _Pragma("omp parallel for num_threads(threads) schedule(static, 1)") for (int64_t part = 0; part < threads; part++)
#define BEGIN(count) ((count) * part / threads)
#define END(count) ((count) * (part + 1) / threads)
#define SHARE(count) BEGIN(count), END(count)

/* Sums of `width` numbers over chunks: every chunk has its own, so that the order does not depend on threads. */
INLINE real *sums_of_chunks(int64_t chunks, int64_t width) { return calloc(chunks * width + 1, sizeof(real)); }
INLINE void add_chunks(double *total, const real *sums, int64_t chunks, int64_t width) {
    memset(total, 0, width * sizeof(double));
    for (int64_t i = 0; i < chunks; i++)
        for (int64_t k = 0; k < width; k++) total[k] += sums[i * width + k];
}
INLINE int64_t least_count(int64_t a, int64_t b) { return a < b ? a : b; }
INLINE int64_t chunk_of(int64_t channels) {
    int64_t rows = NUMBERS / channels;
    return rows > CHUNK ? CHUNK : rows < 16 ? 16 : rows;
}

/* The same loop for few channels, whose number the compiler then knows, and for any. */
#define FOR_CHANNELS(channels, function, ...)             \
    switch (channels) {                                   \
    case 8: function(8, __VA_ARGS__); break;              \
    case 16: function(16, __VA_ARGS__); break;            \
    case 32: function(32, __VA_ARGS__); break;            \
    default: function(channels, __VA_ARGS__);             \
    }
