"""The compiled code never trusts a size: what does not fit is refused before anything is read or written, at each way in."""

from __future__ import annotations

import collections

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from native_jobs import JOBS, SENTINEL, anything, faults

COUNTS: collections.Counter[str] = collections.Counter()
"""What was tried and how it ended; the sanitizers' run prints it."""

each_entry = pytest.mark.parametrize("entry", JOBS)
EXAMPLES = settings.default.max_examples
few = settings(max_examples=EXAMPLES // 4, deadline=None)
many = settings(max_examples=EXAMPLES, deadline=None)


def untouched(job):
    return all((out == SENTINEL).all() for out in job.outputs)


@each_entry
def test_what_fits_is_computed(entry):
    @few
    @given(JOBS[entry])
    def run(job):
        assert job.call() == 0
        COUNTS[f"{entry}: raw, right"] += 1

    run()


@each_entry
def test_what_does_not_fit_is_refused(entry):
    @many
    @given(st.data(), JOBS[entry])
    def run(data, job):
        fault = data.draw(faults(job))
        assert job.call() > 1, fault
        assert untouched(job), fault
        COUNTS[f"{entry}: raw, wrong, refused"] += 1

    run()


@each_entry
def test_whatever_the_numbers_are_it_stays_within_its_arrays(entry):
    @many
    @given(st.data(), JOBS[entry])
    def run(data, job):
        code = job.call(data.draw(anything(job)))
        assert code == 0 or untouched(job)
        COUNTS[f"{entry}: raw, anything, {'refused' if code else 'computed'}"] += 1

    run()
