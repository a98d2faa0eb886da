/* Batch norm of points on the hyperboloid: see kernels/hyperbolic_norm.py for what it computes. */
#include "real.h"

/* What is kept of every row: `per` holds eight numbers a row, each kind together. */
enum { INWARDS, TIME, ALONG_P, ALONG_Q, LENGTH, DISTANCE, FACTOR, KINDS };
/* What is kept of a call. */
enum { TIME_P, TIME_Q, PP, PQ, QQ, SCALE, VARIANCE, K, MATRIX, CONSTANTS = MATRIX + 6 };

static void direct(const double *s, double *m) {
    double ends = s[PQ] - s[TIME_P] * s[TIME_Q];
    m[3] = (-s[TIME_Q] - ends * s[TIME_P]) / (1 - ends);
    m[4] = ends / (1 - ends);
    m[5] = 1 / (1 - ends);
    m[0] = m[3] - s[TIME_P];
    m[1] = m[4] + 1;
    m[2] = m[5];
}

static void by_origin(const double *s, double *m) {
    double u = 1 / (1 + s[TIME_P]), v = 1 / (1 + s[TIME_Q]), along = s[PQ] * v;
    m[0] = -1, m[1] = u, m[2] = 0;
    m[3] = -along, m[4] = along * u, m[5] = v;
}

/* Gradients by the times of p and q and by their product, from that by the matrix. */
static void direct_gradient(const double *s, const double *g, double *by) {
    double ends = s[PQ] - s[TIME_P] * s[TIME_Q], *by_p = by, *by_q = by + 1, *by_pq = by + 2;
    double time = (g[0] + g[3]) / (1 - ends), along = (g[1] + g[4]) / (1 - ends);
    double turned = s[MATRIX + 3] * (g[0] + g[3]) + s[MATRIX + 4] * (g[1] + g[4]) + s[MATRIX + 5] * (g[2] + g[5]);
    *by_pq = turned / (1 - ends) + along - s[TIME_P] * time;
    *by_p = -ends * time - s[TIME_Q] * *by_pq - g[0];
    *by_q = -time - s[TIME_P] * *by_pq;
}

static void by_origin_gradient(const double *s, const double *g, double *by) {
    double u = 1 / (1 + s[TIME_P]), v = 1 / (1 + s[TIME_Q]), along = s[PQ] * v;
    double by_along = u * g[4] - g[3];
    by[0] = -u * u * (g[1] + along * g[4]);
    by[1] = -v * (along * by_along + v * g[5]);
    by[2] = v * by_along;
}

static double product(const double *a, const double *b, int64_t n) {
    double sum = 0;
    for (int64_t k = 0; k < n; k++) sum += a[k] * b[k];
    return sum;
}

INLINE void lengths(int64_t channels, const real *x, real *per, int64_t rows, int64_t n, double c, double farthest,
                    real *sum, real *beyond) {
    real *inwards = per, *time = per + TIME * rows, square[CHUNK];
    for (int64_t i = 0; i < n; i++) square[i] = (real)c * dot(x + i * channels, x + i * channels, channels);
    real count = 0;
#pragma omp simd reduction(+ : count)
    for (int64_t i = 0; i < n; i++) {
        count += square[i] > (real)farthest;
        inwards[i] = root2(least((real)farthest / most(square[i], (real)1e-30), 1));
        time[i] = root2(1 + (square[i] > (real)farthest ? (real)farthest : square[i]));
    }
    *beyond += count;
    for (int64_t i = 0; i < n; i++) {
        add(sum, inwards[i], x + i * channels, channels);
        sum[channels] += time[i];
    }
}

INLINE void distances(int64_t channels, const real *x, real *per, int64_t rows, int64_t n, const real *p, const real *q,
                      double c, double time_p, real *squares) {
    real *inwards = per, *time = per + TIME * rows, *along_p = per + ALONG_P * rows, *along_q = per + ALONG_Q * rows;
    real *length = per + LENGTH * rows, *distance = per + DISTANCE * rows, shift[CHUNK], sum = 0;
    for (int64_t i = 0; i < n; i++) {
        along_p[i] = (real)c * inwards[i] * dot(x + i * channels, p, channels);
        along_q[i] = (real)c * inwards[i] * dot(x + i * channels, q, channels);
    }
    /* the boost that brings p to the origin brings s to s + shift p, which is sinh(d) long */
    for (int64_t i = 0; i < n; i++) shift[i] = along_p[i] / (1 + (real)time_p) - time[i];
    for (int64_t i = 0; i < n; i++) {
        const real *row = x + i * channels;
        real square = 0, grown = inwards[i], along = shift[i];
#pragma omp simd reduction(+ : square)
        for (int64_t k = 0; k < channels; k++) {
            real moved = grown * row[k] + along * p[k];
            square += moved * moved;
        }
        length[i] = square;
    }
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < n; i++) {
        length[i] = length_of((real)c * length[i]);
        distance[i] = asinh_of(length[i]);
        sum += distance[i] * distance[i];
    }
    *squares += sum;
}

