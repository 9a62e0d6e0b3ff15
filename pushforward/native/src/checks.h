/* What a call relies on, checked once before anything is read or written: ranges of all numbers, and for each array that the last element
 * that is touched, by shapes and strides, lies within it. What does not fit is refused, with the array and the layer that it is about. */

#define REASONS(R) \
  R(MEMORY, "no memory for the work space") \
  R(NOT_READY, "expected an instruction set to be chosen first") \
  R(DESCRIPTION, "expected a description of another length") \
  R(RANGE, "a number out of its range") \
  R(FLAG, "expected 0 or 1") \
  R(WIRING, "expected an earlier layer") \
  R(WIDTH, "a width other than that of what is taken or added") \
  R(PERMUTATION, "expected each element once") \
  R(STEPS, "expected places that never go back, up to the last") \
  R(MISSING, "an array that is not there") \
  R(SHORT, "an array that ends before what would be touched") \
  R(OTHER_SIZE, "an array of another size") \
  R(STRIDE, "expected rows that follow one another") \
  R(MISALIGNED, "an array that does not begin at a multiple of its numbers' size") \
  R(OVERLAP, "an output that overlaps another array")

#define WHATS(W) \
  W(job) W(kind) W(bins) W(inverse) W(bound) W(parts) W(floor) W(is_double) W(backward) W(threads) W(rows) W(elements) W(group) W(groups) W(layers) \
  W(activation) W(inputs) W(contexts) W(width) W(source) W(skip) W(x) W(theta) W(g) W(gl) W(out) W(ladj) W(gtheta) W(order) W(ends) \
  W(edges) W(values) W(shift) W(gmade) W(gladj) W(made) W(gvalues) W(weight) W(bias) W(transposed) W(z) W(gz) W(c) W(gx) W(gc) W(mask) \
  W(more) W(gweight) W(gmore) W(gbias) W(frequencies) W(stages) W(steps) W(most) W(accepts) W(start) W(end) W(tolerance) W(exponent) \
  W(safety) W(least) W(greatest) W(damping) W(method) W(form) W(first) W(t) W(h) W(before) W(step) W(status) W(tries)

#define AS_NAME(name, words) name,
#define AS_WORDS(name, words) words,
enum { FITS, REASONS(AS_NAME) REASON_COUNT };
static const char *const REASON[] = {"nothing", REASONS(AS_WORDS)};
#define AS_WHAT(name) OF_##name,
#define AS_WORD(name) #name,
enum { WHATS(AS_WHAT) WHAT_COUNT };
static const char *const WHAT[] = {WHATS(AS_WORD)};

/* Bounds that keep every sum and product of two sizes within 64 bits. */
#define MOST_ROWS ((Int)1 << 40)
#define MOST_WIDTH ((Int)1 << 24)

typedef struct {
  uintptr_t from, to;
} Span;

typedef struct {
  int refusal, layer; /* the first thing that does not fit, in one number; the layer that is looked at, from 1 */
  Int size;           /* bytes of a number */
  int reads, writes;
  Span read[8 + 6 * (MAX_LAYERS + 1)], written[4 + 3 * (MAX_LAYERS + 1)];
} Check;

static void refuse(Check *c, int reason, int what) {
  if (!c->refusal) c->refusal = reason | what << 8 | c->layer << 16;
}

static void expect(Check *c, int holds, int reason, int what) {
  if (!holds) refuse(c, reason, what);
}

static int within(Int value, Int low, Int high) { return low <= value && value <= high; }

static Int product(Check *c, Int a, Int b, int what) {
  Int out;
  if (__builtin_mul_overflow(a, b, &out)) {
    refuse(c, RANGE, what);
    return 0;
  }
  return out;
}

/* Begins the check of a description of `bytes` bytes, of which `least` are there whatever it says. */
static int begin(Check *c, const void *job, Int bytes, size_t least) {
  c->refusal = c->layer = c->reads = c->writes = 0;
  c->size = 1;
  expect(c, chosen_set >= 0, NOT_READY, OF_job);
  expect(c, job && (uintptr_t)job % sizeof(Int) == 0 && bytes >= (Int)least, DESCRIPTION, OF_job);
  return !c->refusal;
}

