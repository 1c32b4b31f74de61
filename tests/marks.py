"""Which cases of a test run by default."""

import pytest


def mostly_slow(cases, keep):
    """Cases for `pytest.mark.parametrize`, of which those after the first `keep` are slow."""
    cases = list(cases)
    later = (case if isinstance(case, tuple) else (case,) for case in cases[keep:])
    return cases[:keep] + [pytest.param(*case, marks=pytest.mark.slow) for case in later]
