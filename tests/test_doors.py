"""Every public way in checks what it is given: layers, nets, bases, flows and Pyro's face, over all rows of the tables."""

from __future__ import annotations

import copy
import itertools

import pyro_face_cases as face
import pytest
import torch
import torch.distributions as td
from cases import CASES, SMALL
from every_plan import EVERY

from pushforward import bases, flows
from pushforward import bijectors as bij
from pushforward import transforms as T
from pushforward.core import built, checks
from pushforward.core.base import Base
from pushforward.core.layer import Layer
from pushforward.core.spec import registry
from pushforward.distributions import DiagNormal, Flow, StandardNormal, TransformedDistribution
from pushforward.files import load
from pushforward.flow import flow as flow_module
from pushforward.nets.periodic import Periodic
from pushforward.nets.signature import Signature
from pushforward.testing import randomize
from pushforward.testing.case import Case

RANKS = range(6)


def refused(function, *words):
    """Check that a call raises ValueError or TypeError with words of its own: what was expected, and what came."""
    with pytest.raises((ValueError, TypeError)) as caught:
        function()
    message = str(caught.value)
    assert "expected" in message, message
    assert "got" in message, message
    for word in words:
        assert word in message, message


def wrong_shapes(shape):
    """Give shapes of 0 to 5 axes that do not end in ``shape``."""
    for rank in RANKS:
        for last in (1, 7, (shape[-1] if shape else 1) + 1):
            tried = (2,) * max(rank - 1, 0) + (last,) * min(rank, 1)
            if len(tried) < len(shape) or tried[len(tried) - len(shape) :] != tuple(shape):
                yield tried


@pytest.mark.parametrize("name", CASES)
def test_layers(name):
    """A built layer, both ways and when it is calibrated, refuses what it was not built for and says its name."""
    plan, event_shape, context_shape = CASES[name]
    module = plan.build(event_shape, context_shape)
    context = None if context_shape is None else torch.zeros(*context_shape)
    label = repr(plan)[:40]
    ways = {"x": (module, module.event_shape), "y": (module.inverse, module.out_shape)}
    for what, (call, shape) in ways.items():
        good = torch.zeros(2, *shape)
        for wrong in wrong_shapes(shape):
            refused(lambda call=call, wrong=wrong: call(torch.zeros(wrong), context), label, what, str(wrong))
        refused(lambda call=call, good=good: call(good.long(), context), label, "int64")
        refused(lambda call=call, good=good: call(good.bool(), context), label, "bool")
        refused(lambda call=call, good=good: call(good.to(torch.complex64), context), label, "complex64")
        refused(lambda call=call, good=good: call(good.tolist(), context), label, "list")
        refused(lambda call=call, good=good: call(good.numpy(), context), label, "ndarray")
        refused(lambda call=call, good=good: call(good.to_sparse(), context) if good.dim() else call(None), label)
        if any(p.is_floating_point() for p in module.parameters()):
            refused(lambda call=call, good=good: call(good.double(), context), label, "float32", "float64")
            refused(lambda call=call, good=good: call(good.to("meta"), context), label, "meta")
        wide = [1] if context_shape is None else [*context_shape[:-1], context_shape[-1] + 1]
        refused(lambda call=call, good=good, wide=wide: call(good, torch.zeros(wide)), label, "context")
        if context_shape is not None:
            refused(lambda call=call, good=good: call(good), label, "context", "none")
            narrow = torch.zeros([*context_shape[:-1], context_shape[-1] - 1])
            refused(lambda call=call, good=good, narrow=narrow: call(good, narrow), label, "context")
            refused(lambda call=call, good=good: call(good, context.long()), label, "context", "int64")
            refused(lambda call=call, good=good: call(good, torch.zeros(5, *context_shape)), label, "broadcast")
            refused(lambda call=call, good=good: call(good, context.tolist()), label, "context", "list")
    for act in (module.calibrate, module.update):
        refused(lambda act=act: act(torch.zeros(2, *module.out_shape).long(), context), label)
        if module.out_shape:
            refused(lambda act=act: act(torch.zeros(2, *module.out_shape, 9), context), label)