static void check_team(Check *c, Int is_double, Int backward, Int threads, Int rows) {
  expect(c, within(is_double, 0, 1), FLAG, OF_is_double);
  expect(c, within(backward, 0, 1), FLAG, OF_backward);
  expect(c, within(threads, 1, MAX_THREADS), RANGE, OF_threads);
  expect(c, within(rows, 0, MOST_ROWS), RANGE, OF_rows);
  c->size = is_double ? sizeof(double) : sizeof(float);
}

static void check_bound(Check *c, const Kind *kind) {
  expect(c, within(kind->inverse, 0, 1), FLAG, OF_inverse);
  expect(c, kind->bound > 0 && kind->bound <= DBL_MAX, RANGE, OF_bound);
}

static void check_kind(Check *c, const Kind *kind) {
  check_bound(c, kind);
  expect(c, within(kind->code, AFFINE, KIND_COUNT - 1), RANGE, OF_kind);
  if (c->refusal) return;
  expect(c, within(kind->bins, SIZES[kind->code].least, SIZES[kind->code].most), RANGE, OF_bins);
  if (is_squares(kind)) expect(c, kind->bins < MOST_NODES, RANGE, OF_bins); /* whatever SIZES says: gauss.h has no more */
  expect(c, within(kind->parts, SIZES[kind->code].least_parts, SIZES[kind->code].most_parts), RANGE, OF_parts);
  expect(c, SIZES[kind->code].has_floor ? kind->floor > 0 && kind->floor < 1 : kind->floor == 0, RANGE, OF_floor);
}

/* Notes what an array is touched in: `count` numbers of `size` bytes from its start. */
static void touch(Check *c, const void *at, Int count, Int size, int what, int written) {
  const uintptr_t from = (uintptr_t)at, bytes = (uintptr_t)count * (uintptr_t)size;
  expect(c, from % (uintptr_t)size == 0, MISALIGNED, what);
  expect(c, count <= INT64_MAX / size && from <= UINTPTR_MAX - bytes, RANGE, what);
  const Span span = {from, from + bytes};
  if (written) c->written[c->writes++] = span;
  else c->read[c->reads++] = span;
}

/* Rows that may lie apart, or, where they are read alone, be one and the same. */
static void check_matrix(Check *c, const Matrix *m, Int rows, Int width, int what) {
  if (!rows || !width || c->refusal) return;
  expect(c, m->at != NULL, MISSING, what);
  expect(c, m->stride >= 0, STRIDE, what);
  const Int last = product(c, rows - 1, m->stride, what);
  expect(c, last <= INT64_MAX - width && last + width <= m->extent, SHORT, what);
  if (c->refusal) return; /* a sum that is too large is never made */
  touch(c, m->at, last + width, c->size, what, 0);
}

/* An array without gaps, of exactly that many numbers. */
static void check_block(Check *c, const Block *b, Int rows, Int width, int what, int written) {
  const Int count = product(c, rows, width, what);
  if (!count || c->refusal) return;
  expect(c, b->at != NULL, MISSING, what);
  expect(c, b->extent == count, OTHER_SIZE, what);
  touch(c, b->at, count, c->size, what, written);
}

static void check_indices(Check *c, const Block *b, Int count, int what) {
  if (c->refusal) return;
  expect(c, b->at != NULL, MISSING, what);
  expect(c, b->extent == count, OTHER_SIZE, what);
  touch(c, b->at, count, sizeof(Int), what, 0);
}

/* Places that never go back and end by `last`; the very last of them at it, where they are to `fill` it. */
static void check_places(Check *c, const Block *b, Int count, Int last, int fill, int what) {
  check_indices(c, b, count, what);
  const Int *places = b->at;
  for (Int i = 0, before = 0; i < count && !c->refusal; before = places[i++])
    expect(c, within(places[i], before, last) && (!fill || i < count - 1 || places[i] == last), STEPS, what);
}

