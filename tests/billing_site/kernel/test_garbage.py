"""Python's search for garbage waits for a piece of work, and never for ever."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from billing_site.kernel.garbage import set_aside, uncollected


@pytest.fixture(autouse=True)
def nothing_is_set_aside() -> Iterator[None]:
    """As in a process of its own: to import what the web server runs, as other tests do, sets all aside."""
    gc.unfreeze()
    yield
    gc.unfreeze()


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


class Left:
    """Something that holds itself."""

    def __init__(self) -> None:
        self.itself = self


def test_what_a_piece_of_a_run_leaves_is_found_after_the_next_piece() -> None:
    with set_aside():
        with uncollected():
            held = Left()
        left = weakref.ref(held)
        del held
        with uncollected(), uncollected():
            pass

        assert left() is None
        assert gc.get_freeze_count() > 0, "what was there before the run is set aside until it ends"
    assert gc.get_freeze_count() == 0


def test_what_somebody_else_has_set_aside_stays_so() -> None:
    gc.freeze()

    with set_aside(), uncollected():
        pass

    assert gc.get_freeze_count() > 0