@pytest.mark.parametrize("name", CASES)
def test_layers_take_what_is_right(name):
    """Public methods take values of up to three batch axes, none among them, and half precision where the layer has it; nothing changes."""
    plan, event_shape, context_shape = CASES[name]
    module = plan.build(event_shape, context_shape)
    context = None if context_shape is None else torch.zeros(*context_shape)
    x = Case.into(torch.randn(3, *event_shape), module.domain)
    for values in (x, x[0], x[:0], x[None, None]):
        given, pushed = module(values, context), module.push(values, context)
        assert all(torch.equal(a, b) or torch.equal(a.nan_to_num(), b.nan_to_num()) for a, b in zip(given, pushed, strict=True))
        assert given[0].shape == (*values.shape[: values.dim() - len(event_shape)], *module.out_shape)


NETS = {
    "MLP": (bij.MLP((8,)), 2, 3),
    "MLP of a context": (bij.MLP((8,)), 0, 3),
    "MLP of values": (bij.MLP((8,)), 2, 0),
    "wide MLP": (bij.MLP((128, 128)), 2, 3),
    "ResidualMLP": (bij.ResidualMLP(8), 2, 3),
    "Periodic": (Periodic(bij.MLP((8,)), [0]), 2, 3),
    "Potential": (bij.Potential(bij.MLP((8,), "silu")), 6, 3),
}


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("train", [False, True])
def test_nets(name, train):
    plan, inputs, context = NETS[name]
    net = plan.build(Signature.of_sizes(inputs, 6, context))
    good = torch.zeros(4, inputs) if inputs else None, torch.zeros(4, context) if context else None
    assert net(*good).shape == (4, 6)
    for place, width in enumerate((inputs, context)):
        for tried in {None, width - 1, width + 1, width + 28, 3 * width + 3, 0} - {width}:
            if tried is None and not width:
                continue
            given = list(good)
            given[place] = None if tried is None else torch.zeros(4, max(tried, 0))
            with torch.set_grad_enabled(train):
                refused(lambda given=given: net(*given))
        if width:
            for odd in (torch.zeros(4, width).long(), [[0.0] * width], torch.tensor(0.0)):
                given = list(good)
                given[place] = odd
                refused(lambda given=given: net(*given))
    if inputs and context:
        refused(lambda: net(torch.zeros(4, inputs), torch.zeros(5, context)), "broadcast")


BASES = {
    "StandardNormal": (bases.StandardNormal(), (2,), None),
    "DiagNormal given context": (bases.DiagNormal(net=SMALL), (2, 3), (3,)),
    "FullNormal": (bases.FullNormal(), (2,), None),
    "StudentT": (bases.StudentT(), (2,), None),
    "GeneralizedNormal": (bases.GeneralizedNormal(), (2,), None),
    "BoxUniform": (bases.BoxUniform(), (2,), None),
    "VonMises": (bases.VonMises(), (2,), None),
    "MixtureOfNormals, full": (bases.MixtureOfNormals(3, covariance="full", start="kmeans"), (2,), None),
    "MixtureOfNormals given context": (bases.MixtureOfNormals(3, net=SMALL), (2,), (3,)),
    "MixtureOfVonMisesFisher": (bases.MixtureOfVonMisesFisher(3, start="em"), (3,), None),
    "Resampled": (bases.Resampled(bij.MLP((8,)), trials=5, nodes=16, conditional=True), (2,), (3,)),
    "Product": (bases.Product([bases.StandardNormal(), bases.BoxUniform()], [1, 1]), (2,), None),
    "Pushforward": (bases.Pushforward(bases.StandardNormal(), bij.Coupling(bij.Affine(), net=SMALL)), (2,), (3,)),
    "Mixture": (bases.Mixture([bases.StandardNormal(), bases.DiagNormal()], net=SMALL), (2,), (3,)),
    "Truncated": (bases.Truncated(bases.StandardNormal(), 0.0, 1.0), (2,), None),
    "OrderStatistics": (bases.OrderStatistics(bases.StandardNormal()), (3,), None),
    "a distribution of torch": (bases.wrap(td.Independent(td.Normal(torch.zeros(2), 1.0), 1)), (2,), None),
    "a distribution with a batch": (bases.wrap(td.Normal(torch.zeros(4, 2), 1.0)), (2,), None),
}
_HERE = {type(plan) for plan, _, _ in BASES.values()}
BASES |= {name: row for name, row in EVERY.items() if isinstance(row[0], Base) and type(row[0]) not in _HERE}


