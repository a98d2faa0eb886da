/* Into the frame of an edge, the product there with its weights, channel by channel, and back: the loops around what
   kernels/so2_native.py writes out for one lmax and mmax before it includes this, ROWS, COMPONENTS, PACKED and PAIRS and

       into_frame(x, D, y)         y = D x
       out_of_frame(y, D, x)       x += D^T y
       add_products(y, x, sums)    what multiplies D in y . D x is added to sums
       by_y(x, w, y), by_x(w, y, x), by_w(x, y, w)    the product y, and its gradients by x and w

   All of an edge stays in the nearest cache, LANES channels at a time. */

INLINE void load_rows(const real *from, int64_t rows, int64_t channels, int64_t c, lanes *to) {
    if (channels - c >= LANES) for (int64_t r = 0; r < rows; r++) to[r] = load(from + r * channels + c, LANES);
    else for (int64_t r = 0; r < rows; r++) to[r] = load(from + r * channels + c, channels - c);
}

INLINE void store_rows(real *to, int64_t rows, int64_t channels, int64_t c, const lanes *from) {
    if (channels - c >= LANES) for (int64_t r = 0; r < rows; r++) store(to + r * channels + c, from[r], LANES);
    else for (int64_t r = 0; r < rows; r++) store(to + r * channels + c, from[r], channels - c);
}

/* Every thread has destinations of its own, and takes their edges in order. */
void so2_depthwise(const real *x, const real *D, const real *weight, const int64_t *source, const int64_t *destination,
                   real *out, int64_t edges, int64_t channels, int64_t size, int64_t threads) {
    int64_t node = COMPONENTS * channels;
    FOR_PARTS {
        int64_t from = BEGIN(size), end = END(size);
        memset(out + from * node, 0, (end - from) * node * sizeof(real));
        for (int64_t e = 0; e < edges; e++)
            for (int64_t c = 0; destination[e] >= from && destination[e] < end && c < channels; c += LANES) {
                lanes in[COMPONENTS], framed[ROWS], w[PAIRS], message[ROWS];
                load_rows(x + source[e] * node, COMPONENTS, channels, c, in);
                load_rows(weight + e * PAIRS * channels, PAIRS, channels, c, w);
                into_frame(in, D + e * PACKED, framed);
                by_y(framed, w, message);
                load_rows(out + destination[e] * node, COMPONENTS, channels, c, in);
                out_of_frame(message, D + e * PACKED, in);
                store_rows(out + destination[e] * node, COMPONENTS, channels, c, in);
            }
    }
}

/* Gradients by x, D and weights, those that are not null. Every thread has sources of its own, and takes their edges in order. */
void so2_depthwise_backward(const real *gradient, const real *x, const real *D, const real *weight, const int64_t *source,
                            const int64_t *destination, real *to_x, real *to_D, real *to_weight, int64_t edges,
                            int64_t channels, int64_t nodes, int64_t threads) {
    int64_t node = COMPONENTS * channels;
    int past = channels % LANES == 0 && can_put_past(to_weight, edges * PAIRS * channels);
    FOR_PARTS {
        int64_t from = BEGIN(nodes), end = END(nodes);
        if (to_x) memset(to_x + from * node, 0, (end - from) * node * sizeof(real));
        for (int64_t e = 0; e < edges; e++) {
            if (source[e] < from || source[e] >= end) continue;
            lanes sums[PACKED] = {0};
            for (int64_t c = 0; c < channels; c += LANES) {
                lanes in[COMPONENTS], at_end[COMPONENTS], framed[ROWS], g[ROWS], w[PAIRS], to_framed[ROWS], message[ROWS];
                load_rows(x + source[e] * node, COMPONENTS, channels, c, in);
                load_rows(gradient + destination[e] * node, COMPONENTS, channels, c, at_end);
                load_rows(weight + e * PAIRS * channels, PAIRS, channels, c, w);
                into_frame(in, D + e * PACKED, framed);
                into_frame(at_end, D + e * PACKED, g);
                by_x(w, g, to_framed);
                if (to_D) {
                    by_y(framed, w, message);
                    add_products(to_framed, in, sums);
                    add_products(message, at_end, sums);
                }
                if (to_weight) {
                    by_w(framed, g, w);
                    real *row = to_weight + e * PAIRS * channels;
                    for (int64_t i = 0; past && i < PAIRS; i++) put(row + i * channels + c, w[i], 1);
                    if (!past) store_rows(row, PAIRS, channels, c, w);
                }
                if (!to_x) continue;
                load_rows(to_x + source[e] * node, COMPONENTS, channels, c, in);
                out_of_frame(to_framed, D + e * PACKED, in);
                store_rows(to_x + source[e] * node, COMPONENTS, channels, c, in);
            }
            for (int64_t i = 0; to_D && i < PACKED; i++) to_D[e * PACKED + i] = sum_of(sums[i]);
        }
    }
}