static void check_order(Check *c, const Block *b, Int elements) {
  check_indices(c, b, elements, OF_order);
  if (c->refusal) return;
  const Int *order = b->at;
  char *seen = calloc((size_t)elements, 1);
  expect(c, seen != NULL, MEMORY, OF_order);
  for (Int i = 0; i < elements && !c->refusal; i++) {
    const int is_element = within(order[i], 0, elements - 1);
    expect(c, is_element && !seen[order[i]], PERMUTATION, OF_order);
    if (is_element) seen[order[i]] = 1;
  }
  free(seen);
}

/* Outputs lie apart from one another and from all that is read: rows are computed by several threads, and loops may read ahead. */
static int settle(Check *c) {
  for (int i = 0; i < c->writes && !c->refusal; i++) {
    for (int j = 0; j < c->reads; j++)
      expect(c, c->written[i].to <= c->read[j].from || c->read[j].to <= c->written[i].from, OVERLAP, OF_job);
    for (int j = 0; j < i; j++)
      expect(c, c->written[i].to <= c->written[j].from || c->written[j].to <= c->written[i].from, OVERLAP, OF_job);
  }
  return c->refusal;
}

/* What a refusal says, put into `text`, which has room for `room` characters. */
EXPORT void pushforward_explain(int refusal, char *text, Int room) {
  const int reason = refusal & 0xff, what = refusal >> 8 & 0xff, layer = refusal >> 16;
  const char *why = reason < REASON_COUNT ? REASON[reason] : "unknown", *of = what < WHAT_COUNT ? WHAT[what] : "unknown";
  if (layer) snprintf(text, (size_t)room, "layer %d: %s: %s", layer - 1, of, why);
  else snprintf(text, (size_t)room, "%s: %s", of, why);
}

/* The entries */

static int check_elementwise(const Job *job, Int bytes) {
  Check c;
  if (!begin(&c, job, bytes, sizeof(Job))) return c.refusal;
  expect(&c, bytes == sizeof(Job), DESCRIPTION, OF_job);
  check_team(&c, job->is_double, job->backward, job->threads, job->rows);
  check_kind(&c, &job->kind);
  expect(&c, within(job->elements, 1, MOST_ROWS), RANGE, OF_elements);
  expect(&c, within(job->group, 1, MOST_ROWS), RANGE, OF_group);
  if (c.refusal) return c.refusal;
  const Int rows = job->rows, elements = job->elements, count = product(&c, parameters_of(&job->kind), elements, OF_elements);
  const Int shared = job->theta.stride == 0, parts = rows / job->group + (rows % job->group > 0);
  check_matrix(&c, &job->x, rows, elements, OF_x);
  check_matrix(&c, &job->theta, rows, count, OF_theta);
  if (job->backward) {
    check_matrix(&c, &job->g, rows, elements, OF_g);
    check_matrix(&c, &job->gl, rows, 1, OF_gl);
    check_block(&c, &job->gtheta, shared ? parts : rows, count, OF_gtheta, 1);
  } else {
    check_block(&c, &job->ladj, rows, 1, OF_ladj, 1);
  }
  check_block(&c, &job->out, rows, elements, OF_out, 1);
  return settle(&c);
}

static int check_linear(const Job *job, Int bytes) {
  Check c;
  if (!begin(&c, job, bytes, sizeof(Job))) return c.refusal;
  expect(&c, bytes == sizeof(Job), DESCRIPTION, OF_job);
  check_team(&c, job->is_double, job->backward, job->threads, job->rows);
  check_bound(&c, &job->kind);
  expect(&c, job->kind.code == 0, RANGE, OF_kind);
  expect(&c, within(job->kind.bins, 0, 1), FLAG, OF_bins);
  expect(&c, job->kind.parts == 0, RANGE, OF_parts);
  expect(&c, job->kind.floor == 0, RANGE, OF_floor);
  expect(&c, within(job->elements, 1, MOST_WIDTH), RANGE, OF_elements);
  expect(&c, within(job->group, 1, MOST_ROWS), RANGE, OF_group);
  if (c.refusal) return c.refusal;
  const Int rows = job->rows, size = job->elements, count = size * size + (job->kind.bins ? size : 0);
  const Int parts = rows / job->group + (rows % job->group > 0);
  check_matrix(&c, &job->x, rows, size, OF_x);
  check_matrix(&c, &job->theta, 1, count, OF_theta);
  if (job->backward) {
    check_matrix(&c, &job->g, rows, size, OF_g);
    check_matrix(&c, &job->gl, rows, 1, OF_gl);
    check_block(&c, &job->gtheta, parts, count, OF_gtheta, 1);
  } else {
    check_block(&c, &job->ladj, rows, 1, OF_ladj, 1);
  }
  check_block(&c, &job->out, rows, size, OF_out, 1);
  return settle(&c);
}

