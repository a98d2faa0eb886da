/* Some channels at once, in one register. */
#pragma once
#include "real.h"

typedef real lanes __attribute__((vector_size(64))); /* channels that are worked on at once */
#define LANES ((int64_t)(64 / sizeof(real)))

INLINE lanes load(const real *from, int64_t count) {
    lanes value = {0};
    if (count >= LANES) memcpy(&value, from, sizeof(lanes));
    else memcpy(&value, from, count * sizeof(real));
    return value;
}

INLINE void store(real *to, lanes value, int64_t count) { memcpy(to, &value, (count < LANES ? count : LANES) * sizeof(real)); }
