/* The sequential direction of an autoregressive layer over a masked perceptron, in one pass of work (and its gradient).
 *
 * Hidden units are sorted by the step at which what they see is known, so before each step a prefix of every layer can be computed,
 * and only the units that are new are. T rows run side by side, feature-major: [unit][T]. Weights come masked.
 */

/* out[T] = start + sum over k in [from, to) of weights[k] values[k][T]; two rows of weights at a time keep the sums in registers. */
INLINE void FN(dot2)(const REAL *restrict w0, const REAL *restrict w1, const REAL *restrict values, Int from, Int to, REAL *restrict out0,
                     REAL *restrict out1) {
  REAL a[T], b[T];
  LANES { a[i] = out0[i]; b[i] = out1[i]; }
  for (Int k = from; k < to; k++) {
    const REAL u = w0[k], v = w1[k];
    const REAL *restrict value = values + k * T;
    LANES { a[i] = FMA(u, value[i], a[i]); b[i] = FMA(v, value[i], b[i]); }
  }
  LANES { out0[i] = a[i]; out1[i] = b[i]; }
}

INLINE void FN(dot1)(const REAL *restrict w, const REAL *restrict values, Int from, Int to, REAL *restrict out) {
  REAL a[T];
  LANES { a[i] = out[i]; }
  for (Int k = from; k < to; k++) {
    const REAL u = w[k];
    const REAL *restrict value = values + k * T;
    LANES { a[i] = FMA(u, value[i], a[i]); }
  }
  LANES { out[i] = a[i]; }
}

/* Adds the product with rows [first, last) of a matrix, `width` long, to out[first..last). */
static void FN(dots)(const REAL *matrix, Int width, Int first, Int last, const REAL *values, Int from, Int to, REAL *out) {
  Int u = first;
  for (; u + 1 < last; u += 2)
    FN(dot2)(matrix + u * width, matrix + (u + 1) * width, values, from, to, out + u * T, out + (u + 1) * T);
  if (u < last) FN(dot1)(matrix + u * width, values, from, to, out + u * T);
}

static void FN(activate)(Int activation, const REAL *restrict z, REAL *restrict h) {
  switch (activation) {
    case RELU: LANES { h[i] = z[i] < 0 ? (REAL)0 : z[i]; } break;
    case LEAKY_RELU: LANES { h[i] = z[i] < 0 ? (REAL)0.01 * z[i] : z[i]; } break;
    case ELU: LANES { REAL e = FN(exp_any)(z[i] < 0 ? z[i] : (REAL)0) - 1; h[i] = z[i] < 0 ? e : z[i]; } break;
    case SILU: LANES { h[i] = z[i] / (1 + FN(exp_any)(-z[i])); } break;
    case SIGMOID: LANES { h[i] = 1 / (1 + FN(exp_any)(-z[i])); } break;
    case TANH: LANES { REAL e = FN(exp_any)(-2 * ABS(z[i])); h[i] = COPYSIGN((1 - e) / (1 + e), z[i]); } break;
    case SOFTPLUS: LANES { h[i] = (z[i] < 0 ? (REAL)0 : z[i]) + FN(log)(1 + FN(exp_any)(-ABS(z[i]))); } break;
    case GELU: LANES { h[i] = (REAL)0.5 * z[i] * (1 + ERF(z[i] * (REAL)0.70710678118654752440)); } break;
  }
}

/* g times the slope of the activation at z. */
static void FN(deactivate)(Int activation, const REAL *restrict z, REAL *restrict g) {
  switch (activation) {
    case RELU: LANES { g[i] = z[i] <= 0 ? (REAL)0 : g[i]; } break; /* as torch has it where z is NaN */
    case LEAKY_RELU: LANES { g[i] *= z[i] > 0 ? (REAL)1 : (REAL)0.01; } break;
    case ELU: LANES { g[i] *= FN(exp_any)(z[i] < 0 ? z[i] : (REAL)0); } break;
    case SILU: LANES { REAL s = 1 / (1 + FN(exp_any)(-z[i])); g[i] *= s * (1 + z[i] * (1 - s)); } break;
    case SIGMOID: LANES { REAL s = 1 / (1 + FN(exp_any)(-z[i])); g[i] *= s * (1 - s); } break;
    case TANH: LANES { REAL e = FN(exp_any)(-2 * ABS(z[i])); g[i] *= 4 * e / ((1 + e) * (1 + e)); } break;
    case SOFTPLUS: LANES { g[i] /= 1 + FN(exp_any)(-z[i]); } break;
    case GELU:
      LANES {
        REAL cumulative = (REAL)0.5 * (1 + ERF(z[i] * (REAL)0.70710678118654752440));
        g[i] *= cumulative + z[i] * (REAL)0.39894228040143267794 * FN(exp_any)((REAL)-0.5 * z[i] * z[i]);
      }
      break;
  }
}

