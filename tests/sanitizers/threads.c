/* All entries with several threads, for ThreadSanitizer: the same bits as with one, and no two threads at one place without order. */
#include "kernels.c"

#include <pthread.h>

typedef struct {
  void (*function)(void *);
  void *data;
} Start;

static void *begin_thread(void *argument) {
  Start *start = argument;
  start->function(start->data);
  return NULL;
}

/* As GOMP_parallel: `count` threads run the function, the caller among them. */
static void team(void (*function)(void *), void *data, unsigned count, unsigned flags) {
  (void)flags;
  pthread_t thread[16];
  Start start = {function, data};
  for (unsigned i = 1; i < count; i++) pthread_create(&thread[i], NULL, begin_thread, &start);
  function(data);
  for (unsigned i = 1; i < count; i++) pthread_join(thread[i], NULL);
}

enum { ROWS_OF_ALL = 300, ELEMENTS = 6, BINS = 6, SIZE = 3 * BINS - 1, UNITS = 12, PARAMETERS = ELEMENTS * SIZE, LARGE = ROWS_OF_ALL * ELEMENTS * 4 * BINS };

static double pool[40][LARGE];
static int taken, failures, calls;

static double *numbers(Int count) { /* any numbers; the same in each run */
  double *at = pool[taken++];
  for (Int i = 0; i < count; i++) at[i] = (double)((i * 7919 + taken * 104729) % 2003) / 1000 - 1;
  return at;
}

static Matrix matrix_of(Int rows, Int width) { return (Matrix){numbers(rows * width), rows * width, width}; }
static Block block_of(Int rows, Int width) { return (Block){numbers(rows * width), rows * width}; }

/* Runs a call with one thread and with four, and compares what it makes. */
static void compare(const char *name, int (*entry)(const void *, Int), void *job, Int bytes, Int *threads, int outputs, Block *out) {
  static double first[8][LARGE];
  for (int several = 0; several < 2; several++) {
    *threads = several ? 4 : 1;
    for (int o = 0; o < outputs; o++) memset(out[o].at, 0, (size_t)out[o].extent * sizeof(double));
    const int code = entry(job, bytes);
    char words[200] = "";
    if (code) pushforward_explain(code, words, sizeof words);
    for (int o = 0; o < outputs && !code; o++) {
      if (several && memcmp(first[o], out[o].at, (size_t)out[o].extent * sizeof(double))) failures++, printf("%s: output %d differs\n", name, o);
      memcpy(first[o], out[o].at, (size_t)out[o].extent * sizeof(double));
    }
    if (code) failures++, printf("%s: %s\n", name, words);
  }
  calls++;
}

#define ENTRY(name) ((int (*)(const void *, Int))(void (*)(void))pushforward_##name)

static void elementwise(Int code, int inverse, int shared, int backward) {
  taken = 0;
  const Int count = shared ? (ROWS_OF_ALL + 49) / 50 : ROWS_OF_ALL;
  Job job = {{code, SIZES[code].most ? BINS : 0, inverse, 3.0, SIZES[code].most_parts ? 2 : 0, SIZES[code].has_floor ? 0.01 : 0}, 1, backward, 1, ROWS_OF_ALL, ELEMENTS, 50};
  const Int width = parameters_of(&job.kind) * ELEMENTS;
  job.x = matrix_of(ROWS_OF_ALL, ELEMENTS);
  job.theta = matrix_of(shared ? 1 : ROWS_OF_ALL, width);
  if (shared) job.theta.stride = 0;
  job.g = matrix_of(ROWS_OF_ALL, ELEMENTS);
  job.gl = matrix_of(ROWS_OF_ALL, 1);
  job.out = block_of(ROWS_OF_ALL, ELEMENTS);
  job.ladj = block_of(ROWS_OF_ALL, 1);
  job.gtheta = block_of(count, width);
  Block out[] = {job.out, backward ? job.gtheta : job.ladj};
  compare("elementwise", ENTRY(elementwise), &job, sizeof job, &job.threads, 2, out);
}

static void linear(int backward) {
  taken = 0;
  Job job = {{0, 1, 0, 3.0}, 1, backward, 1, ROWS_OF_ALL, ELEMENTS, 50};
  job.x = matrix_of(ROWS_OF_ALL, ELEMENTS);
  job.theta = matrix_of(1, ELEMENTS * ELEMENTS + ELEMENTS);
  job.g = matrix_of(ROWS_OF_ALL, ELEMENTS);
  job.gl = matrix_of(ROWS_OF_ALL, 1);
  job.out = block_of(ROWS_OF_ALL, ELEMENTS);
  job.ladj = block_of(ROWS_OF_ALL, 1);
  job.gtheta = block_of((ROWS_OF_ALL + 49) / 50, ELEMENTS * ELEMENTS + ELEMENTS);
  Block out[] = {job.out, backward ? job.gtheta : job.ladj};
  compare("linear", ENTRY(linear), &job, sizeof job, &job.threads, 2, out);
}