/* Hidden layers, and the last: each takes and adds earlier ones alone. */
static int check_wiring(Check *c, Int source, Int skip, Int least, Int layer) {
  expect(c, within(source, least, layer - 1), WIRING, OF_source);
  expect(c, within(skip, -1, layer - 1), WIRING, OF_skip);
  return !c->refusal;
}

static int check_sweep(const Sweep *s, Int bytes) {
  Check c;
  if (!begin(&c, s, bytes, offsetof(Sweep, layer))) return c.refusal;
  expect(&c, within(s->layers, 1, MAX_LAYERS), RANGE, OF_layers);
  if (c.refusal) return c.refusal;
  expect(&c, bytes == (Int)(offsetof(Sweep, layer) + (size_t)(s->layers + 1) * sizeof(Layer)), DESCRIPTION, OF_job);
  check_team(&c, s->is_double, s->backward, s->threads, s->rows);
  check_kind(&c, &s->kind);
  expect(&c, within(s->elements, 1, MOST_WIDTH), RANGE, OF_elements);
  expect(&c, within(s->groups, 1, s->elements), RANGE, OF_groups);
  expect(&c, within(s->activation, 0, ACTIVATION_COUNT - 1), RANGE, OF_activation);
  if (c.refusal) return c.refusal;
  check_order(&c, &s->order, s->elements);
  check_places(&c, &s->ends, s->groups, s->elements, 1, OF_ends);
  const Int rows = s->rows, elements = s->elements, of_theta = parameters_of(&s->kind) * elements;
  for (Int l = 0; l <= s->layers && !c.refusal; l++) {
    const Layer *layer = &s->layer[l];
    const int last = l == s->layers;
    c.layer = (int)l + 1;
    /* The parameters are made of hidden units; the width of the last layer is theirs. */
    if (!check_wiring(&c, layer->source, last ? -1 : layer->skip, last ? 0 : -1, l)) break;
    expect(&c, last || within(layer->width, 1, MOST_WIDTH), RANGE, OF_width);
    if (!last && layer->skip >= 0) expect(&c, s->layer[layer->skip].width == layer->width, WIDTH, OF_skip);
    if (c.refusal) break;
    const Int width = last ? of_theta : layer->width, taken = layer->source < 0 ? elements : s->layer[layer->source].width;
    if (!last) check_places(&c, &layer->edges, s->groups, width, 0, OF_edges);
    if (s->backward) {
      check_block(&c, &layer->transposed, taken, width, OF_transposed, 0);
      if (!last) check_block(&c, &layer->z, rows, width, OF_z, 0);
      if (!last) check_block(&c, &layer->gz, rows, width, OF_gz, 1);
    } else {
      check_block(&c, &layer->weight, width, taken, OF_weight, 0);
      if (last || layer->bias.at) check_block(&c, &layer->bias, width, 1, OF_bias, 0);
    }
  }
  if (!c.refusal) c.layer = 0;
  check_matrix(&c, &s->values, rows, elements, OF_values);
  check_block(&c, &s->made, rows, elements, OF_made, !s->backward);
  if (s->backward) {
    check_block(&c, &s->theta, rows, of_theta, OF_theta, 0);
    check_matrix(&c, &s->gmade, rows, elements, OF_gmade);
    check_matrix(&c, &s->gladj, rows, 1, OF_gladj);
    check_block(&c, &s->gvalues, rows, elements, OF_gvalues, 1);
    check_block(&c, &s->gtheta, rows, of_theta, OF_gtheta, 1);
  } else {
    if (s->shift.at) check_matrix(&c, &s->shift, rows, s->layer[0].width, OF_shift);
    check_block(&c, &s->ladj, rows, 1, OF_ladj, 1);
  }
  return settle(&c);
}