/* T rows of a row-major matrix, one column of it, to lanes and back; lanes beyond the last row are zero. */
INLINE void FN(column_in)(const REAL *source, Int stride, Int rows, REAL *lanes) {
  LANES { lanes[i] = i < rows ? source[i * stride] : (REAL)0; }
}
INLINE void FN(column_out)(const REAL *lanes, Int rows, REAL *target, Int stride) {
  for (Int r = 0; r < rows; r++) target[r * stride] = lanes[r];
}

/* Values made step by step: rows [start, stop), at most T. */
static void FN(sweep_rows)(const void *job, Int start, Int stop, void *space) {
  const Sweep *s = job;
  const Int rows = stop - start, count = parameters_of(&s->kind), L = s->layers;
  REAL *x = space, *theta = x + s->elements * T, *work = theta + count * T, *in = work + space_of(&s->kind) * T * (Int)(sizeof(double) / sizeof(REAL)), *ladj = in + T, *next = ladj + T;
  REAL *z[MAX_LAYERS], *h[MAX_LAYERS];
  double total[T];
  for (Int l = 0; l < L; l++) {
    z[l] = next;
    h[l] = z[l] + s->layer[l].width * T;
    next = h[l] + s->layer[l].width * T;
  }
  LANES { total[i] = 0; }
  const Layer *out = &s->layer[L];
  for (Int g = 0; g < s->groups; g++) {
    const Int first_element = g ? INDICES(s->ends)[g - 1] : 0, last_element = INDICES(s->ends)[g];
    for (Int l = 0; l < L; l++) {
      const Layer *layer = &s->layer[l];
      const Int first = g ? INDICES(layer->edges)[g - 1] : 0, last = INDICES(layer->edges)[g];
      const REAL *bias = layer->bias.at, *shift = l == 0 ? s->shift.at : NULL;
      for (Int u = first; u < last; u++) {
        REAL *zu = z[l] + u * T;
        const REAL b = bias ? bias[u] : (REAL)0;
        if (shift) {
          FN(column_in)(shift + start * s->shift.stride + u, s->shift.stride, rows, zu);
          LANES { zu[i] += b; }
        } else {
          LANES { zu[i] = b; }
        }
        if (layer->skip >= 0) {
          const REAL *from = z[layer->skip] + u * T;
          LANES { zu[i] += from[i]; }
        }
      }
      if (layer->source < 0) FN(dots)(layer->weight.at, s->elements, first, last, x, 0, first_element, z[l]);
      else FN(dots)(layer->weight.at, s->layer[layer->source].width, first, last, h[layer->source], 0, INDICES(s->layer[layer->source].edges)[g], z[l]);
      for (Int u = first; u < last; u++) FN(activate)(s->activation, z[l] + u * T, h[l] + u * T);
    }
    for (Int p = first_element; p < last_element; p++) {
      const REAL *weight = out->weight.at, *bias = out->bias.at;
      const Int width = s->layer[out->source].width, known = INDICES(s->layer[out->source].edges)[g];
      for (Int j = 0; j < count; j++) {
        const REAL b = bias[p * count + j];
        LANES { theta[j * T + i] = b; }
      }
      FN(dots)(weight + p * count * width, width, 0, count, h[out->source], 0, known, theta);
      FN(column_in)((const REAL *)s->values.at + start * s->values.stride + INDICES(s->order)[p], s->values.stride, rows, in);
      FN(value)(&s->kind, theta, T, in, x + p * T, ladj, work, 1);
      FN(column_out)(x + p * T, rows, (REAL *)s->made.at + start * s->elements + INDICES(s->order)[p], s->elements);
      LANES { total[i] += (double)ladj[i]; }
    }
  }
  for (Int r = 0; r < rows; r++) ((REAL *)s->ladj.at)[start + r] = (REAL)total[r];
}

