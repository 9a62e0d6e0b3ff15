/* y = L D U x + b on rows of numbers, with L and U unit triangular: kernels/linear.py is the reference.
 *
 * T rows run side by side, feature-major: [feature][T], in double whatever they came in, so that each direction rounds once, at the end:
 * products and solutions lose by the condition of the matrix what they round. Entries stand as the parameters do, L row by row and U column by column, so
 * entry (i, j), i > j, of L and of U transposed is at PLACE(i, j).
 */

#ifdef HAS_FMA
#define FINE_FMA(a, b, c) __builtin_fma(a, b, c)
#else
#define FINE_FMA(a, b, c) ((a) * (b) + (c))
#endif

/* The factors in a work space, and what is left of it. */
typedef struct {
  double *lower, *upper, *log_scale, *scale, *unscale, *rest;
} FN(Factors);

/* A row of a triangle is a / sqrt(1 + |a|^2 / ROW_BOUND^2); this is what it is divided by, inverted. */
INLINE double FN(shrinks)(const REAL *row, Int length) {
  double square = 0;
  for (Int k = 0; k < length; k++) square += (double)row[k] * (double)row[k];
  return 1 / sqrt(1 + square / (ROW_BOUND * ROW_BOUND));
}

static FN(Factors) FN(factors)(const Job *job, double *space) {
  const Int size = job->elements, triangle = PLACE(size, 0);
  const REAL *theta = job->theta.at;
  const double of_scale = 2 * job->kind.bound / M_PI;
  double *scales = space + 2 * triangle;
  for (Int half = 0; half < 2 * triangle; half += triangle)
    for (Int i = 1; i < size; i++) {
      const REAL *raw = theta + half + PLACE(i, 0);
      const double factor = FN(shrinks)(raw, i);
      for (Int j = 0; j < i; j++) space[half + PLACE(i, j)] = factor * (double)raw[j];
    }
  for (Int k = 0; k < size; k++) {
    scales[k] = of_scale * atan((double)theta[2 * triangle + k] / of_scale);
    scales[size + k] = exp(scales[k]);
    scales[2 * size + k] = exp(-scales[k]);
  }
  return (FN(Factors)){space, space + triangle, scales, scales + size, scales + 2 * size, scales + 3 * size};
}

/* Multiplies planes by a unit triangle, or its transpose, or solves with it, in place. The order is that in which what is read is still
 * old (a product) or already new (a solution). */
INLINE void FN(triangle)(const double *restrict entries, Int size, const int transposed, const int solve, double *planes) {
  for (Int step = 0; step < size; step++) {
    const Int at = transposed ^ solve ? step : size - 1 - step;
    const Int from = transposed ? at + 1 : 0, to = transposed ? size : at;
    double sum[T], *restrict out = planes + at * T;
    LANES { sum[i] = out[i]; }
    for (Int k = from; k < to; k++) {
      const double entry = entries[transposed ? PLACE(k, at) : PLACE(at, k)], signed_entry = solve ? -entry : entry;
      const double *restrict value = planes + k * T;
      LANES { sum[i] = FINE_FMA(signed_entry, value[i], sum[i]); }
    }
    LANES { out[i] = sum[i]; }
  }
}

INLINE void FN(scaled)(const double *restrict scale, Int size, double *restrict planes) {
  for (Int k = 0; k < size; k++) LANES { planes[k * T + i] *= scale[k]; }
}

/* Adds a_i b_j, for all i > j, to sums of PART lanes. */
INLINE void FN(outer)(const double *restrict a, const double *restrict b, Int size, double *restrict sums) {
  for (Int row = 1; row < size; row++)
    for (Int column = 0; column < row; column++) {
      const double *restrict p = a + row * T, *restrict q = b + column * T;
      double *restrict sum = sums + PLACE(row, column) * PART;
      for (int lane = 0; lane < PART; lane++)
        sum[lane] += (p[lane] * q[lane] + p[lane + PART] * q[lane + PART]) +
                     (p[lane + 2 * PART] * q[lane + 2 * PART] + p[lane + 3 * PART] * q[lane + 3 * PART]);
    }
}

INLINE void FN(add_lanes)(const double *restrict plane, double *restrict sum) {
  for (int lane = 0; lane < PART; lane++) sum[lane] += (plane[lane] + plane[lane + PART]) + (plane[lane + 2 * PART] + plane[lane + 3 * PART]);
}

static void FN(rows_in)(const void *source, Int stride, Int start, Int rows, Int size, double *planes) {
  const REAL *first = (const REAL *)source + start * stride;
  for (Int k = 0; k < size; k++) LANES { planes[k * T + i] = i < rows ? (double)first[i * stride + k] : 0; }
}

/* A number that is not finite leaves its row none that is: zero times it is NaN. */
static void FN(spread)(Int size, double *planes) {
  double sum[T];
  int spoiled = 0;
  LANES { sum[i] = 0; }
  for (Int k = 0; k < size; k++) LANES { sum[i] += 0 * planes[k * T + i]; }
  LANES { spoiled |= !(sum[i] == 0); }
  for (Int k = 0; spoiled && k < size; k++) LANES { planes[k * T + i] += sum[i]; }
}

static void FN(rows_out)(const double *planes, Int start, Int rows, Int size, void *target) {
  REAL *first = (REAL *)target + start * size;
  for (Int k = 0; k < size; k++)
    for (Int i = 0; i < rows; i++) first[i * size + k] = (REAL)planes[k * T + i];
}

