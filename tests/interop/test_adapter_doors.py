"""What adapters hand to other packages checks its arguments as a flow does: width, precision, contexts that are missing or not expected."""

import pytest
import torch

import pushforward as pf
from pushforward.contrib.flowtorch import bijectors as flowtorch_bijectors
from pushforward.contrib.nessai import flow_class
from pushforward.contrib.pyro import as_pyro
from pushforward.contrib.sbi import as_estimator, density_estimator
from pushforward.contrib.zuko import to_zuko

X, C = torch.randn(4, 3), torch.randn(4, 2)


def plain():
    return pf.NSF(3, transforms=1)


def conditional():
    return pf.NSF(3, context=2, transforms=1)


def nessai():
    return flow_class(pf.NSF)(3, 8, 1, 1)


def flowtorch():
    return flowtorch_bijectors.AffineAutoregressive(shape=(3,))


def estimator():
    return density_estimator(pf.NSF, transforms=1)(torch.randn(50, 3), torch.randn(50, 2))


# name -> what is called with values
CALLS = {
    "as_pyro, value": lambda x: as_pyro(plain()).log_prob(x),
    "as_pyro, given a context": lambda x: as_pyro(conditional(), C).log_prob(x),
    "to_zuko, density": lambda x: to_zuko(plain())().log_prob(x),
    "to_zuko, there": lambda x: to_zuko(plain())().transform(x),
    "to_zuko, back": lambda x: to_zuko(plain())().transform.inv(x),
    "to_zuko, given a context": lambda x: to_zuko(conditional())(C).log_prob(x),
    "nessai, density": lambda x: nessai().log_prob(x),
    "nessai, there": lambda x: nessai().forward(x),
    "nessai, back": lambda x: nessai().inverse(x),
    "nessai, latent": lambda x: nessai().base_distribution_log_prob(x),
    "flowtorch, there": lambda x: flowtorch().forward(x),
    "flowtorch, back": lambda x: flowtorch().inverse(x),
    "flowtorch, log-determinant": lambda x: flowtorch().log_abs_det_jacobian(x, x),
    "sbi, density": lambda x: estimator().log_prob(x, C),
    "sbi, density of a fitted flow": lambda x: as_estimator(conditional()).log_prob(x, C),
}
WRONG = {
    "too narrow": X[:, :2],
    "too wide": torch.randn(4, 6),
    "no axis": torch.tensor(0.0),
    "whole numbers": X.long(),
    "double": X.double(),
}


# A base without parameters takes any precision.
TRIED = [(call, wrong) for call in CALLS for wrong in WRONG if (call, wrong) != ("nessai, latent", "double")]


@pytest.mark.parametrize(("call", "wrong"), TRIED)
def test_values(call, wrong):
    assert CALLS[call](X) is not None
    with pytest.raises((ValueError, TypeError), match=r"(?i)expected|shape|dimension"):
        CALLS[call](WRONG[wrong])


CONTEXTS = {
    "as_pyro, missing": lambda: as_pyro(conditional()).log_prob(X),
    "as_pyro, not expected": lambda: as_pyro(plain(), C),
    "as_pyro, width": lambda: as_pyro(conditional(), torch.randn(4, 5)),
    "to_zuko, missing": lambda: to_zuko(conditional())(),
    "to_zuko, not expected": lambda: to_zuko(plain())(C),
    "to_zuko, width": lambda: to_zuko(conditional())(torch.randn(4, 5)),
    "nessai, not expected": lambda: nessai().log_prob(X, C),
    "nessai, back, not expected": lambda: nessai().inverse(X, C),
    "sbi, width": lambda: estimator().log_prob(X, torch.randn(4, 5)),
}


@pytest.mark.parametrize("call", CONTEXTS)
def test_contexts(call):
    with pytest.raises((ValueError, TypeError), match=r"(?i)expected|shape"):
        CONTEXTS[call]()


def test_a_flow_for_zuko_takes_contexts_in_the_users_units():
    flow = conditional()
    flow.calibrate(X, 100 + 20 * C)
    torch.nn.init.normal_(flow.transform.layers[0].parameters_of.net.layers[-1].weight)
    c = 100 + 20 * C
    there = to_zuko(flow)(c)
    assert torch.equal(there.log_prob(X), flow.log_prob(X, c))
    torch.testing.assert_close(there.transform(X), flow.to_base(X, c)[0])