static int check_perceptron(const Net *net, Int bytes) {
  Check c;
  if (!begin(&c, net, bytes, offsetof(Net, layer))) return c.refusal;
  expect(&c, within(net->layers, 0, MAX_LAYERS), RANGE, OF_layers);
  if (c.refusal) return c.refusal;
  expect(&c, bytes == (Int)(offsetof(Net, layer) + (size_t)(net->layers + 1) * sizeof(DenseLayer)), DESCRIPTION, OF_job);
  check_team(&c, net->is_double, net->backward, net->threads, net->rows);
  expect(&c, within(net->group, 1, MOST_ROWS), RANGE, OF_group);
  expect(&c, within(net->activation, 0, ACTIVATION_COUNT - 1), RANGE, OF_activation);
  expect(&c, within(net->inputs, 0, MOST_WIDTH), RANGE, OF_inputs);
  expect(&c, within(net->contexts, net->inputs == 0, MOST_WIDTH), RANGE, OF_contexts);
  if (c.refusal) return c.refusal;
  const Int rows = net->rows;
  for (Int l = 0; l <= net->layers && !c.refusal; l++) {
    const DenseLayer *d = &net->layer[l];
    c.layer = (int)l + 1;
    if (!check_wiring(&c, d->source, d->skip, -1, l)) break;
    /* What is added comes back to hidden layers alone. */
    expect(&c, l < net->layers || d->skip < 0, WIRING, OF_skip);
    expect(&c, within(d->outputs, 1, MOST_WIDTH), RANGE, OF_width);
    expect(&c, d->inputs == (d->source < 0 ? net->inputs + net->contexts : net->layer[d->source].outputs), WIDTH, OF_source);
    if (d->skip >= 0) expect(&c, net->layer[d->skip].outputs == d->outputs, WIDTH, OF_skip);
    if (c.refusal) break;
    const Int own = d->source < 0 ? net->inputs : d->inputs, rest = d->inputs - own;
    check_block(&c, &d->weight, d->outputs, own, OF_weight, 0);
    check_block(&c, &d->more, d->outputs, rest, OF_more, 0);
    if (d->mask.at) check_block(&c, &d->mask, d->outputs, own, OF_mask, 0);
    if (d->bias.at) check_block(&c, &d->bias, d->outputs, 1, OF_bias, 0);
    if (!net->backward) continue;
    check_block(&c, &d->gweight, d->outputs, own, OF_gweight, 1);
    check_block(&c, &d->gmore, d->outputs, rest, OF_gmore, 1);
    if (d->gbias.at) check_block(&c, &d->gbias, d->outputs, 1, OF_gbias, 1);
  }
  if (c.refusal) return c.refusal;
  c.layer = 0;
  const Int outputs = net->layer[net->layers].outputs;
  check_matrix(&c, &net->x, rows, net->inputs, OF_x);
  check_matrix(&c, &net->c, rows, net->contexts, OF_c);
  if (net->backward) {
    check_matrix(&c, &net->g, rows, outputs, OF_g);
    if (net->gx.at) check_block(&c, &net->gx, rows, net->inputs, OF_gx, 1);
    if (net->gc.at) check_block(&c, &net->gc, rows, net->contexts, OF_gc, 1);
  } else {
    check_block(&c, &net->out, rows, outputs, OF_out, 1);
  }
  return settle(&c);
}

static int is_chain(const Follow *f) {
  int chain = f->layers == 1 || f->layers == 2;
  for (Int l = 0; l <= f->layers; l++) chain &= f->layer[l].source == l - 1 && f->layer[l].skip < 0;
  return chain;
}

