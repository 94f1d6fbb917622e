"""Python's search for garbage waits for a piece of work, and never for ever."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from billing_site.kernel import garbage
from billing_site.kernel.garbage import look_seldom, set_aside, set_aside_for_good, uncollected


@pytest.fixture(autouse=True)
def nothing_is_set_aside(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As in a process that has just begun: the one that tests has set aside what it has loaded."""
    monkeypatch.setattr(garbage, "_is_set_aside", False)
    gc.unfreeze()
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.freeze()


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


def test_what_is_set_aside_for_good_stays_so() -> None:
    set_aside_for_good()

    with set_aside(), uncollected():
        pass

    assert gc.get_freeze_count() > 0


def test_a_command_looks_for_garbage_seldom() -> None:
    gc.set_threshold(700, 10, 10)

    look_seldom()

    assert gc.get_threshold() == (10_000, 10, 10)
