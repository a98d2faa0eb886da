/* Multivectors grade by grade: grade_squares and grade_scale. Blades of a grade lie one after the other, those of grade g from
   bounds[g] to bounds[g + 1], and `columns` numbers apart; so do the numbers of a grade. */
#include "real.h"

#define COLUMNS 512 /* that are worked on at a time, so that a grade's numbers stay in the cache */

/* out_g = sum over blades b of grade g of signs_b x_b y_b */
void grades_of_products(const real *x, const real *y, const real *signs, const int64_t *bounds, real *out, int64_t grades,
                        int64_t columns, int64_t threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t from = 0; from < columns; from += COLUMNS)
        for (int64_t grade = 0; grade < grades; grade++) {
            int64_t n = least_count(COLUMNS, columns - from);
            real *to = out + grade * columns + from;
            memset(to, 0, n * sizeof(real));
            for (int64_t blade = bounds[grade]; blade < bounds[grade + 1]; blade++) {
                const real *a = x + blade * columns + from, *b = y + blade * columns + from, sign = signs[blade];
#pragma omp simd
                for (int64_t k = 0; k < n; k++) to[k] += sign * a[k] * b[k];
            }
        }
}

/* out_b = signs_b factor_g x_b, g being the grade of the blade b */
void scaled_by_grade(const real *x, const real *factor, const real *signs, const int64_t *bounds, real *out, int64_t grades,
                     int64_t columns, int64_t threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
    for (int64_t from = 0; from < columns; from += COLUMNS)
        for (int64_t grade = 0; grade < grades; grade++) {
            int64_t n = least_count(COLUMNS, columns - from);
            const real *by = factor + grade * columns + from;
            for (int64_t blade = bounds[grade]; blade < bounds[grade + 1]; blade++) {
                const real *a = x + blade * columns + from, sign = signs[blade];
                real *to = out + blade * columns + from;
#pragma omp simd
                for (int64_t k = 0; k < n; k++) to[k] = sign * by[k] * a[k];
            }
        }
}
