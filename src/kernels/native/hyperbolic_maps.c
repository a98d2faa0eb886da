/* Layers of points on the hyperboloid, row by row: hyperbolic_linear, hyperbolic_radial, hyperbolic_sum, window_squares. */
#include "real.h"

/* -- sinh(k asinh(x)) / sqrt(c), x = factor m + time shift ------------------------------------------------------------- */

INLINE void linear(int64_t channels, const real *m, const real *window, const real *shift, const real *k, real *out,
                   real *per, int64_t rows, int64_t n, double c, double limit, real *beyond) {
    real *factor = per, *time = per + rows, *length = per + 2 * rows, far = limit, count = 0;
    real scale = 1 / sqrt(c);
#pragma omp simd reduction(+ : count)
    for (int64_t i = 0; i < n; i++) {
        real r = length_of((real)(4 * c) * window[i]);
        count += r > far;
        real sinh = sinh_of(least(r, far));
        length[i] = r, factor[i] = 2 * sinh / r, time[i] = cosh_of(sinh);
    }
    *beyond += count;
    for (int64_t i = 0; i < n; i++) {
        const real *row = m + i * channels;
        real sinh = factor[i], cosh = time[i], *to = out + i * channels;
#pragma omp simd
        for (int64_t j = 0; j < channels; j++) {
            real angle = asinh_of(sinh * row[j] + cosh * shift[j]) * k[j];
            to[j] = scale * sinh_of(least(most(angle, -far), far));
        }
    }
}

void hyperbolic_linear(const real *m, const real *window, const real *shift, const real *k, real *out, real *per,
                       int64_t *beyond, int64_t rows, int64_t channels, double c, double limit, int64_t threads) {
    int64_t chunk = chunk_of(channels), chunks = (rows + chunk - 1) / chunk;
    real *sums = sums_of_chunks(chunks, 1);
    double total;
#pragma omp parallel for num_threads(threads)
    for (int64_t from = 0; from < rows; from += chunk)
        FOR_CHANNELS(channels, linear, m + from * channels, window + from, shift, k, out + from * channels,
                     per + from, rows, least_count(chunk, rows - from), c, limit, sums + from / chunk)
    add_chunks(&total, sums, chunks, 1);
    *beyond = (int64_t)total;
    free(sums);
}

INLINE void by_linear(int64_t channels, const real *gradient, const real *m, const real *shift, const real *k,
                      const real *out, const real *per, real *by_m, real *by_window, int64_t rows, int64_t n, double c,
                      double limit, real *sum) {
    const real *factor = per, *time = per + rows, *length = per + 2 * rows;
    real by_factor[CHUNK], by_time[CHUNK], more = 1 / c, far = limit;
    for (int64_t i = 0; i < n; i++) {
        const real *row = m + i * channels, *g = gradient + i * channels, *y = out + i * channels;
        real of_factor = 0, of_time = 0, sinh = factor[i], cosh = time[i], *to = by_m + i * channels;
#pragma omp simd reduction(+ : of_factor, of_time)
        for (int64_t j = 0; j < channels; j++) {
            real x = sinh * row[j] + cosh * shift[j];
            real by_angle = root2(y[j] * y[j] + more) * g[j];
            real by_x = by_angle * k[j] / cosh_of(x);
            sum[j] += cosh * by_x;
            sum[channels + j] += asinh_of(x) * by_angle;
            of_factor += by_x * row[j], of_time += by_x * shift[j];
            to[j] = by_x * sinh;
        }
        by_factor[i] = of_factor, by_time[i] = of_time;
    }
#pragma omp simd
    for (int64_t i = 0; i < n; i++) {
        real inside = length[i] <= far, sinh = factor[i] * length[i] / 2;
        real by_length = (2 * time[i] * inside - factor[i]) / length[i] * by_factor[i] + sinh * inside * by_time[i];
        by_window[i] = by_length / length[i] * (real)(2 * c);
    }
}

