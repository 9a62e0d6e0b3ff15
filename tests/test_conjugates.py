"""Views of complex conjugates are numbers like others: their memory has the other sign, and torch marks them so."""

import pytest
import torch
from cases import CASES

from pushforward.testing.case import Case


def marked(x):
    """Return the same numbers as a view whose memory has the other sign."""
    return None if x is None else torch._neg_view(-x)


@pytest.mark.parametrize("name", CASES)
def test_a_layer_takes_views_of_conjugates(name):
    plan, event_shape, context_shape = CASES[name]
    case = Case(plan, event_shape, context_shape)
    module = case.build(scale=0.3)
    x, c = case.points(5, module=module), case.contexts(5)
    for way, values in ((module, x), (module.inverse, module(x, c)[0])) if plan.bijective else ((module, x),):
        with torch.no_grad():
            plain, ladj = way(values, c)
            viewed, same = way(marked(values), marked(c))
        assert marked(values).is_neg()
        torch.testing.assert_close(viewed, plain, rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(same, ladj, rtol=1e-9, atol=1e-9)
