"""What is counted and how."""

from datetime import UTC, datetime

import pgtrigger
from django.db import models
from django.db.models.functions import Now

from billing_site.kernel.digest import canonical
from billing_site.kernel.guard import Guard
from billing_site.kernel.history import tracked
from billing_site.kernel.model import never_truncated, stays
from metering.core.definition import AGGREGATIONS

# No event is older: a meter that takes effect here counts whatever was ever accepted.
THE_BEGINNING = datetime(2000, 1, 1, tzinfo=UTC)


class Meter(models.Model):
    """How events of one type become a quantity. What it counts never changes; from when on may be moved back."""

    key = models.SlugField(max_length=100, unique=True)
    name = models.CharField(max_length=200)
    event_type = models.CharField(max_length=200, db_index=True)
    aggregation = models.CharField(max_length=20, choices=list(AGGREGATIONS.items()), default="sum")
    value_property = models.CharField(
        max_length=200, blank=True, help_text="The property that is counted; empty: the event's quantity."
    )
    filters = models.JSONField(
        default=dict,
        blank=True,
        help_text='Only events with these properties count: {"region": ["us-east-1", "us-east-2"]}.',
    )
    dimensions = models.JSONField(
        default=list, blank=True, help_text='Usage is kept apart by these properties: ["namespace_id", "region"].'
    )
    effective_from = models.DateTimeField(
        default=THE_BEGINNING, help_text="Events with an earlier timestamp do not count (UTC)."
    )
    unit = models.CharField(max_length=50, default="unit", help_text="Singular noun: token, action, request.")
    rolled_up_to = models.BigIntegerField(
        default=0, editable=False, help_text="Every event of this meter up to this number is in a window."
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    history = tracked(excluded_fields=["rolled_up_to"])

    objects = models.Manager["Meter"]()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(aggregation__in=list(AGGREGATIONS)), name="meter_aggregation_is_known"
            ),
        ]
        triggers = [
            stays(
                noun="meter",
                columns=["key", "event_type", "aggregation", "value_property", "filters", "dimensions"],
            ),
            Guard(
                name="only_goes_forward",
                when=pgtrigger.Before,
                operation=pgtrigger.Update,
                func="""
                    IF NEW.rolled_up_to < OLD.rolled_up_to OR NEW.effective_from > OLD.effective_from THEN
                        RAISE EXCEPTION 'meter % cannot forget what it has counted', OLD.key
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
            never_truncated(noun="meters"),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def counts_from_the_beginning(self) -> bool:
        """Say whether no event is too old for this meter."""
        return self.effective_from <= THE_BEGINNING

    def rule_of_events(self, *, since: datetime) -> str:
        """Return by what it chooses among the events of its type from a moment on: meters with the same rule count the same events.

        It says in Python what `metering/counting.py` asks each event in SQL: whether it has a value, passes the filters, and is not too early.
        """
        reads = "" if self.aggregation == "count" or not self.value_property else self.value_property
        kind = "text" if self.aggregation == "unique_count" else "number"
        return canonical(
            {
                "reads": [kind, reads] if reads else [],
                "filters": {name: sorted(set(values)) for name, values in self.filters.items()},
                "from": self.effective_from.isoformat() if self.effective_from > since else "",
            }
        ).decode()
