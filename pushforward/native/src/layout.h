/* Written by `make generated` from pushforward/native: layout.py, elementwise.py and activations.py. Each field has 8 bytes. */

#define MAX_LAYERS 32
#define MAX_BINS 1024
#define MAX_THREADS 1024
#define MAX_STAGES 16
#define MAX_STEPS 1048576

enum {
  AFFINE, QUADRATIC_SPLINE, LINEAR_SPLINE, MONOTONIC_NETWORK, DEEP_SIGMOID, DEEP_TANH, SUM_OF_SQUARES, GENTLE_SUM_OF_SQUARES, BERNSTEIN,
  GENTLE_BERNSTEIN, IDENTITY_BERNSTEIN, KIND_COUNT
};

enum {
  RELU, LEAKY_RELU, ELU, GELU, SILU, SOFTPLUS, TANH, SIGMOID, ACTIVATION_COUNT
};

enum {
  NEW, GOING, THERE, LOST, STATUS_COUNT
};

/* Rows, `stride` numbers apart: where they begin, and how many numbers there are from there. */
typedef struct {
  void *at;
  Int extent, stride;
} Matrix;
_Static_assert(sizeof(Matrix) == 24, "Matrix: other fields than in native/layout.py");

/* What lies without gaps: where it begins, and how many numbers there are. */
typedef struct {
  void *at;
  Int extent;
} Block;
_Static_assert(sizeof(Block) == 16, "Block: other fields than in native/layout.py");

/* A kernel in numbers. bins: of a spline, units of a network, the degree of a polynomial. parts: panels of a network, terms of a sum
 * of squares. floor: the least slope of a sum of squares. */
typedef struct {
  Int code, bins, inverse;
  double bound;
  Int parts;
  double floor;
} Kind;
_Static_assert(sizeof(Kind) == 48, "Kind: other fields than in native/layout.py");

/* One call of a kernel, or of a linear map: arrays, and how the rows are dealt out, `group` of them to a thread at a time; the
 * gradient of shared parameters has one sum for each group. Parameters of stride 0 are those of all rows. */
typedef struct {
  Kind kind;
  Int is_double, backward, threads, rows, elements, group;
  Matrix x, theta, g, gl;
  Block out, ladj, gtheta;
} Job;
_Static_assert(sizeof(Job) == 240, "Job: other fields than in native/layout.py");

/* A layer of a perceptron: z = weight h(source) + bias (+ z of layer skip); source -1 is the layer's own input. `edges[g]`: how many
 * of its units see only what is made before step g. The layer after the last hidden one gives the parameters, element by element. */
typedef struct {
  Int width, source, skip;
  Block edges, weight, bias, transposed, z, gz;
} Layer;
_Static_assert(sizeof(Layer) == 120, "Layer: other fields than in native/layout.py");

/* One sequential pass. Elements are made in the order `order`, those before `ends[g]` by the end of step g. */
typedef struct {
  Kind kind;
  Int is_double, backward, threads, rows, elements, groups, layers, activation;
  Block order, ends;
  Matrix values, shift, gmade, gladj;
  Block theta, made, ladj, gvalues, gtheta;
  Layer layer[MAX_LAYERS + 1]; /* only the first are there: as many as are said to be, and the last */
} Sweep;
_Static_assert(offsetof(Sweep, layer) == 320, "Sweep: other fields than in native/layout.py");

/* A layer of a perceptron: z = weight a + bias (+ z of layer skip), a the activations of layer `source`, or (-1) inputs and context.
 * Weights count as the mask says, or all `gain` times; `more` are those of the context. What stands after gbias the library fills in:
 * the weights as they are multiplied, by rows and by columns, and for each row and column where it begins and ends to be other than
 * 0. */
typedef struct {
  Int inputs, outputs, source, skip;
  double gain;
  Block weight, mask, more, bias, gweight, gmore, gbias;
  void *matrix, *transposed;
  Int *seen, *seeing;
} DenseLayer;
_Static_assert(sizeof(DenseLayer) == 184, "DenseLayer: other fields than in native/layout.py");

/* One pass through a perceptron, or back: all hidden layers and the last. What stands after gc the library fills in: sums of the
 * gradient of all weights, `part` numbers for each group of rows, and whether those beginnings and ends leave weights out. */