INLINE void moved(int64_t channels, const real *x, real *per, int64_t rows, int64_t n, const real *p, const real *q,
                  const double *s, double limit, real *out, real *beyond) {
    real *inwards = per, *time = per + TIME * rows, *along_p = per + ALONG_P * rows, *along_q = per + ALONG_Q * rows;
    real *length = per + LENGTH * rows, *distance = per + DISTANCE * rows, *factor = per + FACTOR * rows;
    real a[CHUNK], b[CHUNK], m[6], k = s[K], count = 0, far = limit;
    for (int j = 0; j < 6; j++) m[j] = s[MATRIX + j];
#pragma omp simd reduction(+ : count)
    for (int64_t i = 0; i < n; i++) {
        real angle = distance[i] * k;
        count += positive(angle) > far;
        angle = least(most(angle, -far), far);
        real sinh = sinh_of(angle);
        factor[i] = sinh / length[i];
        a[i] = factor[i] * (m[0] * time[i] + m[1] * along_p[i] + m[2] * along_q[i]);
        b[i] = factor[i] * (m[3] * time[i] + m[4] * along_p[i] + m[5] * along_q[i]) + cosh_of(sinh);
    }
    *beyond += count;
    for (int64_t i = 0; i < n; i++) {
        const real *row = x + i * channels;
        real grown = factor[i] * inwards[i], of_p = a[i], of_q = b[i], *to = out + i * channels;
#pragma omp simd
        for (int64_t j = 0; j < channels; j++) to[j] = grown * row[j] + of_p * p[j] + of_q * q[j];
    }
}

/* `p` and `variance` are made where `training`, else given; `state` (CONSTANTS) and `per` (KINDS, rows) are kept. */
void hyperbolic_norm(const real *x, const real *q, const real *gamma, real *p, real *variance, real *out, real *per,
                     double *state, int64_t *beyond, int64_t rows, int64_t channels, int64_t origin, int64_t training,
                     double c, double limit, double eps, int64_t threads) {
    int64_t chunk = chunk_of(channels), chunks = (rows + chunk - 1) / chunk, width = channels + 2;
    real *sums = sums_of_chunks(chunks, width);
    double *total = malloc(width * sizeof(double)), farthest = sinh(limit) * sinh(limit), *s = state;
#pragma omp parallel for num_threads(threads)
    for (int64_t from = 0; from < rows; from += chunk)
        FOR_CHANNELS(channels, lengths, x + from * channels, per + from, rows, least_count(chunk, rows - from), c, farthest,
                     sums + from / chunk * width, sums + from / chunk * width + channels + 1)
    add_chunks(total, sums, chunks, width);
    double count = total[channels + 1];
    if (training) {
        double time = total[channels] / rows, square = product(total, total, channels) / rows / rows;
        s[SCALE] = sqrt(fmax(time * time - c * square, 1)); /* at least 1, whatever rounding says */
        for (int64_t k = 0; k < channels; k++) p[k] = total[k] / rows / s[SCALE];
    }
    s[PP] = s[PQ] = s[QQ] = 0;
    for (int64_t k = 0; k < channels; k++) {
        s[PP] += c * (double)p[k] * p[k];
        s[PQ] += c * (double)p[k] * q[k];
        s[QQ] += c * (double)q[k] * q[k];
    }
    s[TIME_P] = sqrt(1 + s[PP]), s[TIME_Q] = sqrt(1 + s[QQ]);
    (origin ? by_origin : direct)(s, s + MATRIX);

    memset(sums, 0, chunks * sizeof(real));
#pragma omp parallel for num_threads(threads)
    for (int64_t from = 0; from < rows; from += chunk)
        FOR_CHANNELS(channels, distances, x + from * channels, per + from, rows, least_count(chunk, rows - from), p, q, c,
                     s[TIME_P], sums + from / chunk)
    if (training) {
        add_chunks(total, sums, chunks, 1);
        *variance = total[0] / (c * rows);
    }
    s[VARIANCE] = *variance;
    s[K] = *gamma / sqrt(*variance + eps);

    memset(sums, 0, chunks * sizeof(real));
#pragma omp parallel for num_threads(threads)
    for (int64_t from = 0; from < rows; from += chunk)
        FOR_CHANNELS(channels, moved, x + from * channels, per + from, rows, least_count(chunk, rows - from), p, q, s, limit,
                     out + from * channels, sums + from / chunk)
    add_chunks(total, sums, chunks, 1);
    *beyond = (int64_t)(count + total[0]);
    free(sums);
    free(total);
}