/* Gradients by the products, the window, the shift and k. */
void hyperbolic_linear_backward(const real *gradient, const real *m, const real *shift, const real *k, const real *out,
                                const real *per, real *by_m, real *by_window, real *by_shift, real *by_k, int64_t rows,
                                int64_t channels, double c, double limit, int64_t threads) {
    int64_t chunk = chunk_of(channels), chunks = (rows + chunk - 1) / chunk;
    real *sums = sums_of_chunks(chunks, 2 * channels);
    double *total = malloc(2 * channels * sizeof(double));
#pragma omp parallel for num_threads(threads)
    for (int64_t from = 0; from < rows; from += chunk)
        FOR_CHANNELS(channels, by_linear, gradient + from * channels, m + from * channels, shift, k,
                     out + from * channels, per + from, by_m + from * channels, by_window + from,
                     rows, least_count(chunk, rows - from), c, limit, sums + from / chunk * 2 * channels)
    add_chunks(total, sums, chunks, 2 * channels);
    for (int64_t j = 0; j < channels; j++) by_shift[j] = total[j], by_k[j] = total[channels + j];
    free(sums);
    free(total);
}

/* -- rows times a function of their length ------------------------------------------------------------------------------ */

/* sinh(r) / |v|, r = 2 sqrt(c) |v|; or asinh(r) / (2 r), r = sqrt(c) |s|, and ReLU. And the derivatives by the square. */
INLINE void radial(int64_t channels, const real *x, real *out, real *per, int64_t rows, int64_t n, int64_t relu, double c,
                   double limit, real *beyond) {
    real *factor = per, *slope = per + rows, square[CHUNK], far = limit, count = 0, least_value = relu ? 0 : -INFINITY;
    for (int64_t i = 0; i < n; i++) square[i] = dot(x + i * channels, x + i * channels, channels);
    if (relu) {
#pragma omp simd reduction(+ : count)
        for (int64_t i = 0; i < n; i++) {
            real r = length_of((real)c * square[i]), angle = asinh_of(r), inside = angle <= far;
            count += angle > far;
            factor[i] = least(angle, far) / r / 2;
            slope[i] = (inside / root2(1 + r * r) / 2 - factor[i]) / r / r * (real)(c / 2);
        }
    } else {
#pragma omp simd reduction(+ : count)
        for (int64_t i = 0; i < n; i++) {
            real r = length_of((real)(4 * c) * square[i]), inside = r <= far, sinh = sinh_of(least(r, far));
            count += r > far;
            factor[i] = 2 * sinh / r;
            slope[i] = (2 * cosh_of(sinh) * inside - factor[i]) / r / r * (real)(2 * c);
        }
    }
    *beyond += count;
    for (int64_t i = 0; i < n; i++) {
        const real *row = x + i * channels;
        real grown = factor[i], *to = out + i * channels;
#pragma omp simd
        for (int64_t j = 0; j < channels; j++) {
            real value = grown * row[j];
            to[j] = value < least_value ? least_value : value;
        }
    }
}

void hyperbolic_radial(const real *x, real *out, real *per, int64_t *beyond, int64_t rows, int64_t channels, int64_t relu,
                       double c, double limit, int64_t threads) {
    int64_t chunk = chunk_of(channels), chunks = (rows + chunk - 1) / chunk;
    real *sums = sums_of_chunks(chunks, 1);
    double total;
#pragma omp parallel for num_threads(threads)
    for (int64_t from = 0; from < rows; from += chunk)
        FOR_CHANNELS(channels, radial, x + from * channels, out + from * channels, per + from, rows,
                     least_count(chunk, rows - from), relu, c, limit, sums + from / chunk)
    add_chunks(&total, sums, chunks, 1);
    *beyond = (int64_t)total;
    free(sums);
}