def test_every_base_has_a_row():
    own = {name for name, cls in registry().items() if issubclass(cls, Base) and cls.__module__.startswith("pushforward.bases")}
    assert own <= {type(plan).__name__ for plan, _, _ in BASES.values()}


@pytest.mark.parametrize("name", BASES)
def test_bases(name):
    plan, shape, context_shape = BASES[name]
    base = plan.build(shape, context_shape)
    context = None if context_shape is None else torch.zeros(context_shape)
    batch = tuple(base.batch_shape)
    good = base.rsample(batch, context)
    assert base.log_prob(good, context).shape == batch
    scored = [base.log_prob, *([base.log_tails, base.quantile] if base.facts.has_tails else [])]
    for call, wrong in itertools.product(scored, wrong_shapes(shape)):
        refused(lambda call=call, wrong=wrong: call(torch.zeros(wrong), context), str(wrong))
    for call in scored:
        refused(lambda call=call: call(good.long(), context), "int64")
        refused(lambda call=call: call(good.tolist(), context), "list")
        extra = torch.zeros(1 if context_shape is None else context_shape[0] + 1)
        refused(lambda call=call, extra=extra: call(good, extra), "context")
        if context_shape is not None:
            refused(lambda call=call: call(good), "context", "none")
            refused(lambda call=call: call(torch.zeros(4, *shape), torch.zeros(5, *context_shape)), "broadcast")
    refused(lambda: base.rsample((-1, *batch), context) if not batch else base.rsample((3,), context))
    refused(lambda: base.rsample("ab", context))
    if context_shape is not None:
        refused(lambda: base.rsample((4,), torch.zeros(5, *context_shape)))
        refused(lambda: base.rsample((4,)), "context", "none")
    else:
        refused(lambda: base.rsample((4, *batch), torch.zeros(3)), "context")
    if not base.facts.has_tails:
        for call in (base.log_tails, base.quantile):
            with pytest.raises(NotImplementedError, match="distribution function"):
                call(good, context)


@pytest.mark.parametrize("case", face.CASES)
def test_pyro_face(case):
    """Pyro's transforms refuse values of another shape, whole numbers, another precision, and what is no tensor."""
    transform, (_, _, shape) = face.make(case), face.CASES[case]
    if case in face.CONDITIONAL:
        for wrong in (torch.zeros(3), torch.zeros(()), None, [0.0, 0.0]):
            refused(lambda wrong=wrong: transform.condition(wrong))
        transform = transform.condition(torch.zeros(2))
    assert transform(torch.zeros(3, *shape)).shape == (3, *shape)
    for call in (transform, transform.inv, lambda x: transform.log_abs_det_jacobian(x, x)):
        for wrong in wrong_shapes(shape):
            # A permutation of channels takes images of any size.
            if "generalized" not in case or wrong[-3:-2] != shape[:1]:
                refused(lambda call=call, wrong=wrong: call(torch.zeros(wrong)))
        refused(lambda call=call: call(torch.ones(3, *shape).long()), "int64")
        refused(lambda call=call: call([0.0]), "list")
        if any(True for _ in transform.parameters()):
            refused(lambda call=call: call(torch.ones(3, *shape).double()), "float64")


FIXED = [
    T.ELUTransform(),
    T.LeakyReLUTransform(),
    T.SoftplusTransform(),
    T.OrderedTransform(),
    T.DiscreteCosineTransform(),
    T.HaarTransform(),
    T.UnitLowerCholeskyTransform(),
    T.SoftplusLowerCholeskyTransform(),
    T.LowerCholeskyAffine(torch.zeros(2), torch.eye(2)),
]


@pytest.mark.parametrize("transform", FIXED, ids=lambda transform: type(transform).__name__)
def test_fixed_transforms_of_pyro(transform):
    for call in (transform, transform.inv):
        refused(lambda call=call: call(torch.ones(2, 2).long()), "int64")
        refused(lambda call=call: call([1.0]), "list")
        if transform.domain.event_dim:
            refused(lambda call=call: call(torch.tensor(1.0)))


