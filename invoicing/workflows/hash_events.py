"""Hash the events of long lines before their customer is locked, and only what came since while he is."""

from collections.abc import Callable
from datetime import datetime
from typing import TypeVar

from metering.queries.roots import ManyEventsToHash
from metering.trees import grow_trees

# After the first time only what came meanwhile is left; who sends more than that has to wait for the next run.
TRIES = 3
Result = TypeVar("Result")


def hashing_ahead(work: Callable[[], Result], *, at: datetime) -> Result:
    """Do what locks a customer; where it would hash too many events, let go, hash them first, and do it again.

    Raises ManyEventsToHash where events come faster than they can be hashed.
    """
    for _ in range(TRIES - 1):
        try:
            return work()
        except ManyEventsToHash as behind:
            grow_trees(spans=behind.spans, at=at)
    return work()
