"""Bulk migrations: the subscribers of older plan versions, moved to another one by somebody who saw what it does."""

from django.db import models

from billing_site.kernel.model import carved
from invoicing.catalog.models import PlanVersion


class PlanMigration(models.Model):
    """One move of subscribers to a version, what its dry run said, and who committed it."""

    target = models.ForeignKey(PlanVersion, on_delete=models.PROTECT, related_name="+")
    sources = models.JSONField(help_text="The versions whose subscribers move, by their ids.")
    from_date = models.DateField(
        help_text="Each moves with the first billing period that begins then or later, in its own zone."
    )
    proposed_by = models.CharField(max_length=200)
    proposed_at = models.DateTimeField()
    figures = models.JSONField(help_text="What the dry run said, subscription by subscription.")
    figures_digest = models.CharField(max_length=64)
    shown_at = models.DateTimeField(help_text="When the dry run was made.")
    committed_at = models.DateTimeField(null=True, blank=True)
    committed_by = models.CharField(max_length=200, blank=True)
    reason = models.CharField(max_length=300, blank=True)

    objects = models.Manager["PlanMigration"]()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=models.Q(committed_at__isnull=True, committed_by="", reason="")
                | (models.Q(committed_at__isnull=False) & ~models.Q(committed_by="") & ~models.Q(reason="")),
                name="plan_migration_is_committed_by_somebody_with_reason",
            ),
        ]
        triggers = carved(noun="committed plan migration", while_open="OLD.committed_at IS NULL", free_columns=[])

    def __str__(self) -> str:
        return f"to {self.target} from {self.from_date}"
