"""An add-on in time: it is what its parent is, trial, charged or paused, and is over when that is."""

from collections.abc import Sequence
from dataclasses import replace

from invoicing.core.phases import Phase, joined


def following(*, phases: Sequence[Phase], parent: Sequence[Phase]) -> tuple[Phase, ...]:
    """Return an add-on's phases as they follow its parent's: its own plan and quantity, the parent's kind, not beyond its end.

    Empty where the parent ends before the add-on begins.
    """
    parts = []
    for own in phases:
        for over in parent:
            starts_at = max(own.starts_at, over.starts_at)
            ends = [ends_at for ends_at in (own.ends_at, over.ends_at) if ends_at is not None]
            ends_at = min(ends, default=None)
            if ends_at is None or starts_at < ends_at:
                parts.append(replace(own, starts_at=starts_at, ends_at=ends_at, kind=over.kind))
    return joined(parts)