BOUNDED = {
    "sigmoid": (T.SigmoidTransform, torch.tensor([[0.5, 1.5]])),
    "exp": (T.ExpTransform, torch.tensor([[1.0, -1.0]])),
    "softplus": (T.SoftplusTransform, torch.tensor([[1.0, -1.0]])),
}


@pytest.mark.parametrize("switch", [True, False])
@pytest.mark.parametrize("name", BOUNDED)
def test_support_is_checked_whatever_torch_validates(name, switch, monkeypatch):
    """Anything that compiles sets torch's switch for the whole process; ours holds all the same."""
    monkeypatch.setattr(td.Distribution, "_validate_args", switch)
    transform, outside = BOUNDED[name]
    normal = td.Normal(torch.zeros(2), torch.ones(2))
    made = TransformedDistribution(normal, [transform()])
    refused(lambda: made.log_prob(outside))
    assert torch.isfinite(made.log_prob(made.sample((5,)))).all()
    lax = TransformedDistribution(normal, [transform()], validate_args=False)
    scores = lax.log_prob(outside)
    assert torch.isfinite(scores[0, 0])
    assert scores[0, 1] == -torch.inf
    assert torch.isnan(lax.log_prob(torch.full((1, 2), torch.nan))).all()


CROSSED = [
    (lambda: flows.NSF(2, context=3), (2,), (3,)),
    (lambda: flows.MAF(4, context=1), (4,), (1,)),
    (lambda: flows.IAF(4, context=1), (4,), (1,)),
    (lambda: Flow(StandardNormal(), bij.Coupling(bij.Affine()), 4, 3), (4,), (3,)),
    (lambda: Flow(StandardNormal(), bij.Autoregressive(bij.Spline()), 4, 3), (4,), (3,)),
]


@pytest.mark.parametrize("row", range(len(CROSSED)))
def test_no_width_reaches_the_compiled_code_unchecked(row):
    """Widths that ended the process in training: contexts too wide by one or by many, twice as many features."""
    make, shape, context_shape = CROSSED[row]
    flow = make()
    for module in (flow.transform, *flow.transform.modules()):
        if not isinstance(module, Layer) or module.context_shape is None:
            continue
        for wide in (1, 57, 297):
            for call in (module, module.inverse):
                refused(lambda call=call, wide=wide: call(torch.randn(5, *shape), torch.randn(5, context_shape[0] + wide)))
        for call in (module, module.inverse):
            refused(lambda call=call: call(torch.randn(5, 2 * shape[0]), torch.randn(5, *context_shape)))


