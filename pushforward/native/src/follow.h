/* Rows through the velocity field of a perceptron by a Runge-Kutta method, each with a time, a step and an error of its own, in double.
 *
 * T rows run side by side, feature-major: [number][T]. A row that is there makes room for the next one, so lanes stay at work. All loops
 * run over all lanes and sum in a fixed order, and nothing that a lane computes goes to another: a row's bits are its own.
 */

/* out[u][T] += sum over k < width of weights[u][k] values[k][T], four rows of weights by eight lanes at a time, which registers hold. */
static __attribute__((noinline)) void FN(products_of_rows)(const REAL *restrict weights, Int width, Int count, const REAL *restrict values, REAL *restrict out) {
  for (Int v = 0; v < T; v += PART) {
    Int u = 0;
    for (; u + 3 < count; u += 4) {
      const REAL *restrict w0 = weights + u * width, *restrict w1 = w0 + width, *restrict w2 = w1 + width, *restrict w3 = w2 + width;
      REAL a0[PART], a1[PART], a2[PART], a3[PART], *restrict at = out + u * T + v;
      PARTS { a0[i] = at[i]; a1[i] = at[T + i]; a2[i] = at[2 * T + i]; a3[i] = at[3 * T + i]; }
      for (Int k = 0; k < width; k++) {
        const REAL *restrict x = values + k * T + v, u0 = w0[k], u1 = w1[k], u2 = w2[k], u3 = w3[k];
        PARTS {
          a0[i] = FMA(u0, x[i], a0[i]);
          a1[i] = FMA(u1, x[i], a1[i]);
          a2[i] = FMA(u2, x[i], a2[i]);
          a3[i] = FMA(u3, x[i], a3[i]);
        }
      }
      PARTS { at[i] = a0[i]; at[T + i] = a1[i]; at[2 * T + i] = a2[i]; at[3 * T + i] = a3[i]; }
    }
    for (; u < count; u++) {
      const REAL *restrict w = weights + u * width;
      REAL a[PART], *restrict at = out + u * T + v;
      PARTS { a[i] = at[i]; }
      for (Int k = 0; k < width; k++) {
        const REAL *restrict x = values + k * T + v, wk = w[k];
        PARTS { a[i] = FMA(wk, x[i], a[i]); }
      }
      PARTS { at[i] = a[i]; }
    }
  }
}

/* An activation and its slope, which take one exponential together; softplus is a line beyond 20, as torch has it. */
static void FN(bend)(Int activation, const REAL *restrict z, REAL *restrict h, REAL *restrict slope) {
  switch (activation) {
    case RELU: LANES { h[i] = z[i] < 0 ? (REAL)0 : z[i]; slope[i] = z[i] > 0 ? 1 : 0; } break;
    case LEAKY_RELU: LANES { h[i] = z[i] < 0 ? (REAL)0.01 * z[i] : z[i]; slope[i] = z[i] > 0 ? (REAL)1 : (REAL)0.01; } break;
    case ELU: LANES { REAL e = FN(exp_any)(z[i] < 0 ? z[i] : (REAL)0); h[i] = z[i] < 0 ? e - 1 : z[i]; slope[i] = e; } break;
    case SILU: LANES { REAL s = 1 / (1 + FN(exp_any)(-z[i])), v = z[i] * s; h[i] = v; slope[i] = s + v * (1 - s); } break;
    case SIGMOID: LANES { REAL s = 1 / (1 + FN(exp_any)(-z[i])); h[i] = s; slope[i] = s * (1 - s); } break;
    case TANH:
      LANES {
        REAL e = FN(exp_any)(-2 * ABS(z[i])), r = 1 / (1 + e);
        h[i] = COPYSIGN((1 - e) * r, z[i]);
        slope[i] = 4 * e * r * r;
      }
      break;
    case SOFTPLUS:
      LANES {
        REAL e = FN(exp_any)(-ABS(z[i])), r = 1 / (1 + e), v = (z[i] < 0 ? (REAL)0 : z[i]) + FN(log)(1 + e);
        h[i] = z[i] > 20 ? z[i] : v;
        slope[i] = z[i] < 0 ? e * r : r;
      }
      break;
    case GELU:
      LANES {
        REAL cumulative = (REAL)0.5 * (1 + ERF(z[i] * (REAL)0.70710678118654752440));
        h[i] = z[i] * cumulative;
        slope[i] = cumulative + z[i] * (REAL)0.39894228040143267794 * FN(exp_any)((REAL)-0.5 * z[i] * z[i]);
      }
      break;
  }
}