static void sweep(int backward) {
  taken = 0;
  static Int order[ELEMENTS], ends[ELEMENTS], edges[ELEMENTS];
  for (Int i = 0; i < ELEMENTS; i++) {
    order[i] = ELEMENTS - 1 - i;
    ends[i] = i + 1;
    edges[i] = UNITS * (i + 1) / ELEMENTS;
  }
  Sweep s = {{QUADRATIC_SPLINE, BINS, 0, 3.0}, 1, backward, 1, ROWS_OF_ALL, ELEMENTS, ELEMENTS, 1, TANH, {order, ELEMENTS}, {ends, ELEMENTS}};
  const Int width = PARAMETERS;
  s.values = matrix_of(ROWS_OF_ALL, ELEMENTS);
  s.gmade = matrix_of(ROWS_OF_ALL, ELEMENTS);
  s.gladj = matrix_of(ROWS_OF_ALL, 1);
  s.theta = block_of(ROWS_OF_ALL, width);
  s.made = block_of(ROWS_OF_ALL, ELEMENTS);
  s.ladj = block_of(ROWS_OF_ALL, 1);
  s.gvalues = block_of(ROWS_OF_ALL, ELEMENTS);
  s.gtheta = block_of(ROWS_OF_ALL, width);
  s.layer[0] = (Layer){UNITS, -1, -1, {edges, ELEMENTS}, block_of(UNITS, ELEMENTS), block_of(UNITS, 1), block_of(ELEMENTS, UNITS)};
  s.layer[0].z = block_of(ROWS_OF_ALL, UNITS);
  s.layer[0].gz = block_of(ROWS_OF_ALL, UNITS);
  s.layer[1] = (Layer){0, 0, -1, {NULL, 0}, block_of(width, UNITS), block_of(width, 1), block_of(UNITS, width)};
  Block values[] = {s.made, s.ladj}, gradients[] = {s.gvalues, s.gtheta, s.layer[0].gz};
  compare("sweep", ENTRY(sweep), &s, offsetof(Sweep, layer) + 2 * sizeof(Layer), &s.threads, backward ? 3 : 2, backward ? gradients : values);
}

static void perceptron(int backward) {
  taken = 0;
  Net net = {1, backward, 1, ROWS_OF_ALL, 50, 1, SILU, ELEMENTS, 2};
  net.x = matrix_of(ROWS_OF_ALL, ELEMENTS);
  net.c = matrix_of(ROWS_OF_ALL, 2);
  net.g = matrix_of(ROWS_OF_ALL, 9);
  net.out = block_of(ROWS_OF_ALL, 9);
  net.gx = block_of(ROWS_OF_ALL, ELEMENTS);
  net.gc = block_of(ROWS_OF_ALL, 2);
  net.layer[0] = (DenseLayer){ELEMENTS + 2, UNITS, -1, -1, 1.0, block_of(UNITS, ELEMENTS), {NULL, 0}, block_of(UNITS, 2), block_of(UNITS, 1),
                              block_of(UNITS, ELEMENTS), block_of(UNITS, 2), block_of(UNITS, 1)};
  net.layer[1] = (DenseLayer){UNITS, 9, 0, -1, 0.5, block_of(9, UNITS), {NULL, 0}, {NULL, 0}, block_of(9, 1), block_of(9, UNITS), {NULL, 0}, block_of(9, 1)};
  Block values[] = {net.out};
  Block gradients[] = {net.gx, net.gc, net.layer[0].gweight, net.layer[0].gmore, net.layer[0].gbias, net.layer[1].gweight, net.layer[1].gbias};
  compare("perceptron", ENTRY(perceptron), &net, offsetof(Net, layer) + 2 * sizeof(DenseLayer), &net.threads, backward ? 7 : 1, backward ? gradients : values);
}

/* Rows are changed where they are: before each run they begin anew, since their status, and all else, is set to zero. */
static void follow(Int steps) {
  taken = 0;
  static double method[2 * (2 + 3)] = {0, 1, 0, 0, 1, 0, 0.5, 0.5, -0.5, 0.5}; /* Heun's, with a stage that is where the step leads */
  method[7] = steps ? 0.5 : 0;
  method[6] = steps ? 0.5 : 1;
  Follow f = {1, ROWS_OF_ALL, 50, 1, SILU, ELEMENTS, 2, 3, 2, steps, 1000, 1000, 0, 1, 1e-2, 0.5, 0.9, 0.2, 5, 0.04, {method, 10}};
  f.more = block_of(UNITS, 6 + 2);
  f.form = block_of(UNITS, 1);
  f.c = matrix_of(ROWS_OF_ALL, 2);
  f.z = block_of(ROWS_OF_ALL, ELEMENTS + 1);
  f.first = block_of(ROWS_OF_ALL, ELEMENTS + 1);
  f.t = block_of(ROWS_OF_ALL, 1);
  f.h = block_of(ROWS_OF_ALL, 1);
  f.before = block_of(ROWS_OF_ALL, 1);
  f.step = block_of(ROWS_OF_ALL, 1);
  f.status = block_of(ROWS_OF_ALL, 1);
  f.tries = block_of(ROWS_OF_ALL, 1);
  f.layer[0] = (FieldLayer){UNITS, -1, -1, block_of(UNITS, ELEMENTS), block_of(UNITS, 1)};
  f.layer[1] = (FieldLayer){ELEMENTS, 0, -1, block_of(ELEMENTS, UNITS), block_of(ELEMENTS, 1)};
  Block out[] = {f.z, f.first, f.t, f.h, f.before, f.step, f.status, f.tries};
  compare("follow", ENTRY(follow), &f, offsetof(Follow, layer) + 2 * sizeof(FieldLayer), &f.threads, 8, out);
}

int main(void) {
  pushforward_use_threads((void *)(uintptr_t)team);
  for (int set = 0; set < 2; set++) {
    if (!pushforward_choose(SETS[set])) continue;
    printf("%s\n", SETS[set]);
    for (int backward = 0; backward < 2; backward++) {
      for (Int code = AFFINE; code < KIND_COUNT; code++)
        for (int either = 0; either < 4; either++) elementwise(code, either / 2, either % 2, backward);
      linear(backward);
      sweep(backward);
      perceptron(backward);
      follow(backward ? 7 : 0);
    }
  }
  printf("%d calls with 1 and 4 threads, %d of them other\n", calls, failures);
  return failures != 0;
}