typedef struct {
  Int is_double, backward, threads, rows, group, layers, activation, inputs, contexts;
  Matrix x, c, g;
  Block out, gx, gc;
  void *sums;
  Int part, gaps;
  DenseLayer layer[MAX_LAYERS + 1]; /* only the first are there: as many as are said to be, and the last */
} Net;
_Static_assert(offsetof(Net, layer) == 216, "Net: other fields than in native/layout.py");

/* A layer of a perceptron without masks: z = weight h(source) + bias (+ z of layer skip); source -1 is the place. */
typedef struct {
  Int outputs, source, skip;
  Block weight, bias;
} FieldLayer;
_Static_assert(sizeof(FieldLayer) == 56, "FieldLayer: other fields than in native/layout.py");

/* Rows (a place of `inputs` numbers, and an integral) that follow the velocity that a perceptron gives, and the trace of its
 * Jacobian. The first layer is shown the time as `frequencies` cosines and sines of half turns, and the context, whose weights are
 * `more`. form: the trace as a form in the slopes of one or two hidden layers; without it tangents are carried. method: c, a, b and
 * error of `stages` stages. steps: how many equal ones; 0 follows the error. A row tries `most`, and a call accepts `accepts` of
 * them. Of a row that has not begun, whose status is 0, the place alone is read. */
typedef struct {
  Int threads, rows, group, layers, activation, inputs, contexts, frequencies, stages, steps, most, accepts;
  double start, end, tolerance, exponent, safety, least, greatest, damping;
  Block method, more, form;
  Matrix c;
  Block z, first, t, h, before, step, status, tries;
  FieldLayer layer[MAX_LAYERS + 1]; /* only the first are there: as many as are said to be, and the last */
} Follow;
_Static_assert(offsetof(Follow, layer) == 360, "Follow: other fields than in native/layout.py");

/* How large a kernel may be: a spline of one bin has no slopes to look up, and a gradient keeps what grows with bins times parts. */
static const struct {
  Int least, most, least_parts, most_parts;
  int has_floor;
} SIZES[] = {
    [AFFINE] = {0, 0, 0, 0, 0},
    [QUADRATIC_SPLINE] = {2, 1024, 0, 0, 0},
    [LINEAR_SPLINE] = {2, 1024, 0, 0, 0},
    [MONOTONIC_NETWORK] = {1, 64, 1, 32, 0},
    [DEEP_SIGMOID] = {1, 1024, 0, 0, 0},
    [DEEP_TANH] = {1, 1024, 0, 0, 0},
    [SUM_OF_SQUARES] = {1, 16, 1, 64, 1},
    [GENTLE_SUM_OF_SQUARES] = {1, 16, 1, 64, 1},
    [BERNSTEIN] = {3, 128, 0, 0, 0},
    [GENTLE_BERNSTEIN] = {3, 128, 0, 0, 0},
    [IDENTITY_BERNSTEIN] = {6, 128, 0, 0, 0},
};

#define LAYOUT \
  "Matrix: atq extentq strideq\n" \
  "Block: atq extentq\n" \
  "Kind: codeq binsq inverseq boundd partsq floord\n" \
  "Job: kindqqqdqd is_doubleq backwardq threadsq rowsq elementsq groupq xqqq thetaqqq gqqq glqqq outqq ladjqq gthetaqq\n" \
  "Layer: widthq sourceq skipq edgesqq weightqq biasqq transposedqq zqq gzqq\n" \
  "Sweep: kindqqqdqd is_doubleq backwardq threadsq rowsq elementsq groupsq layersq activationq orderqq endsqq valuesqqq shiftqqq gmadeqqq gladjqqq thetaqq madeqq ladjqq gvaluesqq gthetaqq\n" \
  "DenseLayer: inputsq outputsq sourceq skipq gaind weightqq maskqq moreqq biasqq gweightqq gmoreqq gbiasqq matrixq transposedq seenq seeingq\n" \
  "Net: is_doubleq backwardq threadsq rowsq groupq layersq activationq inputsq contextsq xqqq cqqq gqqq outqq gxqq gcqq sumsq partq gapsq\n" \
  "FieldLayer: outputsq sourceq skipq weightqq biasqq\n" \
  "Follow: threadsq rowsq groupq layersq activationq inputsq contextsq frequenciesq stagesq stepsq mostq acceptsq startd endd toleranced exponentd safetyd leastd greatestd dampingd methodqq moreqq formqq cqqq zqq firstqq tqq hqq beforeqq stepqq statusqq triesqq"