static int check_follow(const Follow *f, Int bytes) {
  Check c;
  if (!begin(&c, f, bytes, offsetof(Follow, layer))) return c.refusal;
  expect(&c, within(f->layers, 1, MAX_LAYERS), RANGE, OF_layers);
  if (c.refusal) return c.refusal;
  expect(&c, bytes == (Int)(offsetof(Follow, layer) + (size_t)(f->layers + 1) * sizeof(FieldLayer)), DESCRIPTION, OF_job);
  check_team(&c, 1, 0, f->threads, f->rows);
  expect(&c, within(f->group, 1, MOST_ROWS), RANGE, OF_group);
  expect(&c, within(f->activation, 0, ACTIVATION_COUNT - 1), RANGE, OF_activation);
  expect(&c, within(f->inputs, 1, MOST_WIDTH), RANGE, OF_inputs);
  expect(&c, within(f->contexts, 0, MOST_WIDTH), RANGE, OF_contexts);
  expect(&c, within(f->frequencies, 1, MOST_WIDTH), RANGE, OF_frequencies);
  expect(&c, within(f->stages, 1, MAX_STAGES), RANGE, OF_stages);
  expect(&c, within(f->steps, 0, MAX_STEPS), RANGE, OF_steps);
  expect(&c, f->steps || f->stages > 1, RANGE, OF_stages); /* the last stage of a step that follows its error is where it leads */
  expect(&c, within(f->most, 1, MAX_STEPS), RANGE, OF_most);
  expect(&c, within(f->accepts, 0, MAX_STEPS), RANGE, OF_accepts);
  /* No time is outside, where the angles would need a reduction. */
  expect(&c, f->start >= 0 && f->start <= 1, RANGE, OF_start);
  expect(&c, f->end >= 0 && f->end <= 1, RANGE, OF_end);
  const double positive[] = {f->tolerance, f->exponent, f->safety, f->least, f->greatest, f->damping};
  const int what[] = {OF_tolerance, OF_exponent, OF_safety, OF_least, OF_greatest, OF_damping};
  for (int i = 0; i < 6; i++) expect(&c, positive[i] > 0 && positive[i] <= DBL_MAX, RANGE, what[i]);
  if (c.refusal) return c.refusal;
  const Int rows = f->rows, size = f->inputs + 1;
  for (Int l = 0; l <= f->layers && !c.refusal; l++) {
    const FieldLayer *layer = &f->layer[l];
    c.layer = (int)l + 1;
    /* The first takes the place, and it alone. */
    if (!check_wiring(&c, layer->source, layer->skip, l ? 0 : -1, l)) break;
    expect(&c, l < f->layers || layer->skip < 0, WIRING, OF_skip);
    expect(&c, within(layer->outputs, 1, MOST_WIDTH) && (l < f->layers || layer->outputs == f->inputs), WIDTH, OF_width);
    if (layer->skip >= 0) expect(&c, f->layer[layer->skip].outputs == layer->outputs, WIDTH, OF_skip);
    if (c.refusal) break;
    check_block(&c, &layer->weight, layer->outputs, l ? f->layer[layer->source].outputs : f->inputs, OF_weight, 0);
    if (layer->bias.at) check_block(&c, &layer->bias, layer->outputs, 1, OF_bias, 0);
  }
  if (c.refusal) return c.refusal;
  c.layer = 0;
  check_block(&c, &f->more, f->layer[0].outputs, 2 * f->frequencies + f->contexts, OF_more, 0);
  check_block(&c, &f->method, f->stages, f->stages + 3, OF_method, 0);
  if (f->form.at) {
    expect(&c, is_chain(f), WIRING, OF_form);
    check_block(&c, &f->form, f->layer[0].outputs, f->layers == 2 ? f->layer[1].outputs : 1, OF_form, 0);
  }
  check_matrix(&c, &f->c, rows, f->contexts, OF_c);
  check_block(&c, &f->z, rows, size, OF_z, 1);
  check_block(&c, &f->first, rows, size, OF_first, 1);
  check_block(&c, &f->t, rows, 1, OF_t, 1);
  check_block(&c, &f->h, rows, 1, OF_h, 1);
  check_block(&c, &f->before, rows, 1, OF_before, 1);
  check_block(&c, &f->step, rows, 1, OF_step, 1);
  check_block(&c, &f->status, rows, 1, OF_status, 1); /* whole numbers, of as many bytes */
  check_block(&c, &f->tries, rows, 1, OF_tries, 1);
  return settle(&c);
}
