"""Backfills: files of old events that somebody looked at, and perhaps committed."""

from django.db import models

from billing_site.kernel.model import carved


class Backfill(models.Model):
    """One uploaded file, what its dry run said, and who committed it; its content goes when its events are accepted."""

    name = models.CharField(max_length=200)
    content = models.BinaryField(help_text="The file, until it is committed.")
    content_digest = models.CharField(max_length=64, help_text="SHA-256 of the file.")
    preset = models.CharField(max_length=50, blank=True)
    rules = models.JSONField(default=list, help_text="FIELD=COLUMN and FIELD==CONSTANT, as they were written.")
    timezone = models.CharField(max_length=60, blank=True, help_text="What timestamps without an offset mean.")
    uploaded_by = models.CharField(max_length=200)
    uploaded_at = models.DateTimeField()
    figures = models.JSONField(help_text="What the dry run said.")
    figures_digest = models.CharField(max_length=64)
    shown_at = models.DateTimeField(help_text="When the dry run was made.")
    committed_at = models.DateTimeField(null=True, blank=True)
    committed_by = models.CharField(max_length=200, blank=True)
    reason = models.CharField(max_length=300, blank=True)

    objects = models.Manager["Backfill"]()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(committed_at__isnull=True, committed_by="", reason="")
                | (models.Q(committed_at__isnull=False) & ~models.Q(committed_by="") & ~models.Q(reason="")),
                name="backfill_is_committed_by_somebody_with_reason",
            ),
        ]
        triggers = carved(noun="committed backfill", while_open="OLD.committed_at IS NULL", free_columns=[])

    def __str__(self) -> str:
        return self.name