INLINE void by_radial(int64_t channels, const real *gradient, const real *x, const real *per, real *by_x, int64_t rows,
                      int64_t n, int64_t relu) {
    real dead = relu ? 0 : -INFINITY; /* values up to here have become zero */
    for (int64_t i = 0; i < n; i++) {
        const real *row = x + i * channels, *g = gradient + i * channels;
        real along = 0;
#pragma omp simd reduction(+ : along)
        for (int64_t j = 0; j < channels; j++) along += row[j] > dead ? g[j] * row[j] : 0;
        real factor = per[i], radial = 2 * along * per[rows + i], *to = by_x + i * channels;
#pragma omp simd
        for (int64_t j = 0; j < channels; j++) to[j] = (row[j] > dead ? factor * g[j] : 0) + radial * row[j];
    }
}

void hyperbolic_radial_backward(const real *gradient, const real *x, const real *per, real *by_x, int64_t rows,
                                int64_t channels, int64_t relu, int64_t threads) {
    int64_t chunk = chunk_of(channels);
#pragma omp parallel for num_threads(threads)
    for (int64_t from = 0; from < rows; from += chunk)
        FOR_CHANNELS(channels, by_radial, gradient + from * channels, x + from * channels, per + from,
                     by_x + from * channels, rows, least_count(chunk, rows - from), relu)
}

/* -- u + v of gyrovectors: v + (c u . v / (1 + t) + t') u ---------------------------------------------------------------- */

INLINE void boost(int64_t channels, const real *u, const real *v, real *out, real *per, int64_t rows, int64_t n, double c) {
    real *time = per, *other = per + rows, *product = per + 2 * rows;
    for (int64_t i = 0; i < n; i++) {
        const real *a = u + i * channels, *b = v + i * channels;
        time[i] = root2(1 + (real)c * dot(a, a, channels));
        other[i] = root2(1 + (real)c * dot(b, b, channels));
        product[i] = (real)c * dot(a, b, channels) / (time[i] + 1);
        real along = product[i] + other[i], *to = out + i * channels;
#pragma omp simd
        for (int64_t j = 0; j < channels; j++) to[j] = b[j] + along * a[j];
    }
}

void hyperbolic_sum(const real *u, const real *v, real *out, real *per, int64_t rows, int64_t channels, double c,
                    int64_t threads) {
    int64_t chunk = chunk_of(channels);
#pragma omp parallel for num_threads(threads)
    for (int64_t from = 0; from < rows; from += chunk)
        FOR_CHANNELS(channels, boost, u + from * channels, v + from * channels, out + from * channels,
                     per + from, rows, least_count(chunk, rows - from), c)
}

INLINE void by_boost(int64_t channels, const real *gradient, const real *u, const real *v, const real *per, real *by_u,
                     real *by_v, int64_t rows, int64_t n, double c) {
    const real *time = per, *other = per + rows, *product = per + 2 * rows;
    for (int64_t i = 0; i < n; i++) {
        const real *g = gradient + i * channels, *a = u + i * channels, *b = v + i * channels;
        real along = (real)c * dot(g, a, channels), mixed = along / (time[i] + 1);
        real grown = product[i] + other[i], radial = mixed * product[i] / time[i], of_time = along / other[i];
        real *to_u = by_u + i * channels, *to_v = by_v + i * channels;
#pragma omp simd
        for (int64_t j = 0; j < channels; j++) {
            to_v[j] = g[j] + mixed * a[j] + of_time * b[j];
            to_u[j] = grown * g[j] + mixed * b[j] - radial * a[j];
        }
    }
}

void hyperbolic_sum_backward(const real *gradient, const real *u, const real *v, const real *per, real *by_u, real *by_v,
                             int64_t rows, int64_t channels, double c, int64_t threads) {
    int64_t chunk = chunk_of(channels);
#pragma omp parallel for num_threads(threads)
    for (int64_t from = 0; from < rows; from += chunk)
        FOR_CHANNELS(channels, by_boost, gradient + from * channels, u + from * channels,
                     v + from * channels, per + from, by_u + from * channels, by_v + from * channels,
                     rows, least_count(chunk, rows - from), c)
}

