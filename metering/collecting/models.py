"""What is true about dead letters: content that a collector could not read as an event, kept as it came."""

import pgtrigger
from django.db import models
from django.db.models.functions import Now

from billing_site.kernel.guard import Guard
from billing_site.kernel.model import carved

SETTLEMENT = (
    "outcome",
    "settled_at",
    "settled_by",
    "settlement_reason",
    "corrected",
    "customer_id",
    "idempotency_key",
)


class Collector(models.TextChoices):
    """Who received the content."""

    FILE = "file", "File"
    KAFKA = "kafka", "Kafka"


class Shape(models.TextChoices):
    """How the raw content is read again."""

    OBJECT = "object", "JSON"
    ROW = "row", "Row of a table, as JSON"
    LINE = "line", "Line"
    TEXT = "text", "Row of a table that could not be parted into cells"
    FILE = "file", "The rest of a file"


class Outcome(models.TextChoices):
    """What became of a dead letter in the end; empty while it waits."""

    WAITING = "", "Waiting"
    ACCEPTED = "accepted", "Accepted"
    DUPLICATE = "duplicate", "Duplicate"
    DISMISSED = "dismissed", "Dismissed"


class DeadLetter(models.Model):
    """One row of a file or part of a message that was refused, with the first reason and how it was read.

    The content never changes. It is settled once: by a replay that ended in an event, or by being dismissed.
    """

    collector = models.CharField(max_length=10, choices=Collector)
    source = models.CharField(max_length=300, help_text="The file's name, or TOPIC/PARTITION.")
    position = models.BigIntegerField(help_text="The row's number in the file, or the message's offset.")
    part = models.IntegerField(default=0, help_text="Counts from 0 where a row or message holds several events.")
    raw = models.BinaryField(help_text="The content as it came; of more than 1 MiB the beginning.")
    digest = models.CharField(max_length=64, help_text="SHA-256 of the content.")
    shape = models.CharField(max_length=10, choices=Shape)
    preset = models.CharField(max_length=40, blank=True)
    rules = models.JSONField(default=list, help_text="The --map rules by which it was read.")
    zone = models.CharField(max_length=64, blank=True)
    field = models.CharField(max_length=300, blank=True)
    code = models.CharField(max_length=60)
    message = models.TextField()
    received_at = models.DateTimeField(db_default=Now(), editable=False)
    outcome = models.CharField(max_length=10, choices=Outcome, blank=True, default=Outcome.WAITING)
    settled_at = models.DateTimeField(null=True)
    settled_by = models.CharField(max_length=150, blank=True)
    settlement_reason = models.CharField(max_length=300, blank=True)
    corrected = models.TextField(blank=True, help_text="What was read in place of the content.")
    customer_id = models.CharField(max_length=100, blank=True)
    idempotency_key = models.CharField(max_length=255, blank=True)

    objects = models.Manager["DeadLetter"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["source", "position", "part", "digest"], name="dead_letter_is_listed_once"),
            models.CheckConstraint(condition=models.Q(outcome__in=Outcome.values), name="dead_letter_outcome_is_known"),
            models.CheckConstraint(
                condition=models.Q(outcome="", settled_at__isnull=True)
                | (~models.Q(outcome="") & models.Q(settled_at__isnull=False) & ~models.Q(settled_by="")),
                name="dead_letter_is_settled_by_somebody",
            ),
        ]
        indexes = [
            models.Index(fields=["received_at"], condition=models.Q(outcome=""), name="dead_letter_waiting"),
        ]
        triggers = [
            *carved(noun="dead letter", while_open="FALSE", free_columns=SETTLEMENT),
            Guard(
                name="is_settled_once",
                when=pgtrigger.Before,
                operation=pgtrigger.Update,
                func="""
                    IF OLD.outcome <> '' OR NEW.outcome = '' THEN
                        RAISE EXCEPTION 'dead letter % changes only by being settled, and that once', OLD.id
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        place = f"{self.source}, {'row' if self.collector == Collector.FILE else 'offset'} {self.position}"
        return f"{place}, part {self.part}" if self.part else place