/* Cosines of 1, 2, ... half turns, then sines, at times in [0, 1]: the first by the series around a quarter turn, those after it by sums of
 * angles. What is left out of the series is less than 2e-18. */
static void FN(of_time)(Int frequencies, const REAL *restrict t, REAL *restrict seen) {
  REAL *restrict c = seen, *restrict s = seen + frequencies * T;
  LANES {
    const double y = M_PI * (t[i] - 0.5), square = y * y;
    double odd = 1.9572941063391263e-20;
    odd = FMA(odd, square, -8.22063524662433e-18);
    odd = FMA(odd, square, 2.8114572543455206e-15);
    odd = FMA(odd, square, -7.647163731819816e-13);
    odd = FMA(odd, square, 1.6059043836821613e-10);
    odd = FMA(odd, square, -2.505210838544172e-08);
    odd = FMA(odd, square, 2.7557319223985893e-06);
    odd = FMA(odd, square, -0.0001984126984126984);
    odd = FMA(odd, square, 0.008333333333333333);
    odd = FMA(odd, square, -0.16666666666666666);
    odd = FMA(odd, square, 1.0);
    double even = -8.896791392450574e-22;
    even = FMA(even, square, 4.110317623312165e-19);
    even = FMA(even, square, -1.5619206968586225e-16);
    even = FMA(even, square, 4.779477332387385e-14);
    even = FMA(even, square, -1.1470745597729725e-11);
    even = FMA(even, square, 2.08767569878681e-09);
    even = FMA(even, square, -2.755731922398589e-07);
    even = FMA(even, square, 2.48015873015873e-05);
    even = FMA(even, square, -0.001388888888888889);
    even = FMA(even, square, 0.041666666666666664);
    even = FMA(even, square, -0.5);
    even = FMA(even, square, 1.0);
    c[i] = -y * odd;
    s[i] = even;
  }
  for (Int k = 1; k < frequencies; k++) {
    const REAL *restrict c0 = c + (k - 1) * T, *restrict s0 = s + (k - 1) * T;
    REAL *restrict c1 = c + k * T, *restrict s1 = s + k * T;
    LANES {
      c1[i] = c0[i] * c[i] - s0[i] * s[i];
      s1[i] = s0[i] * c[i] + c0[i] * s[i];
    }
  }
}

/* The trace by tangents: along each axis, how the last layer moves the number of that axis. */
static void FN(trace_by_tangents)(const Follow *f, const Field *p, REAL *restrict trace) {
  const Int D = f->inputs, L = f->layers;
  const FieldLayer *last = &f->layer[L];
  for (Int d = 0; d < D; d++) {
    for (Int l = 0; l < L; l++) {
      const FieldLayer *layer = &f->layer[l];
      const REAL *weight = layer->weight.at;
      REAL *tangent = p->tangent[l], *moved = p->moved[l];
      for (Int u = 0; u < layer->outputs; u++) {
        const REAL own = l ? (REAL)0 : weight[u * D + d];
        LANES { tangent[u * T + i] = own; }
        if (layer->skip >= 0) LANES { tangent[u * T + i] += p->tangent[layer->skip][u * T + i]; }
      }
      if (l) FN(products_of_rows)(weight, f->layer[layer->source].outputs, layer->outputs, p->moved[layer->source], tangent);
      for (Int u = 0; u < layer->outputs; u++) LANES { moved[u * T + i] = tangent[u * T + i] * p->slope[l][u * T + i]; }
    }
    const Int width = f->layer[last->source].outputs;
    FN(products_of_rows)((const REAL *)last->weight.at + d * width, width, 1, p->moved[last->source], trace);
  }
}