/* -- squared lengths of all that a convolution's window sees -------------------------------------------------------------- */

INLINE void squares(int64_t channels, const real *x, real *out, int64_t pixels) {
    for (int64_t i = 0; i < pixels; i++) out[i] = dot(x + i * channels, x + i * channels, channels);
}

/* Windows [from, to) of one axis that see a place: from * stride - padding <= place < that + kernel. */
INLINE int64_t first_window(int64_t place, int64_t kernel, int64_t stride, int64_t padding) {
    int64_t last_free = place + padding - kernel;
    return last_free < 0 ? 0 : last_free / stride + 1;
}
INLINE int64_t last_window(int64_t place, int64_t windows, int64_t stride, int64_t padding) {
    int64_t last = (place + padding) / stride;
    return last < windows ? last + 1 : windows;
}

void window_squares(const real *x, real *out, int64_t samples, int64_t h, int64_t w, int64_t channels, int64_t h_out,
                    int64_t w_out, int64_t kernel, int64_t stride, int64_t padding, int64_t threads) {
#pragma omp parallel for num_threads(threads)
    for (int64_t sample = 0; sample < samples; sample++) {
        real *of_pixels = malloc((h * w + h * w_out) * sizeof(real)), *of_rows = of_pixels + h * w;
        FOR_CHANNELS(channels, squares, x + sample * h * w * channels, of_pixels, h * w)
        memset(of_rows, 0, h * w_out * sizeof(real));
        for (int64_t i = 0; i < h; i++)
            for (int64_t k = 0; k < kernel; k++)
                for (int64_t j = 0; j < w_out; j++) {
                    int64_t place = j * stride - padding + k;
                    if (place >= 0 && place < w) of_rows[i * w_out + j] += of_pixels[i * w + place];
                }
        real *sums = out + sample * h_out * w_out;
        memset(sums, 0, h_out * w_out * sizeof(real));
        for (int64_t i = 0; i < h_out; i++)
            for (int64_t k = 0; k < kernel; k++) {
                int64_t place = i * stride - padding + k;
                if (place >= 0 && place < h) add(sums + i * w_out, 1, of_rows + place * w_out, w_out);
            }
        free(of_pixels);
    }
}

INLINE void twice(int64_t channels, const real *x, const real *by_square, real *by_x, int64_t pixels) {
    for (int64_t i = 0; i < pixels; i++) {
        const real *row = x + i * channels;
        real factor = 2 * by_square[i], *to = by_x + i * channels;
#pragma omp simd
        for (int64_t j = 0; j < channels; j++) to[j] = factor * row[j];
    }
}

void window_squares_backward(const real *gradient, const real *x, real *by_x, int64_t samples, int64_t h, int64_t w,
                             int64_t channels, int64_t h_out, int64_t w_out, int64_t kernel, int64_t stride, int64_t padding,
                             int64_t threads) {
#pragma omp parallel for num_threads(threads)
    for (int64_t sample = 0; sample < samples; sample++) {
        real *by_square = calloc(h * w + h * w_out, sizeof(real)), *by_rows = by_square + h * w;
        const real *g = gradient + sample * h_out * w_out;
        for (int64_t i = 0; i < h; i++)
            for (int64_t k = first_window(i, kernel, stride, padding); k < last_window(i, h_out, stride, padding); k++)
                add(by_rows + i * w_out, 1, g + k * w_out, w_out);
        for (int64_t j = 0; j < w; j++)
            for (int64_t k = first_window(j, kernel, stride, padding); k < last_window(j, w_out, stride, padding); k++)
                for (int64_t i = 0; i < h; i++) by_square[i * w + j] += by_rows[i * w_out + k];
        FOR_CHANNELS(channels, twice, x + sample * h * w * channels, by_square, by_x + sample * h * w * channels, h * w)
        free(by_square);
    }
}
