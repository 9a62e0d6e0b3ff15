"""Memory: the most that torch's allocator on the CPU has handed out at once, by its own record."""

from torch.profiler import ProfilerActivity, profile


def peak(function, held=0):
    """Return the most bytes that are out while a function runs, its result included, on top of what is held before it."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        result = function()
    del result
    events = sorted((e for e in record.profiler.kineto_results.events() if e.name() == "[memory]"), key=lambda e: e.start_ns())
    alive = most = held
    for event in events:
        alive += event.nbytes()
        most = max(most, alive)
    return most
