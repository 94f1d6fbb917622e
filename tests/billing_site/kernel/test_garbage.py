"""Python's search for garbage waits for a piece of work, and never for ever."""

import gc

import pytest

from billing_site.kernel.garbage import uncollected


def test_nothing_is_searched_meanwhile_and_everything_is_afterwards_even_after_an_error() -> None:
    with uncollected():
        assert not gc.isenabled()
        with uncollected():
            pass
        assert not gc.isenabled(), "the inner one leaves it as it was"
    assert gc.isenabled()

    with pytest.raises(ValueError, match="half way"), uncollected():
        raise ValueError("half way")
    assert gc.isenabled()