@pytest.mark.parametrize("row", range(len(CROSSED)))
def test_one_way_to_the_base_and_back(row, tmp_path):
    """Transform, base and flow take the same contexts, those of the user, also once they are measured, copied, loaded and standardised."""
    make, shape, context_shape = CROSSED[row]
    torch.manual_seed(row)
    flow = make()
    y, c = torch.randn(50, *shape), 100 + 30 * torch.randn(50, *context_shape)
    for parameter in flow.transform.parameters():
        parameter.data.add_(0.1 * torch.randn_like(parameter))
    flow.standardize(2 + 5 * y, c)
    flow.save(tmp_path / "flow.safetensors")
    for tried in (flow, copy.deepcopy(flow), load(tmp_path / "flow.safetensors"), copy.deepcopy(flow).double()):
        y, c = y.to(tried.dtype), c.to(tried.dtype)
        x, ladj = tried.to_base(y, c)
        assert all(torch.equal(a, b) for a, b in zip(tried.transform.inverse(y, c), (x, ladj), strict=True))
        inner = tried.context_units.inverse(c)[0]
        assert all(torch.equal(a, b) for a, b in zip(tried.transform.pull(y, inner), (x, ladj), strict=True))
        assert torch.equal(tried.log_prob(y, c), tried.base.log_prob(x, c) + ladj)
        back, there = tried.from_base(x, c)
        # Each layer's way back is good to some roundings, which its slopes magnify.
        torch.testing.assert_close(back, y, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(there, -ladj, rtol=1e-3, atol=1e-3)


CALLS = {
    "sample": lambda flow, c, g: flow.sample((4,), c, generator=g),
    "rsample": lambda flow, c, g: flow.rsample((4,), c, generator=g),
    "rsample_and_log_prob": lambda flow, c, g: flow.rsample_and_log_prob((4,), c, generator=g),
    "log_prob": lambda flow, c, g: flow.log_prob(torch.ones(50, *flow.event_shape), c),
    "to_base": lambda flow, c, g: flow.to_base(torch.ones(50, *flow.event_shape), c),
    "from_base": lambda flow, c, g: flow.from_base(torch.ones(50, *flow.event_shape), c),
    "condition, sample": lambda flow, c, g: flow.condition(c).sample((4,), generator=g),
    "condition, rsample": lambda flow, c, g: flow.condition(c).rsample((4,), generator=g),
    "condition, rsample_and_log_prob": lambda flow, c, g: flow.condition(c).rsample_and_log_prob((4,), generator=g),
    "condition, log_prob": lambda flow, c, g: flow.condition(c).log_prob(torch.ones(50, *flow.event_shape)),
    "condition, expand": lambda flow, c, g: flow.condition(c).expand((3, 50)).sample((4,), generator=g),
    "transform": lambda flow, c, g: flow.transform(torch.ones(50, *flow.event_shape), c),
    "transform, inverse": lambda flow, c, g: flow.transform.inverse(torch.ones(50, *flow.event_shape), c),
    "base, log_prob": lambda flow, c, g: flow.base.log_prob(torch.ones(50, *flow.event_shape), c),
    "base, rsample": lambda flow, c, g: flow.base.rsample((50,), c, g),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_every_call_takes_contexts_in_the_units_of_the_user(name):
    """A flow that was measured gives for a context what one that was not gives for the same context in standard units."""
    base, net = DiagNormal(net=bij.MLP((8,))), bij.MLP((8,))
    one, two = (Flow(base, [bij.Coupling(bij.Spline(4), net=net), bij.Elementwise(bij.Affine(), net)], 3, 2) for _ in range(2))
    randomize(one, 1.0)
    two.load_state_dict(one.state_dict())
    c = 100 + 30 * torch.randn(50, 2, generator=torch.Generator().manual_seed(0))
    one.calibrate(torch.randn(50, 3), c)
    units = (c - c.mean(0)) / c.std(0, correction=0)
    found, expected, raw = (
        CALLS[name](flow, given, torch.Generator().manual_seed(1)) for flow, given in ((one, c), (two, units), (two, c))
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    first = [out[0] if isinstance(out, tuple) else out for out in (found, raw)]
    assert not torch.allclose(*first, rtol=1e-2, atol=1e-2)


def test_flow_to_base_checks():
    flow = flows.MAF(3, context=2)
    x, c = torch.zeros(4, 3), torch.zeros(4, 2)
    for call in (flow.to_base, flow.from_base):
        refused(lambda call=call: call(x), "Flow", "context")
        refused(lambda call=call: call(x[:, :2], c), "Flow", "value")
        refused(lambda call=call: call(x, c[:3]), "broadcast")
        refused(lambda call=call: call(x.double(), c), "float64")
        refused(lambda call=call: call(x.long(), c), "int64")
        refused(lambda call=call: call(x, c.long()), "int64")


def test_one_check_of_the_whole(monkeypatch):
    """However many layers there are, a call of the whole checks its arguments once."""
    seen = []

    def counted(owner, what, value, *rest):
        seen.append(what)
        return check(owner, what, value, *rest)

    check = checks.check_tensor
    monkeypatch.setattr(checks, "check_tensor", counted)
    monkeypatch.setattr(flow_module, "check_tensor", counted)
    assert built.checks is checks
    flow = flows.NSF(3, context=2, transforms=6)
    x, c = torch.zeros(4, 3), torch.zeros(4, 2)
    calls = {
        "log_prob": lambda: flow.log_prob(x, c),
        "to_base": lambda: flow.to_base(x, c),
        "transform": lambda: flow.transform(x, c),
        "inverse": lambda: flow.transform.inverse(x, c),
    }
    for name, call in calls.items():
        seen.clear()
        call()
        assert sorted("context" if what == "context" else "value" for what in seen) == ["context", "value"], name
    seen.clear()
    flow.sample((4,), c[0])
    assert seen == ["context"]
