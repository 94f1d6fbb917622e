"""Hash the events of long lines ahead, so that a bill of millions of events locks its customer for moments."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from billing_site.kernel.merkle import MerkleTree
from metering.models import EventTree
from metering.queries.roots import READ_AT_ONCE_MAX, EventSpan, grow, still_good, tree_of
from metering.queries.usage import meter_by_key

KEPT_FOR = timedelta(days=60)


def grow_trees(*, spans: Sequence[EventSpan], at: datetime) -> None:
    """Hash the events of spans that are not hashed yet, and keep how far it is; nothing is locked meanwhile.

    Of two that do so at once the last one's tree is kept: both are right.
    """
    for span in spans:
        kept = still_good(tree=tree_of(span=span), span=span)
        tree = MerkleTree(count=kept.leaf_count, peaks=bytes(kept.peaks)) if kept else MerkleTree()
        after = kept.known_through if kept else 0
        # Only long lines are hashed ahead.
        grow(spans=[span], trees=[tree], afters=[after], expected_count=READ_AT_ONCE_MAX + 1)
        EventTree.objects.update_or_create(
            meter=meter_by_key(key=span.meter_key),
            customer_id=span.customer_id,
            start=span.period.start,
            end=span.period.end,
            defaults={
                "known_through": span.known_through,
                "leaf_count": tree.count,
                "peaks": tree.peaks,
                "grown_at": at,
            },
        )


def forget_trees(*, at: datetime) -> int:
    """Forget what was hashed ahead for bills of long ago, and return how much of it."""
    return EventTree.objects.filter(grown_at__lt=at - KEPT_FOR).delete()[0]
