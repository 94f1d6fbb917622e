"""How far the events of long lines are hashed already, so that little is left to hash while a customer is locked."""

from django.db import models

from metering.models.meters import Meter


class EventTree(models.Model):
    """The peaks of the Merkle tree over the events that a meter counts of a customer in a period, known through a number.

    It may be forgotten at any time: whoever needs the root hashes the events again. Nothing is proved by it.
    """

    meter = models.ForeignKey(Meter, on_delete=models.CASCADE, related_name="trees")
    customer_id = models.CharField(max_length=100)
    start = models.DateTimeField()
    end = models.DateTimeField()
    known_through = models.BigIntegerField(help_text="Events up to this number are in it.")
    leaf_count = models.BigIntegerField()
    peaks = models.BinaryField(help_text="The roots of its whole subtrees, largest first: 32 bytes each.")
    grown_at = models.DateTimeField()

    objects = models.Manager["EventTree"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["meter", "customer_id", "start", "end"], name="event_tree_is_one_a_span"),
        ]

    def __str__(self) -> str:
        return f"{self.leaf_count} events of {self.customer_id}"
