"""Hash the events of long lines ahead, so that a bill of millions of events locks its customer for moments."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from billing_site.kernel.merkle import MerkleTree
from metering.models import EventTree, Meter
from metering.queries.roots import READ_AT_ONCE_MAX, EventSpan, good_trees, grow

KEPT_FOR = timedelta(days=60)
# So many spans are read and kept together: killed in between, no more is hashed again.
SPANS_AT_ONCE = 50


def grow_trees(*, spans: Sequence[EventSpan], at: datetime) -> None:
    """Hash the events of spans that are not hashed yet, and keep how far it is; nothing is locked meanwhile.

    Of two that do so at once the last one's tree is kept: both are right. Raises NotFound for a meter that there is not.
    """
    for first in range(0, len(spans), SPANS_AT_ONCE):
        some = spans[first : first + SPANS_AT_ONCE]
        kept = good_trees(spans=some)
        trees = [MerkleTree(count=tree.leaf_count, peaks=bytes(tree.peaks)) if tree else MerkleTree() for tree in kept]
        afters = [tree.known_through if tree else 0 for tree in kept]
        # Only long lines are hashed ahead.
        grow(spans=some, trees=trees, afters=afters, expected_count=READ_AT_ONCE_MAX + 1)
        _keep(some, trees, at=at)


def _keep(spans: Sequence[EventSpan], trees: Sequence[MerkleTree], *, at: datetime) -> None:
    meters = {meter.key: meter for meter in Meter.objects.filter(key__in={span.meter_key for span in spans})}
    EventTree.objects.bulk_create(
        [
            EventTree(
                meter=meters[span.meter_key],
                customer_id=span.customer_id,
                start=span.period.start,
                end=span.period.end,
                known_through=span.known_through,
                leaf_count=tree.count,
                peaks=tree.peaks,
                grown_at=at,
            )
            for span, tree in zip(spans, trees, strict=True)
        ],
        update_conflicts=True,
        unique_fields=["meter", "customer_id", "start", "end"],
        update_fields=["known_through", "leaf_count", "peaks", "grown_at"],
    )


def forget_trees(*, at: datetime) -> int:
    """Forget what was hashed ahead for bills of long ago, and return how much of it."""
    return EventTree.objects.filter(grown_at__lt=at - KEPT_FOR).delete()[0]
