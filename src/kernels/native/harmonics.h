/* The loops around harmonics that are written out for one lmax. Before it includes this, kernels/harmonics_native.py defines
   COMPONENTS, NORMALIZE, SCALES (what each component is multiplied by in the end) and, for LANES edges at once,

       INLINE void rise(const lanes *r, lanes *Y);                             solid harmonics upon 1, 0, 0, ...
       INLINE void add_slopes(const lanes *Y, const lanes *g, lanes *to);      their derivatives by r, weighted by g
       INLINE void add_along(const lanes *t, const lanes *Y, lanes *to);       their derivatives along t
       INLINE void add_lowered(const lanes *t, const lanes *g, lanes *to);     the weights of Y in the g-weighted ones of those */

typedef struct {
    lanes u[3], shrunk, Y[COMPONENTS]; /* u and 1 / |r| with NORMALIZE, 0 for a vector that counts as zero; else r and 1 */
} edges_at;

INLINE edges_at at_edges(const real *r, int64_t count, real zero) {
    real side[3][LANES] = {{0}}, inverse[LANES] = {0};
    for (int64_t i = 0; i < count; i++) {
        real x = r[3 * i], y = r[3 * i + 1], z = r[3 * i + 2], scale = most(most(positive(x), positive(y)), positive(z));
        int none = NORMALIZE && scale < zero;
        scale = none || !NORMALIZE ? 1 : scale;
        x /= scale, y /= scale, z /= scale;
        real by = none ? 0 : NORMALIZE ? 1 / root2(x * x + y * y + z * z) : 1;
        side[0][i] = x * by, side[1][i] = y * by, side[2][i] = z * by, inverse[i] = by / scale;
    }
    edges_at s;
    memcpy(s.u, side, sizeof(side));
    memcpy(&s.shrunk, inverse, sizeof(inverse));
    memset(s.Y, 0, sizeof(s.Y));
    s.Y[0] += 1;
    rise(s.u, s.Y);
    return s;
}

INLINE lanes product(const lanes *a, const lanes *b) { return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]; }

/* The part of `to` across u. */
INLINE void project(const edges_at *s, lanes *to) {
    lanes along = product(to, s->u);
    for (int j = 0; NORMALIZE && j < 3; j++) to[j] -= along * s->u[j];
}

/* Rows of `width` numbers as lanes, and back. */
INLINE void rows_in(const real *from, int64_t count, int64_t width, lanes *to) {
    memset(to, 0, width * sizeof(lanes));
    for (int64_t i = 0; i < count; i++)
        for (int64_t k = 0; k < width; k++) to[k][i] = from[i * width + k];
}

INLINE void rows_out(const lanes *from, int64_t count, int64_t width, real *to) {
    for (int64_t i = 0; i < count; i++)
        for (int64_t k = 0; k < width; k++) to[i * width + k] = from[k][i];
}

INLINE void scaled(lanes *Y) {
    for (int64_t k = 0; k < COMPONENTS; k++) Y[k] *= SCALES[k];
}

#define FOR_EDGES _Pragma("omp parallel for num_threads(threads) schedule(static)") for (int64_t e = 0; e < edges; e += LANES)

void spherical_harmonics(const real *r, real *out, int64_t edges, double zero, int64_t threads) {
    FOR_EDGES {
        int64_t count = least_count(LANES, edges - e);
        edges_at s = at_edges(r + 3 * e, count, zero);
        scaled(s.Y);
        rows_out(s.Y, count, COMPONENTS, out + e * COMPONENTS);
    }
}

/* w / |r| across u, of w = sum of g grad R(u): harmonics of unit vectors do not change with r's length. */
void spherical_harmonics_slopes(const real *g, const real *r, real *out, int64_t edges, double zero, int64_t threads) {
    FOR_EDGES {
        int64_t count = least_count(LANES, edges - e);
        edges_at s = at_edges(r + 3 * e, count, zero);
        lanes weights[COMPONENTS], w[3] = {{0}};
        rows_in(g + e * COMPONENTS, count, COMPONENTS, weights);
        scaled(weights);
        add_slopes(s.Y, weights, w);
        project(&s, w);
        for (int j = 0; j < 3; j++) w[j] *= s.shrunk;
        rows_out(w, count, 3, out + 3 * e);
    }
}

/* Of F = h . slopes, with t the part of h across u and H the Hessian of sum of g R(u): F is linear in g, its coefficients the
   harmonics' derivatives along t / |r|; and by u it has the gradient (H t - h (u . w) - (h . u) w) / |r|, by |r| - F / |r|. */
void spherical_harmonics_slopes_backward(const real *h, const real *g, const real *r, real *by_g, real *by_r, int64_t edges,
                                         double zero, int64_t threads) {
    FOR_EDGES {
        int64_t count = least_count(LANES, edges - e);
        edges_at s = at_edges(r + 3 * e, count, zero);
        lanes weights[COMPONENTS], lowered[COMPONENTS] = {{0}}, along[COMPONENTS] = {{0}}, w[3] = {{0}}, sums[3] = {{0}};
        lanes whole[3], t[3];
        rows_in(g + e * COMPONENTS, count, COMPONENTS, weights);
        rows_in(h + 3 * e, count, 3, whole);
        scaled(weights);
        memcpy(t, whole, sizeof(t));
        project(&s, t);
        add_along(t, s.Y, along);
        add_lowered(t, weights, lowered);
        add_slopes(s.Y, lowered, sums);
        if (NORMALIZE) {
            add_slopes(s.Y, weights, w);
            lanes out = product(s.u, w), with = product(s.u, whole), F = product(t, w);
            for (int j = 0; j < 3; j++) sums[j] -= whole[j] * out + with * w[j];
            project(&s, sums);
            for (int j = 0; j < 3; j++) sums[j] = (sums[j] - F * s.u[j]) * s.shrunk * s.shrunk;
            for (int64_t k = 0; k < COMPONENTS; k++) along[k] *= s.shrunk;
        }
        scaled(along);
        rows_out(along, count, COMPONENTS, by_g + e * COMPONENTS);
        rows_out(sums, count, 3, by_r + 3 * e);
    }
}
