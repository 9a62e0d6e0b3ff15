/* Perceptrons, masked or not, on T rows at a time, feature-major: [unit][T]. A layer takes the activations of an earlier one, or what
 * comes in: inputs, then the context. For the gradient the hidden values are computed again, so nothing is kept that grows with the rows.
 */

/* Whether all of `count` numbers are finite: any other, taken from itself, leaves NaN. */
static int FN(finite)(const REAL *numbers, Int count) {
  REAL sum[T];
  Int k = 0;
  LANES { sum[i] = 0; }
  for (; k + T <= count; k += T) LANES { sum[i] += numbers[k + i] - numbers[k + i]; }
  for (; k < count; k++) sum[0] += numbers[k] - numbers[k];
  int all = 1;
  LANES { all &= sum[i] == 0; }
  return all;
}

/* Rows [first, last) of the product with a matrix, each between where its weights begin and end, added to out; or `all` of it, where a
 * value may not be finite, since zero times infinity, or NaN, is NaN. */
static void FN(dots_within)(const REAL *matrix, Int width, Int count, const Int *within, int all, const REAL *values, REAL *out) {
  if (all) {
    FN(dots)(matrix, width, 0, count, values, 0, width, out);
    return;
  }
  Int u = 0;
  for (; u + 1 < count; u += 2) {
    const Int *of = within + 2 * u, from = of[0] < of[2] ? of[0] : of[2], to = of[1] > of[3] ? of[1] : of[3];
    if (from < to) FN(dot2)(matrix + u * width, matrix + (u + 1) * width, values, from, to, out + u * T, out + (u + 1) * T);
  }
  if (u < count) FN(dot1)(matrix + u * width, values, within[2 * u], within[2 * u + 1], out + u * T);
}

/* Where each of `count` rows of a matrix begins and ends to be other than zero: [from, to), or [width, 0) where it is zero. */
static Int FN(ranges)(const REAL *matrix, Int count, Int width, Int *within) {
  Int gaps = 0;
  for (Int u = 0; u < count; u++) {
    Int from = 0, to = width;
    while (from < width && matrix[u * width + from] == 0) from++;
    while (to > from && matrix[u * width + to - 1] == 0) to--;
    within[2 * u] = from == to ? width : from;
    within[2 * u + 1] = from == to ? 0 : to;
    gaps |= from > 0 || to < width;
  }
  return gaps; /* whether any of them is left out */
}

/* What a weight counts: nothing where the mask forbids it. The context's weights have no mask. */
INLINE REAL FN(counts)(const Net *net, const DenseLayer *d, Int u, Int k) {
  return d->source < 0 && k >= net->inputs ? (REAL)1 : d->mask.at ? ((const REAL *)d->mask.at)[u * (d->source < 0 ? net->inputs : d->inputs) + k] : (REAL)d->gain;
}

/* Weights as they are multiplied, by rows and by columns, and the pattern of what is not zero: that of the mask, or of a whole row. */
static void FN(pack)(Net *net) {
  int spoiled = 0;
  net->gaps = 0;
  for (Int l = 0; l <= net->layers; l++) {
    const DenseLayer *d = &net->layer[l];
    const Int own = d->source < 0 ? net->inputs : d->inputs, rest = d->inputs - own;
    const REAL *weight = d->weight.at, *more = d->more.at;
    REAL *matrix = d->matrix, *transposed = d->transposed;
    for (Int u = 0; u < d->outputs; u++) {
      for (Int k = 0; k < own; k++) matrix[u * d->inputs + k] = FN(counts)(net, d, u, k);
      for (Int k = own; k < d->inputs; k++) matrix[u * d->inputs + k] = 1;
    }
    for (Int k = 0; net->backward && k < d->inputs; k++)
      for (Int u = 0; u < d->outputs; u++) transposed[k * d->outputs + u] = matrix[u * d->inputs + k];
    net->gaps |= FN(ranges)(matrix, d->outputs, d->inputs, d->seen);
    if (net->backward) FN(ranges)(transposed, d->inputs, d->outputs, d->seeing);
    for (Int u = 0; u < d->outputs; u++) {
      for (Int k = 0; k < own; k++) matrix[u * d->inputs + k] *= weight[u * own + k];
      for (Int k = 0; k < rest; k++) matrix[u * d->inputs + own + k] = more[u * rest + k];
    }
    const int sound = FN(finite)(matrix, d->outputs * d->inputs) && (!d->bias.at || FN(finite)(d->bias.at, d->outputs));
    spoiled |= !sound; /* a masked weight may be NaN, and then counts */
    for (Int k = 0; net->backward && k < d->inputs; k++)
      for (Int u = 0; u < d->outputs; u++) transposed[k * d->outputs + u] = matrix[u * d->inputs + k];
  }
  for (Int l = 0; spoiled && net->gaps && l <= net->layers; l++) {
    const DenseLayer *d = &net->layer[l];
    for (Int u = 0; u < d->outputs; u++) d->seen[2 * u] = 0, d->seen[2 * u + 1] = d->inputs;
    for (Int k = 0; net->backward && k < d->inputs; k++) d->seeing[2 * k] = 0, d->seeing[2 * k + 1] = d->outputs;
  }
}