/* The gradient: the same steps backwards, each unit's cotangent gathered from what was computed after it.
 * theta and z are those of a parallel pass at the values that were made; matrices come transposed. */
static void FN(sweep_back_rows)(const void *job, Int start, Int stop, void *space) {
  const Sweep *s = job;
  const Int rows = stop - start, count = parameters_of(&s->kind), L = s->layers;
  REAL *planes = space, *work = planes + count * T, *gtheta = work + space_of(&s->kind) * T * (Int)(sizeof(double) / sizeof(REAL));
  REAL *x = gtheta + s->elements * count * T, *g = x + T, *gl = g + T, *gin = gl + T, *zu = gin + T, *next = zu + T;
  REAL *gz[MAX_LAYERS];
  for (Int l = 0; l < L; l++) {
    const Layer *layer = &s->layer[l];
    gz[l] = next;
    next = gz[l] + layer->width * T;
    /* Units that see the last elements give nothing to any. */
    for (Int r = start; r < stop; r++)
      for (Int u = INDICES(layer->edges)[s->groups - 1]; u < layer->width; u++) ((REAL *)layer->gz.at)[r * layer->width + u] = 0;
  }
  FN(column_in)((const REAL *)s->gladj.at + start * s->gladj.stride, s->gladj.stride, rows, gl);
  const Int of_theta = s->elements * count;
  for (Int step = s->groups - 1; step >= 0; step--) {
    const Int first_element = step ? INDICES(s->ends)[step - 1] : 0, last_element = INDICES(s->ends)[step];
    for (Int p = first_element; p < last_element; p++) {
      const Int element = INDICES(s->order)[p];
      FN(column_in)((const REAL *)s->gmade.at + start * s->gmade.stride + element, s->gmade.stride, rows, g);
      for (Int l = 0; l < L; l++)
        if (s->layer[l].source < 0)
          FN(dot1)((const REAL *)s->layer[l].transposed.at + p * s->layer[l].width, gz[l], INDICES(s->layer[l].edges)[step], INDICES(s->layer[l].edges)[s->groups - 1], g);
      /* The kernel's gradient is taken at its base side: what was made, or what was given. */
      const REAL *base = s->kind.inverse ? s->made.at : s->values.at;
      const Int stride = s->kind.inverse ? s->elements : s->values.stride;
      FN(column_in)(base + start * stride + element, stride, rows, x);
      for (Int j = 0; j < count; j++)
        FN(column_in)((const REAL *)s->theta.at + start * of_theta + j * s->elements + element, of_theta, rows, planes + j * T);
      FN(grad)(&s->kind, planes, T, x, g, gl, gin, gtheta + p * count * T, T, work, 1);
      FN(column_out)(gin, rows, (REAL *)s->gvalues.at + start * s->elements + element, s->elements);
      for (Int j = 0; j < count; j++)
        FN(column_out)(gtheta + (p * count + j) * T, rows, (REAL *)s->gtheta.at + start * of_theta + j * s->elements + element, of_theta);
    }
    for (Int l = L - 1; l >= 0; l--) {
      const Layer *layer = &s->layer[l];
      const Int first = step ? INDICES(layer->edges)[step - 1] : 0, last = INDICES(layer->edges)[step];
      for (Int u = first; u < last; u++) {
        REAL *gu = gz[l] + u * T;
        LANES { gu[i] = 0; }
      }
      for (Int m = l + 1; m <= L; m++) {
        const Layer *later = &s->layer[m];
        if (later->source != l) continue;
        if (m == L) FN(dots)(later->transposed.at, of_theta, first, last, gtheta, first_element * count, of_theta, gz[l]);
        else FN(dots)(later->transposed.at, later->width, first, last, gz[m], step ? INDICES(later->edges)[step - 1] : 0, INDICES(later->edges)[s->groups - 1], gz[l]);
      }
      for (Int u = first; u < last; u++) {
        REAL *gu = gz[l] + u * T;
        FN(column_in)((const REAL *)layer->z.at + start * layer->width + u, layer->width, rows, zu);
        FN(deactivate)(s->activation, zu, gu);
        for (Int m = l + 1; m < L; m++)
          if (s->layer[m].skip == l) {
            const REAL *from = gz[m] + u * T;
            LANES { gu[i] += from[i]; }
          }
        FN(column_out)(gu, rows, (REAL *)layer->gz.at + start * layer->width + u, layer->width);
      }
    }
  }
}
