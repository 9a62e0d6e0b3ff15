/* The compiled kernels: affine, rational splines, monotone networks and polynomials, linear maps and perceptrons, forward, inverse and backward, in float and double, on (rows, elements);
 * and rows that follow a velocity field.
 *
 * Plain C with no dependency. The same text is compiled for each instruction set and the best for the CPU at hand is chosen when
 * the library is loaded. Loops run over T lanes at a time, always all of them, and -ffp-contract is off, so a value does not depend
 * on where in a batch it stands. Threads are those of the OpenMP runtime that PyTorch has loaded, handed over by `use_threads`.
 */
#define _GNU_SOURCE
#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifndef M_PI
#define M_PI 3.14159265358979323846
#endif

#if defined(_WIN32)
#define EXPORT __declspec(dllexport)
#else
#define EXPORT __attribute__((visibility("default")))
#endif

#define INLINE static inline __attribute__((always_inline))
/* -O3 unrolls and unswitches the long loops of a spline until they run a tenth slower; the short ones of `dots` need it. */
#if defined(__GNUC__) && !defined(__clang__)
#define LONG_LOOPS __attribute__((optimize("O2,tree-vectorize")))
#else
#define LONG_LOOPS
#endif
#define T 32
#define LANES for (int i = 0; i < T; i++)

#define NEAR_BOUND 80 /* log-scales up to it cannot leave the range of a float */

#define PLACE(i, j) ((i) * ((i) - 1) / 2 + (j)) /* entry (i, j), i > j, of a triangle that stands row by row */
#define ROW_BOUND 2.0 /* as in kernels/linear.py */
#define LINE 64 /* bytes of a line of the cache, and more than a vector has */
#define PART 8 /* lanes of a sum over rows; they are added up at the end */
#define PARTS for (int i = 0; i < PART; i++)

typedef int64_t Int;

#define INDICES(block) ((const Int *)(block).at)

#include "layout.h"

static int is_spline(const Kind *kind) { return kind->code == QUADRATIC_SPLINE || kind->code == LINEAR_SPLINE; }
static int is_monotone(const Kind *kind) { return kind->code >= MONOTONIC_NETWORK; }
static int is_sigmoids(const Kind *kind) { return kind->code == DEEP_SIGMOID || kind->code == DEEP_TANH; }
static int is_squares(const Kind *kind) { return kind->code == SUM_OF_SQUARES || kind->code == GENTLE_SUM_OF_SQUARES; }
static int is_gentle(const Kind *kind) { return kind->code == GENTLE_SUM_OF_SQUARES || kind->code == GENTLE_BERNSTEIN; }

static Int parameters_of(const Kind *kind) {
  const Int bins = kind->bins;
  switch (kind->code) {
    case AFFINE: return 2;
    case QUADRATIC_SPLINE: return 3 * bins - 1;
    case LINEAR_SPLINE: return 4 * bins - 1;
    case MONOTONIC_NETWORK: return 3 * bins + 2;
    case DEEP_SIGMOID: case DEEP_TANH: return 3 * bins;
    case SUM_OF_SQUARES: case GENTLE_SUM_OF_SQUARES: return kind->parts * (bins + 1) + 1;
    case BERNSTEIN: case GENTLE_BERNSTEIN: return bins - 1;
    default: return bins - 4;
  }
}

/* Of a monotone map: how many numbers its bounded parameters are, and how many `curve` keeps for a gradient, or works in. */
#define PANEL_NODES 8
static Int bounded_of(const Kind *kind) { return kind->code >= BERNSTEIN ? kind->bins + 1 : parameters_of(kind); }
static Int tape_of(const Kind *kind) {
  if (kind->code == MONOTONIC_NETWORK) return PANEL_NODES * kind->parts * (kind->bins + 2);
  return is_sigmoids(kind) ? 2 * kind->bins + 6 : is_squares(kind) ? 2 : 2 * kind->bins + 2;
}

/* Rows of T doubles that a kernel needs to work: of a spline the sizes of all bins and their sums. */
static Int space_of(const Kind *kind) {
  return is_monotone(kind) ? 2 * (parameters_of(kind) + bounded_of(kind)) + tape_of(kind) : 4 * kind->bins + 4;
}

/* Rows of sums that are collected where all rows share their parameters: of their gradient, or of what a spline makes it from. */
static Int sums_of_shared(const Kind *kind) { return is_spline(kind) ? 6 * kind->bins + 3 : parameters_of(kind); }

/* Value, slope and bend (the second derivative) of a monotone map. */
typedef struct {
  double y[T], slope[T], bend[T];
} Curve;

/* What a tile of rows in a velocity field works in: times and contexts that the net sees, and of each layer values, activations, slopes,
 * and along one axis the tangents of values and of activations. */