/* Sums over rows, as they stand in a chunk: by k, by the matrix (6), by cosh d along the point (3) and, of what the variance
   adds to that, as much as comes to one unit (3); then five vectors. */
enum { BY_K, BY_MATRIX, BY_COSH = BY_MATRIX + 6, BY_SPREAD = BY_COSH + 3, VECTORS = BY_SPREAD + 3 };

INLINE void towards(int64_t channels, const real *x, const real *gradient, const real *per, real *kept, int64_t rows,
                    int64_t n, const real *p, const real *q, const double *s, double c, double limit, real *sum) {
    const real *inwards = per, *time = per + TIME * rows, *along_p = per + ALONG_P * rows;
    const real *along_q = per + ALONG_Q * rows, *length = per + LENGTH * rows, *distance = per + DISTANCE * rows;
    const real *factor = per + FACTOR * rows;
    real *by_a = kept, *by_b = kept + rows, *by_d = kept + 2 * rows;
    real m[6], k = s[K], far = limit, space[CHUNK], a[CHUNK], b[CHUNK], mixed_p[CHUNK], mixed_q[CHUNK], unit[CHUNK];
    for (int j = 0; j < 6; j++) m[j] = s[MATRIX + j];
    for (int64_t i = 0; i < n; i++) {
        const real *g = gradient + i * channels;
        space[i] = dot(g, x + i * channels, channels);
        by_a[i] = dot(g, p, channels);
        by_b[i] = dot(g, q, channels);
    }
    real by_k = 0;
#pragma omp simd reduction(+ : by_k)
    for (int64_t i = 0; i < n; i++) {
        real along_a = m[0] * time[i] + m[1] * along_p[i] + m[2] * along_q[i];
        real along_b = m[3] * time[i] + m[4] * along_p[i] + m[5] * along_q[i];
        real by_factor = inwards[i] * space[i] + along_a * by_a[i] + along_b * by_b[i];
        real inside = positive(distance[i] * k) <= far, sinh = factor[i] * length[i], cosh = cosh_of(sinh);
        real by_end = sinh * by_b[i] * inside;
        by_k += (by_factor * cosh * inside / length[i] + by_end) * distance[i];
        by_d[i] = ((cosh * inside * k - factor[i] * cosh_of(length[i])) / length[i] * by_factor + by_end * k) / length[i];
        a[i] = factor[i] * along_a, b[i] = factor[i] * along_b + cosh;
        by_a[i] *= factor[i], by_b[i] *= factor[i];
        unit[i] = distance[i] / length[i];
        real scaled = (real)c * inwards[i];
        mixed_p[i] = scaled * (m[1] * by_a[i] + m[4] * by_b[i] - by_d[i]);
        mixed_q[i] = scaled * (m[2] * by_a[i] + m[5] * by_b[i]);
    }
    sum[BY_K] += by_k;
    real *rest = sum + BY_MATRIX;
    const real *weights[4] = {by_a, by_b, by_d, unit}, *point[3] = {time, along_p, along_q};
    for (int w = 0; w < 4; w++)
        for (int j = 0; j < 3; j++) rest[3 * w + j] += dot(weights[w], point[j], n);
    real *vectors = sum + VECTORS;
    for (int64_t i = 0; i < n; i++) {
        const real *g = gradient + i * channels, *row = x + i * channels;
        real spread = (real)c * inwards[i] * unit[i], of_a = a[i], of_b = b[i], of_p = mixed_p[i], of_q = mixed_q[i];
#pragma omp simd
        for (int64_t j = 0; j < channels; j++) {
            vectors[j] += of_a * g[j] + of_p * row[j];
            vectors[channels + j] += of_b * g[j] + of_q * row[j];
            vectors[2 * channels + j] += spread * row[j];
        }
    }
}

