/* Messages along edges, without a tensor of messages: see kernels/gather_scale_scatter.py.

   Registers keep up to BLOCK lanes of a row while the edges that follow each other have the same destination. */
#include "lanes.h"

#define BLOCK 8

/* The same loop for a width that the compiler knows, and then keeps in registers, or for any. */
#define FOR_WIDTH(width, function, ...)                          \
    if (width == LANES) function(LANES, __VA_ARGS__);            \
    else if (width == 2 * LANES) function(2 * LANES, __VA_ARGS__); \
    else if (width == 4 * LANES) function(4 * LANES, __VA_ARGS__); \
    else if (width == BLOCK * LANES) function(BLOCK * LANES, __VA_ARGS__); \
    else function(width, __VA_ARGS__);

typedef struct {
    const int64_t *from, *to;
    int64_t edges, nodes, size, channels, each; /* each: a weight for each channel (1), or one for all (0) */
} graph;

/* Weights of `width` channels of an edge that begin at channel c. */
INLINE lanes weights(const real *weight, const graph *g, int64_t e, int64_t c, int64_t left) {
    return g->each ? load(weight + e * g->channels + c, left) : weight[e] + (lanes){0};
}

/* Sums at the destinations first to end, of channels c to c + width, up to an edge whose ends do not exist: whether there is one. */
INLINE int messages(int64_t width, const graph *g, const real *x, const real *weight, real *out, int64_t c, int64_t first,
                     int64_t end) {
    lanes sums[BLOCK];
    real *row = 0;
    for (int64_t e = 0; e < g->edges; e++) {
        if ((uint64_t)g->from[e] >= (uint64_t)g->nodes || (uint64_t)g->to[e] >= (uint64_t)g->size) return 1;
        if (g->to[e] < first || g->to[e] >= end) continue;
        real *mine = out + g->to[e] * g->channels + c;
        if (mine != row) {
            for (int64_t i = 0; row && i < width; i += LANES) store(row + i, sums[i / LANES], width - i);
            for (int64_t i = 0; i < width; i += LANES) sums[i / LANES] = load(mine + i, width - i);
            row = mine;
        }
        const real *source = x + g->from[e] * g->channels + c;
        for (int64_t i = 0; i < width; i += LANES)
            sums[i / LANES] += weights(weight, g, e, c + i, width - i) * load(source + i, width - i);
    }
    for (int64_t i = 0; row && i < width; i += LANES) store(row + i, sums[i / LANES], width - i);
    return 0;
}

/* Every thread has destinations of its own, and takes their edges in order: sums don't depend on how many threads there are.
   Gives 1, and sums that are not whole, if an edge's end does not exist. */
int64_t gather_scale_scatter(const real *x, const real *weight, const int64_t *edge_index, real *out, int64_t edges,
                             int64_t nodes, int64_t size, int64_t channels, int64_t each, int64_t threads) {
    graph g = {edge_index, edge_index + edges, edges, nodes, size, channels, each};
    int64_t wrong = 0;
    FOR_PARTS {
        int64_t first = BEGIN(size), end = END(size);
        memset(out + first * channels, 0, (end - first) * channels * sizeof(real));
        for (int64_t c = 0; c < channels; c += BLOCK * LANES) {
            int64_t width = least_count(BLOCK * LANES, channels - c);
            int found = 0;
            FOR_WIDTH(width, found = messages, &g, x, weight, out, c, first, end)
            if (found) {
#pragma omp atomic write
                wrong = 1;
            }
        }
    }
    return wrong;
}

/* What a weight for each channel and its edge's source get of the gradients at destinations. */
INLINE void gradients(int64_t width, const graph *g, const real *gradient, const real *x, const real *weight, real *by_x,
                      real *by_weight, int64_t c, int64_t first, int64_t end, int past) {
    lanes at_end[BLOCK];
    int64_t current = -1;
    for (int64_t e = 0; e < g->edges; e++) {
        int64_t from = g->from[e] * g->channels + c, here = e * g->channels + c;
        if (g->from[e] < first || g->from[e] >= end) continue;
        if (g->to[e] != current) {
            current = g->to[e];
            for (int64_t i = 0; i < width; i += LANES)
                at_end[i / LANES] = load(gradient + current * g->channels + c + i, width - i);
        }
        for (int64_t i = 0; by_x && i < width; i += LANES) {
            lanes sum = load(by_x + from + i, width - i) + load(weight + here + i, width - i) * at_end[i / LANES];
            store(by_x + from + i, sum, width - i);
        }
        for (int64_t i = 0; by_weight && i < width; i += LANES) {
            lanes product = at_end[i / LANES] * load(x + from + i, width - i);
            if (width - i >= LANES) put(by_weight + here + i, product, past);
            else store(by_weight + here + i, product, width - i);
        }
    }
}