/* Rows [start, stop) of value and ladj. */
static void FN(linear_rows)(const void *argument, Int start, Int stop, void *space) {
  const Job *job = argument;
  const Int size = job->elements;
  const FN(Factors) f = FN(factors)(job, space);
  const REAL *loc = job->kind.bins ? (const REAL *)job->theta.at + 2 * PLACE(size, 0) + size : NULL;
  double *planes = f.rest;
  double total = 0;
  for (Int k = 0; k < size; k++) total += f.log_scale[k];
  const REAL ladj = (REAL)(job->kind.inverse ? -total : total);
  for (Int row = start; row < stop; row += T) {
    const Int rows = stop - row < T ? stop - row : T;
    FN(rows_in)(job->x.at, job->x.stride, row, rows, size, planes);
    FN(spread)(size, planes);
    if (job->kind.inverse) {
      if (loc)
        for (Int k = 0; k < size; k++) LANES { planes[k * T + i] -= (double)loc[k]; }
      FN(triangle)(f.lower, size, 0, 1, planes);
      FN(scaled)(f.unscale, size, planes);
      FN(triangle)(f.upper, size, 1, 1, planes);
    } else {
      FN(triangle)(f.upper, size, 1, 0, planes);
      FN(scaled)(f.scale, size, planes);
      FN(triangle)(f.lower, size, 0, 0, planes);
      if (loc)
        for (Int k = 0; k < size; k++) LANES { planes[k * T + i] += (double)loc[k]; }
    }
    FN(rows_out)(planes, row, rows, size, job->out.at);
    for (Int r = row; r < row + rows; r++) ((REAL *)job->ladj.at)[r] = ladj;
  }
}

/* Rows [start, stop) of the gradients, those of the parameters summed over these rows. With w = U x, v = D w and y = L v + b, and x the
 * base side whichever way the layer ran: forward, gv = L' gy and gx = U' D gv; inverse, gw = U'^-1 gx and gy = L'^-1 D^-1 gw. */
static void FN(linear_back_rows)(const void *argument, Int start, Int stop, void *space) {
  const Job *job = argument;
  const Int size = job->elements, triangle = PLACE(size, 0), inverse = job->kind.inverse;
  const FN(Factors) f = FN(factors)(job, space);
  double *x = f.rest, *v = x + size * T, *g = v + size * T, *sums = g + size * T;
  double *of_lower = sums, *of_upper = sums + triangle * PART, *of_scale = of_upper + triangle * PART, *of_loc = of_scale + size * PART;
  memset(sums, 0, (size_t)((2 * triangle + 2 * size) * PART) * sizeof(double));
  double of_ladj = 0;
  for (Int row = start; row < stop; row += T) {
    const Int rows = stop - row < T ? stop - row : T;
    FN(rows_in)(job->x.at, job->x.stride, row, rows, size, x);
    FN(spread)(size, x);
    FN(rows_in)(job->g.at, job->g.stride, row, rows, size, g);
    for (Int r = row; r < row + rows; r++) of_ladj += (double)((const REAL *)job->gl.at)[r * job->gl.stride];
    memcpy(v, x, (size_t)(size * T) * sizeof(double));
    FN(triangle)(f.upper, size, 1, 0, v);
    FN(scaled)(f.scale, size, v);
    if (inverse) {
      FN(triangle)(f.upper, size, 0, 1, g);
      FN(outer)(x, g, size, of_upper);
      FN(scaled)(f.unscale, size, g);
      for (Int k = 0; k < size; k++) { /* gw w = gv v */
        double product[T];
        LANES { product[i] = g[k * T + i] * v[k * T + i]; }
        FN(add_lanes)(product, of_scale + k * PART);
      }
      FN(triangle)(f.lower, size, 1, 1, g);
      FN(outer)(g, v, size, of_lower);
      for (Int k = 0; k < size; k++) FN(add_lanes)(g + k * T, of_loc + k * PART);
    } else {
      for (Int k = 0; k < size; k++) FN(add_lanes)(g + k * T, of_loc + k * PART);
      FN(outer)(g, v, size, of_lower);
      FN(triangle)(f.lower, size, 1, 0, g);
      for (Int k = 0; k < size; k++) {
        double product[T];
        LANES { product[i] = g[k * T + i] * v[k * T + i]; }
        FN(add_lanes)(product, of_scale + k * PART);
      }
      FN(scaled)(f.scale, size, g);
      FN(outer)(x, g, size, of_upper);
      FN(triangle)(f.upper, size, 0, 0, g);
    }
    FN(rows_out)(g, row, rows, size, job->out.at);
  }
  /* In the order of the parameters: both triangles, scales, locations. */
  const REAL *theta = job->theta.at;
  const double scale = M_PI / (2 * job->kind.bound), sign = inverse ? -1 : 1;
  const Int count = 2 * triangle + size + (job->kind.bins ? size : 0);
  REAL *out = (REAL *)job->gtheta.at + start / job->group * count;
  for (Int k = 0; k < count; k++) {
    double *s = sums + k * PART, turned = scale * (double)theta[k];
    s[0] = ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
    if (k >= 2 * triangle && k < 2 * triangle + size) s[0] = (s[0] + of_ladj) / (1 + turned * turned);
    out[k] = (REAL)(sign * s[0]);
  }
  /* Through the rows' lengths. */
  for (Int half = 0; half < 2 * triangle; half += triangle)
    for (Int i = 1; i < size; i++) {
      const Int first = half + PLACE(i, 0);
      const double factor = FN(shrinks)(theta + first, i);
      double along = 0;
      for (Int j = first; j < first + i; j++) along += (double)theta[j] * sums[j * PART];
      along *= factor * factor / (ROW_BOUND * ROW_BOUND);
      for (Int j = first; j < first + i; j++) out[j] = (REAL)(sign * factor * (sums[j * PART] - along * (double)theta[j]));
    }
}

#undef FINE_FMA