INLINE void by_rows(int64_t channels, const real *x, const real *gradient, const real *per, const real *kept, int64_t rows,
                    int64_t n, const real *p, const real *q, const real *mean, const double *s, double c, double spread,
                    double by_mean_time, real *out) {
    const real *inwards = per, *time = per + TIME * rows, *length = per + LENGTH * rows;
    const real *distance = per + DISTANCE * rows, *factor = per + FACTOR * rows;
    const real *by_a = kept, *by_b = kept + rows, *by_d = kept + 2 * rows;
    real m[6], along_p[CHUNK], along_q[CHUNK], radial[CHUNK], time_p = s[TIME_P];
    for (int j = 0; j < 6; j++) m[j] = s[MATRIX + j];
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        real by_cosh = by_d[i] + (real)spread * distance[i] / length[i], scaled = (real)c * inwards[i];
        along_p[i] = scaled * (m[1] * by_a[i] + m[4] * by_b[i] - by_cosh);
        along_q[i] = scaled * (m[2] * by_a[i] + m[5] * by_b[i]);
        real by_time = m[0] * by_a[i] + m[3] * by_b[i] + time_p * by_cosh + (real)by_mean_time;
        radial[i] = by_time / time[i] * scaled * inwards[i];
    }
    for (int64_t i = 0; i < n; i++) {
        const real *g = gradient + i * channels, *row = x + i * channels;
        real grown = factor[i] * inwards[i], of_row = radial[i], of_p = along_p[i], of_q = along_q[i], of_mean = inwards[i];
        real *to = out + i * channels;
#pragma omp simd
        for (int64_t j = 0; j < channels; j++)
            to[j] = grown * g[j] + of_row * row[j] + of_p * p[j] + of_q * q[j] + of_mean * mean[j];
    }
}

/* Gradients by the rows, q and gamma. */
void hyperbolic_norm_backward(const real *x, const real *gradient, const real *q, const real *p, const real *per,
                              const double *state, real *by_x, real *by_q, real *by_gamma, int64_t rows,
                              int64_t channels, int64_t origin, int64_t training, double c, double limit, double eps,
                              int64_t threads) {
    int64_t chunk = chunk_of(channels), chunks = (rows + chunk - 1) / chunk, width = VECTORS + 3 * channels;
    real *sums = sums_of_chunks(chunks, width), *kept = malloc(3 * rows * sizeof(real));
    real *mean = calloc(channels, sizeof(real));
    double *total = malloc(width * sizeof(double)), by[3];
    const double *s = state;
#pragma omp parallel for num_threads(threads)
    for (int64_t from = 0; from < rows; from += chunk)
        FOR_CHANNELS(channels, towards, x + from * channels, gradient + from * channels, per + from,
                     kept + from, rows, least_count(chunk, rows - from), p, q, s, c, limit, sums + from / chunk * width)
    add_chunks(total, sums, chunks, width);
    double *by_p_vector = total + VECTORS, *by_q_vector = by_p_vector + channels, *spread_vector = by_q_vector + channels;
    *by_gamma = total[BY_K] / sqrt(s[VARIANCE] + eps);
    /* by the mean of the squared distances: so much of every distance comes on top */
    double spread = training ? -total[BY_K] * s[K] / ((s[VARIANCE] + eps) * c * rows) : 0, by_mean_time = 0;
    (origin ? by_origin_gradient : direct_gradient)(s, total + BY_MATRIX, by);
    by[0] += total[BY_COSH] + spread * total[BY_SPREAD];
    for (int64_t k = 0; k < channels; k++) {
        by_p_vector[k] += c * (by[0] / s[TIME_P] * p[k] + by[2] * q[k]) - spread * spread_vector[k];
        by_q[k] = by_q_vector[k] + c * (by[1] / s[TIME_Q] * q[k] + by[2] * p[k]);
    }
    if (training) {
        double radial = 0, share = 1 / (s[SCALE] * rows);
        for (int64_t k = 0; k < channels; k++) radial += by_p_vector[k] * p[k];
        for (int64_t k = 0; k < channels; k++) mean[k] = (by_p_vector[k] + c * radial * p[k]) * share;
        by_mean_time = -radial * s[TIME_P] * share;
    }
#pragma omp parallel for num_threads(threads)
    for (int64_t from = 0; from < rows; from += chunk)
        FOR_CHANNELS(channels, by_rows, x + from * channels, gradient + from * channels, per + from,
                     kept + from, rows, least_count(chunk, rows - from), p, q, mean, s, c, spread, by_mean_time,
                     by_x + from * channels)
    free(sums);
    free(kept);
    free(mean);
    free(total);
}
