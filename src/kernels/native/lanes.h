/* Some channels at once, in one register. */
#pragma once
#include "real.h"
#ifdef __AVX512F__
#include <immintrin.h>
#endif

typedef real lanes __attribute__((vector_size(64))); /* channels that are worked on at once */
#define LANES ((int64_t)(64 / sizeof(real)))

INLINE lanes load(const real *from, int64_t count) {
    lanes value = {0};
    if (count >= LANES) memcpy(&value, from, sizeof(lanes));
    else memcpy(&value, from, count * sizeof(real));
    return value;
}

INLINE void store(real *to, lanes value, int64_t count) { memcpy(to, &value, (count < LANES ? count : LANES) * sizeof(real)); }

INLINE real sum_of(lanes value) {
    typedef real half __attribute__((vector_size(32)));
    typedef real quarter __attribute__((vector_size(16)));
    half halves[2];
    quarter quarters[2];
    memcpy(halves, &value, sizeof(halves));
    half both = halves[0] + halves[1];
    memcpy(quarters, &both, sizeof(quarters));
    quarter all = quarters[0] + quarters[1];
    real sum = all[0] + all[1];
    for (size_t i = 2; i < sizeof(all) / sizeof(real); i += 2) sum += all[i] + all[i + 1];
    return sum;
}

#define LARGE (1 << 23) /* bytes of an output that caches don't hold: it is written past them, and not read before */

INLINE int can_put_past(const real *to, int64_t count) {
    return count * (int64_t)sizeof(real) > LARGE && (uintptr_t)to % sizeof(lanes) == 0;
}

/* All of them; `past` the caches where the processor can, where can_put_past. */
INLINE void put(real *to, lanes value, int past) {
#ifdef __AVX512F__
    if (past) {
        _mm512_stream_si512((__m512i *)to, (__m512i)value);
        return;
    }
#endif
    memcpy(to, &value, sizeof(value));
}