typedef struct {
  double *seen, *z[MAX_LAYERS], *h[MAX_LAYERS], *slope[MAX_LAYERS], *tangent[MAX_LAYERS], *moved[MAX_LAYERS];
} Field;

static Int padded(Int count, Int to) { return (count + to - 1) / to * to; }

/* Numbers in the sums of a layer's gradient: of its weights, then of its bias. */
static Int sums_of(const DenseLayer *d) { return (padded(d->inputs, 4) + 1) * padded(d->outputs, 2) * PART; }

typedef void (*Rows)(const void *job, Int start, Int stop, void *space);
typedef void (*Whole)(Net *);

#define JOIN_(a, b, c) a##_##b##_##c
#define JOIN(a, b, c) JOIN_(a, b, c)
#define FN(name) JOIN(name, PRECISION, SET)

#if defined(__aarch64__)
#define HAS_FMA
#endif
#include "gauss.h"

#define SET plain
#include "instruction_set.h"
#undef SET

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define WITH_AVX2
#define HAS_FMA
#define SET avx2
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#include "instruction_set.h"
#pragma clang attribute pop
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#include "instruction_set.h"
#pragma GCC pop_options
#endif
#undef SET
#endif

/* [set][precision][backward] */
#define BOTH(a, b, set) {{a##_float_##set, b##_float_##set}, {a##_double_##set, b##_double_##set}}
static const Rows ROWS[][2][2] = {
    BOTH(forward_rows, backward_rows, plain),
#ifdef WITH_AVX2
    BOTH(forward_rows, backward_rows, avx2),
#endif
};
static const Rows SWEEP_ROWS[][2][2] = {
    BOTH(sweep_rows, sweep_back_rows, plain),
#ifdef WITH_AVX2
    BOTH(sweep_rows, sweep_back_rows, avx2),
#endif
};

static const Rows LINEAR_ROWS[][2][2] = {
    BOTH(linear_rows, linear_back_rows, plain),
#ifdef WITH_AVX2
    BOTH(linear_rows, linear_back_rows, avx2),
#endif
};

static const Rows NET_ROWS[][2][2] = {
    BOTH(net_rows, net_back_rows, plain),
#ifdef WITH_AVX2
    BOTH(net_rows, net_back_rows, avx2),
#endif
};

static const Whole NET_WHOLE[][2][2] = {
    BOTH(pack, net_settle, plain),
#ifdef WITH_AVX2
    BOTH(pack, net_settle, avx2),
#endif
};

static const Rows FOLLOW_ROWS[] = {
    follow_rows_double_plain,
#ifdef WITH_AVX2
    follow_rows_double_avx2,
#endif
};

/* The instruction sets that there are, in the order of the tables above. */
static const char *const SETS[] = {"baseline", "avx2"};
static int chosen_set = -1;

