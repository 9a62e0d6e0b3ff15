/* y = L D U x + b on rows of numbers, with L and U unit triangular: kernels/linear.py is the reference.
 *
 * T rows run side by side, feature-major: [feature][T]. Entries stand as the parameters do, L row by row and U column by column, so
 * entry (i, j), i > j, of L and of U transposed is at PLACE(i, j).
 */

/* The factors in a work space, and what is left of it. */
typedef struct {
  REAL *lower, *upper, *log_scale, *scale, *unscale, *rest;
} FN(Factors);

static FN(Factors) FN(factors)(const Job *job, REAL *space) {
  const Int size = job->sites, triangle = PLACE(size, 0);
  const REAL *theta = job->theta, bound = (REAL)(2 * ENTRY_BOUND / M_PI), of_scale = (REAL)(2 * job->kind.bound / M_PI);
  REAL *scales = space + 2 * triangle;
  for (Int k = 0; k < 2 * triangle; k++) space[k] = FN(soft)(theta[k], bound, 1 / bound);
  for (Int k = 0; k < size; k++) {
    scales[k] = FN(soft)(theta[2 * triangle + k], of_scale, 1 / of_scale);
    scales[size + k] = FN(exp_any)(scales[k]);
    scales[2 * size + k] = FN(exp_any)(-scales[k]);
  }
  return (FN(Factors)){space, space + triangle, scales, scales + size, scales + 2 * size, scales + 3 * size};
}

/* Multiplies planes by a unit triangle, or its transpose, or solves with it, in place. The order is that in which what is read is still
 * old (a product) or already new (a solution). */
INLINE void FN(triangle)(const REAL *restrict entries, Int size, const int transposed, const int solve, REAL *planes) {
  for (Int step = 0; step < size; step++) {
    const Int at = transposed ^ solve ? step : size - 1 - step;
    const Int from = transposed ? at + 1 : 0, to = transposed ? size : at;
    REAL sum[T], *restrict out = planes + at * T;
    LANES { sum[i] = out[i]; }
    for (Int k = from; k < to; k++) {
      const REAL entry = entries[transposed ? PLACE(k, at) : PLACE(at, k)], signed_entry = solve ? -entry : entry;
      const REAL *restrict value = planes + k * T;
      LANES { sum[i] = FMA(signed_entry, value[i], sum[i]); }
    }
    LANES { out[i] = sum[i]; }
  }
}

INLINE void FN(scaled)(const REAL *restrict scale, Int size, REAL *restrict planes) {
  for (Int k = 0; k < size; k++) LANES { planes[k * T + i] *= scale[k]; }
}

/* Adds a_i b_j, for all i > j, to sums of PART lanes. */
INLINE void FN(outer)(const REAL *restrict a, const REAL *restrict b, Int size, REAL *restrict sums) {
  for (Int row = 1; row < size; row++)
    for (Int column = 0; column < row; column++) {
      const REAL *restrict p = a + row * T, *restrict q = b + column * T;
      REAL *restrict sum = sums + PLACE(row, column) * PART;
      for (int lane = 0; lane < PART; lane++)
        sum[lane] += (p[lane] * q[lane] + p[lane + PART] * q[lane + PART]) +
                     (p[lane + 2 * PART] * q[lane + 2 * PART] + p[lane + 3 * PART] * q[lane + 3 * PART]);
    }
}

INLINE void FN(add_lanes)(const REAL *restrict plane, REAL *restrict sum) {
  for (int lane = 0; lane < PART; lane++) sum[lane] += (plane[lane] + plane[lane + PART]) + (plane[lane + 2 * PART] + plane[lane + 3 * PART]);
}

static void FN(rows_in)(const void *source, Int stride, Int start, Int rows, Int size, REAL *planes) {
  for (Int k = 0; k < size; k++) FN(column_in)((const REAL *)source + start * stride + k, stride, rows, planes + k * T);
}

static void FN(rows_out)(const REAL *planes, Int start, Int rows, Int size, void *target) {
  for (Int k = 0; k < size; k++) FN(column_out)(planes + k * T, rows, (REAL *)target + start * size + k, size);
}