typedef struct {
    uint32_t e, to; /* four thousand million edges are more than memory holds rows for */
} edge;

/* Edges listed by their sources, and where each source's begin. */
typedef struct {
    int64_t *begin;
    edge *edges;
} fans;

/* The same for one weight an edge, whose memory hardly counts: edges come by their sources, so that registers keep these, and
   what is at a destination is gathered once for both. */
INLINE void shared_gradients(int64_t width, const graph *g, const fans *by, const real *gradient, const real *x,
                             const real *weight, real *by_x, real *by_weight, int64_t c, int64_t first, int64_t end) {
    for (int64_t node = first; node < end; node++) {
        lanes here[BLOCK], sums[BLOCK];
        for (int64_t i = 0; i < width; i += LANES) {
            here[i / LANES] = load(x + node * g->channels + c + i, width - i);
            sums[i / LANES] = (lanes){0};
        }
        for (int64_t k = by->begin[node]; k < by->begin[node + 1]; k++) {
            int64_t e = by->edges[k].e;
            const real *there = gradient + by->edges[k].to * g->channels + c;
            lanes product = {0};
            for (int64_t i = 0; i < width; i += LANES) {
                lanes value = load(there + i, width - i);
                sums[i / LANES] += weight[e] * value;
                product += here[i / LANES] * value;
            }
            if (by_weight) by_weight[e] = (c ? by_weight[e] : 0) + sum_of(product);
        }
        for (int64_t i = 0; by_x && i < width; i += LANES) store(by_x + node * g->channels + c + i, sums[i / LANES], width - i);
    }
}

static fans by_sources(const graph *g, int64_t size) {
    fans by = {calloc(size + 1, sizeof(int64_t)), malloc((g->edges + 1) * sizeof(edge))};
    for (int64_t e = 0; e < g->edges; e++) by.begin[g->from[e]]++;
    for (int64_t node = 0, sum = 0; node <= size; node++) {
        int64_t count = by.begin[node];
        by.begin[node] = sum;
        sum += count;
    }
    for (int64_t e = 0; e < g->edges; e++) by.edges[by.begin[g->from[e]]++] = (edge){e, g->to[e]};
    memmove(by.begin + 1, by.begin, size * sizeof(int64_t)); /* each stands where the next begins */
    by.begin[0] = 0;
    return by;
}

/* Every thread has sources of its own, and takes their edges in order. */
void gather_scale_scatter_backward(const real *gradient, const real *x, const real *weight, const int64_t *edge_index,
                                   real *by_x, real *by_weight, int64_t edges, int64_t size, int64_t channels, int64_t each,
                                   int64_t threads) {
    graph g = {edge_index, edge_index + edges, edges, size, 0, channels, each};
    int past = can_put_past(by_weight, edges * channels) && channels % LANES == 0;
    fans by = each ? (fans){0} : by_sources(&g, size);
    FOR_PARTS {
        int64_t first = BEGIN(size), end = END(size);
        if (each && by_x) memset(by_x + first * channels, 0, (end - first) * channels * sizeof(real));
        for (int64_t c = 0; c < channels; c += BLOCK * LANES) {
            int64_t width = least_count(BLOCK * LANES, channels - c);
            if (each) {
                FOR_WIDTH(width, gradients, &g, gradient, x, weight, by_x, by_weight, c, first, end, past)
            } else {
                FOR_WIDTH(width, shared_gradients, &g, &by, gradient, x, weight, by_x, by_weight, c, first, end)
            }
        }
    }
    free(by.begin);
    free(by.edges);
}
