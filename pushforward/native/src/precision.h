/* Everything for one precision. */
#include "maths.h"
#include "affine.h"
#include "spline.h"
#include "monotone.h"
#include "elementwise.h"
#include "autoregressive.h"
#include "linear.h"
#include "perceptron.h"
#ifndef SINGLE
#include "follow.h" /* in double alone */
#endif