/* Planes of a tile from rows of a matrix, and back; lanes beyond the last row are zero. */
static void FN(to_planes)(const REAL *source, Int stride, Int rows, Int count, REAL *restrict planes) {
  for (Int u = 0; u < count; u++) FN(column_in)(source + u, stride, rows, planes + u * T);
}
static void FN(to_rows)(const REAL *restrict planes, Int count, Int rows, REAL *restrict target, Int stride) {
  for (Int r = 0; r < rows; r++)
    for (Int u = 0; u < count; u++) target[r * stride + u] = planes[u * T + r];
}

/* Inputs and context of a tile, then z and h of each layer, one after the other in `space`; returns what is left of it. */
static REAL *FN(values)(const Net *net, Int start, Int rows, REAL *space, REAL **z, REAL **h, int *all) {
  const Int L = net->layers;
  h[0] = space;
  if (net->inputs) FN(to_planes)((const REAL *)net->x.at + start * net->x.stride, net->x.stride, rows, net->inputs, h[0]);
  if (net->contexts) FN(to_planes)((const REAL *)net->c.at + start * net->c.stride, net->c.stride, rows, net->contexts, h[0] + net->inputs * T);
  *all = net->gaps && !FN(finite)(h[0], (net->inputs + net->contexts) * T);
  space += padded(net->inputs + net->contexts, 4) * T;
  for (Int l = 0; l < L + !net->backward; l++) {
    const DenseLayer *d = &net->layer[l];
    const REAL *bias = d->bias.at;
    z[l] = space;
    h[l + 1] = z[l] + d->outputs * T;
    space = h[l + 1] + padded(d->outputs, 4) * T;
    for (Int u = 0; u < d->outputs; u++) {
      REAL *zu = z[l] + u * T;
      const REAL b = bias ? bias[u] : (REAL)0;
      LANES { zu[i] = b; }
      if (d->skip >= 0) {
        const REAL *from = z[d->skip] + u * T;
        LANES { zu[i] += from[i]; }
      }
    }
    FN(dots_within)(d->matrix, d->inputs, d->outputs, d->seen, *all, h[d->source + 1], z[l]);
    if (l < L)
      for (Int u = 0; u < d->outputs; u++) FN(activate)(net->activation, z[l] + u * T, h[l + 1] + u * T);
  }
  return space;
}

static void FN(net_rows)(const void *job, Int start, Int stop, void *space) {
  const Net *net = job;
  const Int outputs = net->layer[net->layers].outputs;
  REAL *z[MAX_LAYERS + 1], *h[MAX_LAYERS + 2];
  for (Int first = start; first < stop; first += T) {
    const Int rows = stop - first < T ? stop - first : T;
    int all;
    FN(values)(net, first, rows, space, z, h, &all);
    FN(to_rows)(z[net->layers], outputs, rows, (REAL *)net->out.at + first * outputs, outputs);
  }
}

/* Adds the products, lane by lane, of two planes with four, which stand after one another as the sums do. */
static __attribute__((noinline)) void FN(products)(const REAL *restrict g0, const REAL *restrict g1, const REAL *restrict h, REAL *restrict s0, REAL *restrict s1) {
  REAL a0[PART], a1[PART], a2[PART], a3[PART], b0[PART], b1[PART], b2[PART], b3[PART];
  PARTS { a0[i] = s0[i]; a1[i] = s0[PART + i]; a2[i] = s0[2 * PART + i]; a3[i] = s0[3 * PART + i]; }
  PARTS { b0[i] = s1[i]; b1[i] = s1[PART + i]; b2[i] = s1[2 * PART + i]; b3[i] = s1[3 * PART + i]; }
  for (Int v = 0; v < T; v += PART) {
    const REAL *restrict u = g0 + v, *restrict w = g1 + v, *restrict x = h + v;
    PARTS { a0[i] = FMA(u[i], x[i], a0[i]); b0[i] = FMA(w[i], x[i], b0[i]); }
    PARTS { a1[i] = FMA(u[i], x[T + i], a1[i]); b1[i] = FMA(w[i], x[T + i], b1[i]); }
    PARTS { a2[i] = FMA(u[i], x[2 * T + i], a2[i]); b2[i] = FMA(w[i], x[2 * T + i], b2[i]); }
    PARTS { a3[i] = FMA(u[i], x[3 * T + i], a3[i]); b3[i] = FMA(w[i], x[3 * T + i], b3[i]); }
  }
  PARTS { s0[i] = a0[i]; s0[PART + i] = a1[i]; s0[2 * PART + i] = a2[i]; s0[3 * PART + i] = a3[i]; }
  PARTS { s1[i] = b0[i]; s1[PART + i] = b1[i]; s1[2 * PART + i] = b2[i]; s1[3 * PART + i] = b3[i]; }
}

/* Adds the products of what comes back to a layer with what it took, over the rows of a tile, to sums of its weights: [unit][taken][PART],
 * in twos and fours; the units and what they took are padded to as many with planes that count for nothing. */