/* Rows [start, stop) of value and ladj. */
static void FN(linear_rows)(const Job *job, Int start, Int stop, void *space) {
  const Int size = job->sites;
  const FN(Factors) f = FN(factors)(job, space);
  const REAL *loc = job->kind.bins ? (const REAL *)job->theta + 2 * PLACE(size, 0) + size : NULL;
  REAL *planes = f.rest;
  double total = 0;
  for (Int k = 0; k < size; k++) total += (double)f.log_scale[k];
  const REAL ladj = (REAL)(job->kind.inverse ? -total : total);
  for (Int row = start; row < stop; row += T) {
    const Int rows = stop - row < T ? stop - row : T;
    FN(rows_in)(job->x, job->x_stride, row, rows, size, planes);
    if (job->kind.inverse) {
      if (loc)
        for (Int k = 0; k < size; k++) LANES { planes[k * T + i] -= loc[k]; }
      FN(triangle)(f.lower, size, 0, 1, planes);
      FN(scaled)(f.unscale, size, planes);
      FN(triangle)(f.upper, size, 1, 1, planes);
    } else {
      FN(triangle)(f.upper, size, 1, 0, planes);
      FN(scaled)(f.scale, size, planes);
      FN(triangle)(f.lower, size, 0, 0, planes);
      if (loc)
        for (Int k = 0; k < size; k++) LANES { planes[k * T + i] += loc[k]; }
    }
    FN(rows_out)(planes, row, rows, size, job->out);
    for (Int r = row; r < row + rows; r++) ((REAL *)job->ladj)[r] = ladj;
  }
}

/* Rows [start, stop) of the gradients, those of the parameters summed over these rows. With w = U x, v = D w and y = L v + b, and x the
 * base side whichever way the layer ran: forward, gv = L' gy and gx = U' D gv; inverse, gw = U'^-1 gx and gy = L'^-1 D^-1 gw. */
static void FN(linear_back_rows)(const Job *job, Int start, Int stop, void *space) {
  const Int size = job->sites, triangle = PLACE(size, 0), inverse = job->kind.inverse;
  const FN(Factors) f = FN(factors)(job, space);
  REAL *x = f.rest, *v = x + size * T, *g = v + size * T, *sums = g + size * T;
  REAL *of_lower = sums, *of_upper = sums + triangle * PART, *of_scale = of_upper + triangle * PART, *of_loc = of_scale + size * PART;
  memset(sums, 0, (size_t)((2 * triangle + 2 * size) * PART) * sizeof(REAL));
  double of_ladj = 0;
  for (Int row = start; row < stop; row += T) {
    const Int rows = stop - row < T ? stop - row : T;
    FN(rows_in)(job->x, job->x_stride, row, rows, size, x);
    FN(rows_in)(job->g, job->g_stride, row, rows, size, g);
    for (Int r = row; r < row + rows; r++) of_ladj += (double)((const REAL *)job->gl)[r * job->gl_stride];
    memcpy(v, x, (size_t)(size * T) * sizeof(REAL));
    FN(triangle)(f.upper, size, 1, 0, v);
    FN(scaled)(f.scale, size, v);
    if (inverse) {
      FN(triangle)(f.upper, size, 0, 1, g);
      FN(outer)(x, g, size, of_upper);
      FN(scaled)(f.unscale, size, g);
      for (Int k = 0; k < size; k++) { /* gw w = gv v */
        REAL product[T];
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
        REAL product[T];
        LANES { product[i] = g[k * T + i] * v[k * T + i]; }
        FN(add_lanes)(product, of_scale + k * PART);
      }
      FN(scaled)(f.scale, size, g);
      FN(outer)(x, g, size, of_upper);
      FN(triangle)(f.upper, size, 0, 0, g);
    }
    FN(rows_out)(g, row, rows, size, job->out);
  }
  /* In the order of the parameters: both triangles, scales, locations. */
  const REAL *theta = job->theta, entry = (REAL)(M_PI / (2 * ENTRY_BOUND)), scale = (REAL)(M_PI / (2 * job->kind.bound));
  const REAL sign = inverse ? (REAL)-1 : (REAL)1;
  const Int count = 2 * triangle + size + (job->kind.bins ? size : 0);
  REAL *out = (REAL *)job->gtheta + start / job->group * count;
  for (Int k = 0; k < count; k++) {
    const REAL *s = sums + k * PART;
    REAL sum = ((s[0] + s[4]) + (s[2] + s[6])) + ((s[1] + s[5]) + (s[3] + s[7]));
    if (k < 2 * triangle) sum *= FN(soft_slope)(theta[k], entry);
    else if (k < 2 * triangle + size) sum = (sum + (REAL)of_ladj) * FN(soft_slope)(theta[k], scale);
    out[k] = sign * sum;
  }
}