/* The velocity of a tile at places x and times t, and behind it the trace of its Jacobian. */
static void FN(rates)(const Follow *f, const Field *p, const REAL *t, const REAL *x, REAL *out) {
  const Int D = f->inputs, L = f->layers, beside = 2 * f->frequencies + f->contexts;
  REAL *restrict trace = out + D * T;
  FN(of_time)(f->frequencies, t, p->seen);
  for (Int l = 0; l <= L; l++) {
    const FieldLayer *layer = &f->layer[l];
    const REAL *bias = layer->bias.at;
    REAL *z = l < L ? p->z[l] : out;
    for (Int u = 0; u < layer->outputs; u++) {
      const REAL b = bias ? bias[u] : (REAL)0;
      LANES { z[u * T + i] = b; }
      if (layer->skip >= 0) LANES { z[u * T + i] += p->z[layer->skip][u * T + i]; }
    }
    FN(products_of_rows)(layer->weight.at, l ? f->layer[layer->source].outputs : D, layer->outputs, l ? p->h[layer->source] : x, z);
    if (!l) FN(products_of_rows)(f->more.at, beside, layer->outputs, p->seen, z);
    for (Int u = 0; l < L && u < layer->outputs; u++) FN(bend)(f->activation, z + u * T, p->h[l] + u * T, p->slope[l] + u * T);
  }
  LANES { trace[i] = 0; }
  if (!f->form.at) {
    FN(trace_by_tangents)(f, p, trace);
    return;
  }
  const Int a = f->layer[0].outputs, b = f->layer[1].outputs;
  if (L == 1) {
    FN(products_of_rows)(f->form.at, a, 1, p->slope[0], trace);
    return;
  }
  REAL *across = p->tangent[1]; /* no tangents are carried */
  memset(across, 0, (size_t)(b * T) * sizeof(REAL));
  FN(products_of_rows)(f->form.at, a, b, p->slope[0], across);
  for (Int u = 0; u < b; u++) LANES { trace[i] = FMA(across[u * T + i], p->slope[1][u * T + i], trace[i]); }
}

/* The largest of `count` numbers of each lane in units of what is allowed beside `values`; NaN where one is. */
INLINE void FN(size_of)(const Follow *f, Int count, const REAL *restrict numbers, const REAL *restrict values, REAL *restrict size) {
  LANES { size[i] = 0; }
  for (Int e = 0; e < count; e++)
    LANES {
      const REAL q = ABS(numbers[e * T + i]) / (f->tolerance * (1 + ABS(values[e * T + i])));
      size[i] = q > size[i] || q != q ? q : size[i];
    }
}

/* x^p of a positive number, which is taken to be within 1e-300 and 1e300. */
INLINE REAL FN(power)(REAL x, REAL p) { return FN(exp_any)(p * FN(log)(x > 1e300 ? 1e300 : (x < 1e-300 ? 1e-300 : x))); }

/* Rates at the start, and the first step by the size of the field and how fast that changes, of rows that have not begun. */
static void FN(begin_rows)(const Follow *f, const Field *p, Int start, Int count, REAL *z, REAL *at, REAL *first, REAL *there) {
  const Int E = f->inputs + 1;
  const REAL whole = f->end - f->start, far = ABS(whole);
  Int *status = f->status.at;
  REAL t[T], size[T], slope[T], trial[T], bend[T];
  FN(to_planes)((const REAL *)f->z.at + start * E, E, count, E, z);
  if (f->contexts) FN(to_planes)((const REAL *)f->c.at + start * f->c.stride, f->c.stride, count, f->contexts, p->seen + 2 * f->frequencies * T);
  LANES { t[i] = f->start; }
  FN(rates)(f, p, t, z, first);
  FN(size_of)(f, E, z, z, size);
  FN(size_of)(f, E, first, z, slope);
  LANES {
    const REAL share = (REAL)0.01 * size[i] / slope[i];
    trial[i] = size[i] < 1e-5 || slope[i] < 1e-5 ? (REAL)1e-6 : share;
    trial[i] = COPYSIGN(trial[i] > far ? far : trial[i], whole);
    t[i] = f->start + trial[i];
  }
  for (Int e = 0; e < E; e++) LANES { at[e * T + i] = z[e * T + i] + trial[i] * first[e * T + i]; }
  FN(rates)(f, p, t, at, there);
  for (Int e = 0; e < E; e++) LANES { there[e * T + i] -= first[e * T + i]; }
  FN(size_of)(f, E, there, z, bend);
  for (Int i = 0; i < count; i++) {
    const Int row = start + i;
    if (status[row] != NEW) continue;
    const REAL change = bend[i] / ABS(trial[i]), steep = change > slope[i] || change != change ? change : slope[i];
    REAL h = FN(power)((REAL)0.01 / steep, f->exponent), finite = 0;
    h = h > 100 * ABS(trial[i]) ? 100 * ABS(trial[i]) : h;
    h = steep <= 1e-15 || h > far ? far : h; /* where the field does not move, the whole way is one step */
    for (Int e = 0; e < E; e++) {
      const REAL own = z[e * T + i], rate = first[e * T + i];
      ((REAL *)f->first.at)[row * E + e] = rate;
      finite += (own - own) + (rate - rate);
    }
    status[row] = finite == 0 && steep <= DBL_MAX ? GOING : LOST;
    for (Int e = 0; e < E && status[row] == LOST; e++) ((REAL *)f->z.at)[row * E + e] = (REAL)NAN;
    ((REAL *)f->h.at)[row] = COPYSIGN(h, whole);
    ((REAL *)f->before.at)[row] = 1;
  }
}

