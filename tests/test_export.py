"""torch.export: every flow becomes one graph of torch's own operators that takes any number of rows."""

import io

import pytest
import torch
from alone import promised
from cases import CASES, HEAVY, SMALL
from torch import nn

import pushforward as pf
from pushforward import bijectors as bij
from pushforward.bases import StandardNormal
from pushforward.nets.net import NetModule
from pushforward.testing.case import Case, randomize

pytestmark = pytest.mark.compiler

ROWS = (1, 2, 3, 4, 9, 30)
"""Below and above the rows that a product of matrices is padded to."""


class Both(nn.Module):
    """A layer there and back."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x, context=None):
        y, ladj = self.layer(x, context)
        return y, ladj, *self.layer.inverse(y, context)


class Score(nn.Module):
    """The log-density of a flow."""

    def __init__(self, flow):
        super().__init__()
        self.flow = flow

    def forward(self, x, context=None):
        return (self.flow.log_prob(x, context),)


def exported(module, *arguments):
    """Return a module exported for any number of rows."""
    dims = {0: torch.export.Dim("rows", min=1, max=2**20)}
    made = torch.export.export(module, arguments, dynamic_shapes=tuple(dims for _ in arguments), strict=False)
    operators = {str(node.target).split(".")[0] for node in made.graph.nodes if node.op == "call_function"}
    assert not {name for name in operators if name.startswith("pushforward")}, "it runs where this library is not"
    return made


def check(module, *arguments, tolerance=1e-4):
    run = exported(module, *(a[:7] for a in arguments)).module()
    with torch.no_grad():
        for rows in ROWS:
            given = tuple(a[:rows] for a in arguments)
            for one, other in zip(run(*given), module(*given), strict=True):
                torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def rows_of(event, context=None, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(max(ROWS), *shape, generator=draw) for shape in (event, context) if shape is not None]


N, FEATURES = StandardNormal(), (3,)
# name -> (layers, event shape, context shape): each structure, each kind of net, each kind of kernel that has code of its own
LAYERS = {
    "coupling, spline": ([bij.Coupling(bij.Spline(bins=4), net=SMALL), bij.Linear()], FEATURES, (2,)),
    "autoregressive, affine": ([bij.Autoregressive(bij.Affine(), net=SMALL)], FEATURES, None),
    "given a context": ([bij.Elementwise(bij.Affine(), net=bij.ResidualMLP(8))], FEATURES, (2,)),
    "wide": ([bij.Coupling(bij.Affine(), net=bij.MLP((256, 256)))], FEATURES, None),
    "wide and masked": ([bij.InverseAutoregressive(bij.Affine(), net=bij.MLP((600, 600)))], FEATURES, None),
    "angles": ([bij.Coupling(bij.CircularShift(), net=bij.Periodic(SMALL))], FEATURES, (2,)),
    "module of the user's": ([bij.Coupling(bij.Affine(), net=nn.Sequential(nn.Linear(1, 8), nn.Tanh(), nn.Linear(8, 4)))], FEATURES, None),
    "matrices": ([bij.Coupling(bij.Affine(), net=SMALL), bij.OnAxis(bij.Linear(), 0)], (2, 2), None),
}


@pytest.mark.parametrize("name", LAYERS)
def test_any_number_of_rows(name):
    layers, event, context = LAYERS[name]
    torch.manual_seed(0)
    layer = bij.Compose(layers).build(event, context)
    randomize(layer, 0.5)
    check(Both(layer), *rows_of(event, context))


def test_a_flow_is_exported_written_and_read():
    torch.manual_seed(0)
    flow = pf.MAF(3, 2, transforms=2, widths=(16,))
    randomize(flow, 0.5)
    x, c = rows_of((3,), (2,))
    flow.standardize(3 * x + 1, c)
    made, buffer = exported(Score(flow), x[:5], c[:5]), io.BytesIO()
    torch.export.save(made, buffer)
    buffer.seek(0)
    read = torch.export.load(buffer).module()
    for rows in ROWS:
        torch.testing.assert_close(read(x[:rows], c[:rows])[0], flow.log_prob(x[:rows], c[:rows]))


def test_what_is_exported_may_be_for_many_rows_and_one_context():
    flow = pf.NSF(2, 3, transforms=1, widths=(8,))
    dims = {0: torch.export.Dim("rows", min=1, max=2**20)}
    x, c = rows_of((2,), (3,))
    made = torch.export.export(Score(flow), (x, c[:1]), dynamic_shapes=(dims, None), strict=False).module()
    torch.testing.assert_close(made(x[:4], c[:1])[0], flow.log_prob(x[:4], c[:1]))


def has_a_net(name):
    return any(isinstance(part, NetModule) for part in Case(*CASES[name]).build().modules())


# Of the rows that take the compiler long those without a root, whose steps would all be written down.
AS_WELL = {
    "Autoregressive circular spline, periodic",
    "Autoregressive quadratic spline",
    "Autoregressive sinh-arcsinh",
    "Coupling cubic spline",
    "Sylvester given context",
}
QUICK = {"Continuous", "Continuous, rk4, given context"}


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.heavy] * (name not in QUICK))
        for name in CASES
        if (name not in HEAVY or name in AS_WELL) and has_a_net(name)
    ],
)
def test_any_number_of_rows_of_every_plan_with_a_net(name):
    case = Case(*CASES[name])
    module = case.build(torch.float32, scale=0.5)
    context = [] if case.context_shape is None else rows_of(case.context_shape)
    # In a graph solvers take equal steps.
    check(Both(module), case.points(max(ROWS), torch.float32, module=module), *context, tolerance=1e-3 + promised(module))