static int has_set(int set) {
#ifdef WITH_AVX2
  __builtin_cpu_init();
  return set == 0 || (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"));
#else
  return set == 0;
#endif
}

/* Chooses an instruction set by its name, or (NULL) the best for the CPU at hand; returns its name, or NULL where it lacks it. */
EXPORT const char *pushforward_choose(const char *name) {
  for (int set = sizeof(SETS) / sizeof(*SETS) - 1; set >= 0; set--)
    if ((!name || !strcmp(name, SETS[set])) && has_set(set)) {
      chosen_set = set;
      return SETS[set];
    }
  return NULL;
}

/* GOMP_parallel of the OpenMP runtime that PyTorch uses: the same threads, so the two never compete for cores. */
typedef void (*Parallel)(void (*)(void *), void *, unsigned, unsigned);
static Parallel parallel = NULL;

EXPORT void pushforward_use_threads(void *function) { parallel = (Parallel)function; }

/* Threads take rows, `group` at a time, until there are none left. */
typedef struct {
  Rows rows_of;
  const void *job;
  Int rows, group, space, next, failed;
} Team;

/* Zeros from where a line of the cache begins: a vector that lies across two lines takes twice as long, and of what calloc gives every
 * second one would. `whole` is what to free. */
static void *lines(size_t count, size_t size, char **whole) {
  *whole = count > (SIZE_MAX - LINE) / size ? NULL : calloc(count * size + LINE, 1);
  return *whole ? *whole + (LINE - (uintptr_t)*whole % LINE) : NULL;
}

static void work(void *argument) {
  Team *team = argument;
  char *whole;
  void *space = lines((size_t)(team->space * T), sizeof(double), &whole); /* lanes that a short tile leaves out are zero, not anything */
  if (!space) {
    __atomic_store_n(&team->failed, 1, __ATOMIC_RELAXED);
    return;
  }
  for (;;) {
    const Int start = __atomic_fetch_add(&team->next, team->group, __ATOMIC_RELAXED);
    if (start >= team->rows) break;
    team->rows_of(team->job, start, team->rows - start < team->group ? team->rows : start + team->group, space);
  }
  free(whole);
}

static int run(Rows rows_of, const void *job, Int rows, Int group, Int space, Int threads) {
  Team team = {rows_of, job, rows, group, space, 0, 0};
  if (parallel && threads > 1) parallel(work, &team, (unsigned)threads, 0);
  else work(&team);
  return (int)team.failed;
}

#include "checks.h"

/* What the structs were when this was compiled. */
EXPORT const char *pushforward_layout(void) { return LAYOUT; }

/* All take a description of the call and how many bytes it has, and return 0 or what `pushforward_explain` tells. */
EXPORT int pushforward_elementwise(const Job *job, Int bytes) {
  const int refusal = check_elementwise(job, bytes);
  if (refusal) return refusal;
  const Int space = 2 * parameters_of(&job->kind) + sums_of_shared(&job->kind) + space_of(&job->kind);
  return run(ROWS[chosen_set][job->is_double][job->backward], job, job->rows, job->group, space, job->threads);
}

/* A linear map of rows: `bins` says whether it has a bias. */
EXPORT int pushforward_linear(const Job *job, Int bytes) {
  const int refusal = check_linear(job, bytes);
  if (refusal) return refusal;
  const Int size = job->elements, factors = size * size + 3 * size, sums = job->backward ? (size * size + 2 * size) * PART : 0;
  const Int space = 3 * size + 1 + (factors + sums) / T;
  return run(LINEAR_ROWS[chosen_set][job->is_double][job->backward], job, job->rows, job->group, space, job->threads);
}

EXPORT int pushforward_sweep(const Sweep *sweep, Int bytes) {
  const int refusal = check_sweep(sweep, bytes);
  if (refusal) return refusal;
  const Int count = parameters_of(&sweep->kind);
  Int space = 8 + space_of(&sweep->kind) + count + sweep->elements * (sweep->backward ? count : 1);
  for (Int l = 0; l < sweep->layers; l++) space += 2 * sweep->layer[l].width;
  return run(SWEEP_ROWS[chosen_set][sweep->is_double][sweep->backward], sweep, sweep->rows, T, space, sweep->threads);
}

EXPORT int pushforward_perceptron(const Net *given, Int bytes) {
  const int refusal = check_perceptron(given, bytes);
  if (refusal) return refusal;
  Net net;
  memcpy(&net, given, (size_t)bytes); /* there is no more of it */
  const Int size = net.is_double ? sizeof(double) : sizeof(float), parts = net.rows ? (net.rows - 1) / net.group + 1 : 1;
  Int weights = 0, ranges = 0, space = 2 * (net.inputs + net.contexts) + 4, sums = 0;
  net.part = 0;
  for (Int l = 0; l <= net.layers; l++) {
    const DenseLayer *d = &net.layer[l];
    weights += d->inputs * d->outputs;
    ranges += 2 * (d->inputs + d->outputs);
    space += 3 * d->outputs + 8;
    net.part += sums_of(d);
  }
  if (net.backward && __builtin_mul_overflow(parts, net.part, &sums)) return MEMORY;
  char *room = malloc((size_t)(2 * weights * size + ranges * (Int)sizeof(Int)));
  char *whole = NULL;
  net.sums = net.backward ? lines((size_t)sums, (size_t)size, &whole) : NULL;
  if (!room || (net.backward && !net.sums)) {
    free(room);
    free(whole);
    return MEMORY;
  }
  Int *next = (Int *)room;
  for (Int l = 0; l <= net.layers; l++) {
    DenseLayer *d = &net.layer[l];
    d->seen = next;
    d->seeing = next + 2 * d->outputs;
    next += 2 * (d->inputs + d->outputs);
  }
  char *matrix = (char *)next;
  for (Int l = 0; l <= net.layers; l++) {
    DenseLayer *d = &net.layer[l];
    d->matrix = matrix;
    d->transposed = matrix + d->inputs * d->outputs * size;
    matrix += 2 * d->inputs * d->outputs * size;
  }
  NET_WHOLE[chosen_set][net.is_double][0](&net);
  const int failed = run(NET_ROWS[chosen_set][net.is_double][net.backward], &net, net.rows, net.group, space, net.threads);
  if (net.backward && !failed) NET_WHOLE[chosen_set][net.is_double][1](&net);
  free(whole);
  free(room);
  return failed;
}

EXPORT int pushforward_follow(const Follow *follow, Int bytes) {
  const int refusal = check_follow(follow, bytes);
  if (refusal) return refusal;
  Int space = (follow->inputs + 1) * (3 + follow->stages) + 2 * follow->frequencies + follow->contexts;
  for (Int l = 0; l < follow->layers; l++) space += 5 * follow->layer[l].outputs;
  return run(FOLLOW_ROWS[chosen_set], follow, follow->rows, follow->group, space, follow->threads);
}