static void FN(add_products)(const DenseLayer *d, int all, const REAL *gz, const REAL *taken, REAL *sums) {
  const Int across = padded(d->inputs, 4);
  for (Int u = 0; u < d->outputs; u += 2) {
    const Int more = u + 1 < d->outputs, *of = d->seen + 2 * u, *next = of + 2 * more;
    const Int from = all ? 0 : of[0] < next[0] ? of[0] : next[0], to = all ? d->inputs : of[1] > next[1] ? of[1] : next[1];
    REAL *at = sums + u * across * PART;
    for (Int k = from & ~(Int)3; k < to; k += 4)
      FN(products)(gz + u * T, gz + (u + 1) * T, taken + k * T, at + k * PART, at + (across + k) * PART);
  }
}

static void FN(net_back_rows)(const void *job, Int start, Int stop, void *space) {
  const Net *net = job;
  const Int L = net->layers, incoming = net->inputs + net->contexts, outputs = net->layer[L].outputs;
  REAL *z[MAX_LAYERS + 1], *h[MAX_LAYERS + 2], *gh[MAX_LAYERS + 2]; /* gh[l + 1]: of h, then of z, of layer l */
  REAL *part = (REAL *)net->sums + start / net->group * net->part;
  for (Int first = start; first < stop; first += T) {
    const Int rows = stop - first < T ? stop - first : T;
    int all;
    REAL *rest = FN(values)(net, first, rows, space, z, h, &all), *sums = part + net->part;
    gh[0] = rest;
    rest += incoming * T;
    memset(gh[0], 0, (size_t)(incoming * T) * sizeof(REAL));
    for (Int l = 0; l <= L; l++) {
      gh[l + 1] = rest;
      rest += padded(net->layer[l].outputs, 2) * T;
      if (l < L) memset(gh[l + 1], 0, (size_t)(net->layer[l].outputs * T) * sizeof(REAL));
    }
    FN(to_planes)((const REAL *)net->g.at + first * net->g.stride, net->g.stride, rows, outputs, gh[L + 1]);
    all |= net->gaps && !FN(finite)(gh[L + 1], outputs * T);
    for (Int l = L; l >= 0; l--) {
      const DenseLayer *d = &net->layer[l];
      REAL *gz = gh[l + 1];
      for (Int u = 0; l < L && u < d->outputs; u++) FN(deactivate)(net->activation, z[l] + u * T, gz + u * T);
      for (Int m = l + 1; m < L; m++)
        if (net->layer[m].skip == l)
          for (Int i = 0; i < d->outputs * T; i++) gz[i] += gh[m + 1][i];
      sums -= sums_of(d);
      FN(add_products)(d, all, gz, h[d->source + 1], sums);
      REAL *of_bias = sums + padded(d->inputs, 4) * padded(d->outputs, 2) * PART;
      for (Int u = 0; u < d->outputs; u++)
        for (Int v = 0; v < T; v += PART) PARTS { of_bias[u * PART + i] += gz[u * T + v + i]; }
      if (d->source >= 0 || net->gx.at || net->gc.at)
        FN(dots_within)(d->transposed, d->outputs, d->inputs, d->seeing, all, gz, gh[d->source + 1]);
    }
    if (net->gx.at) FN(to_rows)(gh[0], net->inputs, rows, (REAL *)net->gx.at + first * net->inputs, net->inputs);
    if (net->gc.at) FN(to_rows)(gh[0] + net->inputs * T, net->contexts, rows, (REAL *)net->gc.at + first * net->contexts, net->contexts);
  }
}

INLINE REAL FN(joined)(const REAL *part) { return ((part[0] + part[4]) + (part[2] + part[6])) + ((part[1] + part[5]) + (part[3] + part[7])); }

/* Adds up the sums of all groups of rows, in their order, and gives each weight its own. */
static void FN(net_settle)(Net *net) {
  const Int parts = (net->rows + net->group - 1) / net->group;
  REAL *total = net->sums;
  for (Int p = 1; p < parts; p++)
    for (Int i = 0; i < net->part; i++) total[i] += total[p * net->part + i];
  for (Int l = 0; l <= net->layers; l++) {
    const DenseLayer *d = &net->layer[l];
    const Int own = d->source < 0 ? net->inputs : d->inputs, rest = d->inputs - own, across = padded(d->inputs, 4);
    const REAL *of_bias = total + across * padded(d->outputs, 2) * PART;
    for (Int u = 0; u < d->outputs; u++) {
      const REAL *sums = total + u * across * PART;
      for (Int k = 0; k < own; k++) ((REAL *)d->gweight.at)[u * own + k] = FN(counts)(net, d, u, k) * FN(joined)(sums + k * PART);
      for (Int k = own; k < d->inputs; k++) ((REAL *)d->gmore.at)[u * rest + k - own] = FN(joined)(sums + k * PART);
      if (d->gbias.at) ((REAL *)d->gbias.at)[u] = FN(joined)(of_bias + u * PART);
    }
    total += sums_of(d);
  }
}