/* Whether a row may try once more. */
INLINE int FN(may_try)(const Follow *f, Int tries) { return tries >= 0 && tries < f->most; }

static void FN(follow_rows)(const void *job, Int start, Int stop, void *space) {
  const Follow *f = job;
  const Int D = f->inputs, E = D + 1, S = f->stages, L = f->layers;
  const REAL *c = f->method.at, *a = c + S, *b = a + S * S, *weights = b + S;
  const REAL equal = f->steps ? (f->end - f->start) / (REAL)f->steps : 0;
  REAL *z = space, *made = z + E * T, *error = made + E * T, *k = error + E * T;
  Int *status = f->status.at, *tries = f->tries.at, row[T], accepted[T], next = start, alive = 0;
  REAL t[T], h[T], before[T], at[T], size[T], factor[T];
  int last[T];
  Field p;
  p.seen = k + S * E * T;
  REAL *rest = p.seen + (2 * f->frequencies + f->contexts) * T;
  for (Int l = 0; l < L; l++) {
    const Int width = f->layer[l].outputs * T;
    p.z[l] = rest;
    p.h[l] = rest + width;
    p.slope[l] = rest + 2 * width;
    p.tangent[l] = rest + 3 * width;
    p.moved[l] = rest + 4 * width;
    rest += 5 * width;
  }
  for (Int first = start; first < stop; first += T) {
    const Int count = stop - first < T ? stop - first : T;
    int new = 0;
    for (Int r = first; r < first + count; r++) {
      if (status[r] != NEW) continue;
      new = 1;
      tries[r] = 0;
      ((REAL *)f->t.at)[r] = f->start;
      ((REAL *)f->step.at)[r] = 0;
      if (f->steps) status[r] = GOING;
    }
    if (new && !f->steps) FN(begin_rows)(f, &p, first, count, z, made, k, k + E * T);
  }
  LANES { row[i] = -1; t[i] = h[i] = 0; before[i] = 1; }
  memset(z, 0, (size_t)(E * T) * sizeof(REAL));
  for (;;) {
    for (int i = 0; f->accepts && i < T; i++) {
      if (row[i] >= 0) continue;
      while (next < stop && (status[next] != GOING || !FN(may_try)(f, tries[next]))) next++;
      if (next == stop) break;
      const Int r = row[i] = next++;
      alive++;
      accepted[i] = 0;
      t[i] = ((const REAL *)f->t.at)[r];
      h[i] = f->steps ? equal : ((const REAL *)f->h.at)[r];
      before[i] = f->steps ? 1 : ((const REAL *)f->before.at)[r];
      for (Int e = 0; e < E; e++) {
        z[e * T + i] = ((const REAL *)f->z.at)[r * E + e];
        if (!f->steps) k[e * T + i] = ((const REAL *)f->first.at)[r * E + e];
      }
      for (Int e = 0; e < f->contexts; e++) p.seen[(2 * f->frequencies + e) * T + i] = ((const REAL *)f->c.at)[r * f->c.stride + e];
    }
    if (!alive) break;
    LANES {
      last[i] = !f->steps && ABS(h[i]) >= ABS(f->end - t[i]);
      h[i] = last[i] ? f->end - t[i] : h[i];
    }
    if (f->steps) FN(rates)(f, &p, t, z, k);
    for (Int s = 1; s <= S; s++) {
      /* The place of stage s; behind the last, and where steps follow the error the last itself, the result. */
      if (s == S && !f->steps) break;
      const REAL *row_of = s < S ? a + s * S : b;
      for (Int e = 0; e < E; e++) {
        REAL sum[T];
        LANES { sum[i] = 0; }
        for (Int j = 0; j < s; j++) {
          const REAL weight = row_of[j], *restrict stage = k + (j * E + e) * T;
          LANES { sum[i] = FMA(weight, stage[i], sum[i]); }
        }
        LANES { made[e * T + i] = FMA(h[i], sum[i], z[e * T + i]); }
      }
      if (s == S) break;
      LANES { at[i] = FMA(c[s], h[i], t[i]); }
      FN(rates)(f, &p, at, made, k + s * E * T);
    }
    if (!f->steps) {
      LANES { size[i] = 0; }
      for (Int e = 0; e < E; e++) {
        REAL sum[T];
        LANES { sum[i] = 0; }
        for (Int j = 0; j < S; j++) {
          const REAL weight = weights[j], *restrict stage = k + (j * E + e) * T;
          LANES { sum[i] = FMA(weight, stage[i], sum[i]); }
        }
        LANES {
          const REAL one = ABS(z[e * T + i]), other = ABS(made[e * T + i]), greater = one > other ? one : other;
          const REAL q = ABS(h[i] * sum[i]) / (f->tolerance * (1 + greater));
          size[i] = q > size[i] || q != q ? q : size[i];
        }
      }
      LANES {
        const REAL by = size[i] <= 1e300 ? (size[i] < 1e-10 ? (REAL)1e-10 : size[i]) : (REAL)1e300; /* NaN is very large */
        const REAL wanted = f->safety * FN(power)(by, (REAL)0.75 * f->damping - f->exponent) * FN(power)(before[i], f->damping);
        const REAL most = size[i] <= 1 ? f->greatest : 1; /* what was tried in vain does not grow at once */
        factor[i] = wanted < f->least ? f->least : (wanted > most ? most : wanted);
        before[i] = size[i] <= 1 ? (by < 1e-4 ? (REAL)1e-4 : by) : before[i];
      }
    }
    for (int i = 0; i < T; i++) {
      const Int r = row[i];
      if (r < 0) continue;
      const int right = f->steps || size[i] <= 1;
      tries[r]++;
      if (right) {
        for (Int e = 0; e < E; e++) {
          z[e * T + i] = made[e * T + i];
          if (!f->steps) k[e * T + i] = k[((S - 1) * E + e) * T + i];
        }
        accepted[i]++;
        ((REAL *)f->step.at)[r] = h[i];
        t[i] = f->steps ? f->start + (REAL)tries[r] * equal : last[i] ? f->end : t[i] + h[i];
      }
      const int there = f->steps ? tries[r] >= f->steps : right && last[i];
      if (!f->steps) h[i] *= factor[i];
      const int going = !there && FN(may_try)(f, tries[r]) && (f->steps || t[i] + h[i] != t[i]);
      if (going && accepted[i] < f->accepts) continue;
      status[r] = there ? THERE : going ? GOING : LOST;
      for (Int e = 0; e < E; e++) {
        ((REAL *)f->z.at)[r * E + e] = there || going ? z[e * T + i] : (REAL)NAN;
        if (!f->steps) ((REAL *)f->first.at)[r * E + e] = k[e * T + i];
      }
      ((REAL *)f->t.at)[r] = t[i];
      ((REAL *)f->h.at)[r] = h[i];
      ((REAL *)f->before.at)[r] = before[i];
      row[i] = -1;
      alive--;
    }
  }
}
