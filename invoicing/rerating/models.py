"""What a night of re-rating looked at, the lines that came out otherwise, and what people found about them."""

from django.db import models
from django.db.models import Q

from billing_site.kernel.model import append_only
from invoicing.invoices.models import InvoiceLine


class ReratingRun(models.Model):
    """One night: how many issued lines were proved again, and how many of them came out otherwise."""

    at = models.DateTimeField()
    sampled_count = models.PositiveIntegerField(help_text="Lines that were drawn.")
    large_count = models.PositiveIntegerField(help_text="Lines of large amounts: all that there are.")
    archived_count = models.PositiveIntegerField(
        help_text="Of these, lines whose events are in the archive only: rated again, not counted."
    )
    different_count = models.PositiveIntegerField(help_text="Lines that came out otherwise, known ones included.")

    objects = models.Manager["ReratingRun"]()

    class Meta:
        verbose_name = "nightly re-rating"
        verbose_name_plural = "nightly re-ratings"
        triggers = append_only(noun="runs of re-rating")

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M}"


class ReratingFinding(models.Model):
    """An issued line that came out otherwise when it was counted and rated again; told once, until it differs in another way."""

    run = models.ForeignKey(ReratingRun, on_delete=models.PROTECT, related_name="findings")
    line = models.ForeignKey(InvoiceLine, on_delete=models.PROTECT, related_name="rerating_findings")
    differences = models.JSONField(help_text="Sentences, the first difference first.")
    digest = models.CharField(max_length=64, help_text="SHA-256 of the differences.")
    found_at = models.DateTimeField()

    objects = models.Manager["ReratingFinding"]()

    class Meta:
        verbose_name = "line that rates otherwise"
        verbose_name_plural = "lines that rate otherwise"
        constraints = [
            models.UniqueConstraint(fields=["line", "digest"], name="rerating_difference_is_told_once"),
            models.CheckConstraint(condition=~Q(differences=[]), name="rerating_finding_says_what_differs"),
        ]
        triggers = append_only(noun="findings of re-rating")

    def __str__(self) -> str:
        return f"{self.line.invoice}, line {self.line.position}"


class ReratingReview(models.Model):
    """That somebody has looked into a finding, and what it was; until then it waits on *Needs you*."""

    finding = models.OneToOneField(ReratingFinding, on_delete=models.PROTECT, related_name="review")
    reviewed_at = models.DateTimeField()
    actor = models.CharField(max_length=150)
    reason = models.CharField(max_length=300, help_text="What was found.")

    objects = models.Manager["ReratingReview"]()

    class Meta:
        verbose_name = "review of a line that rates otherwise"
        verbose_name_plural = "reviews of lines that rate otherwise"
        constraints = [
            models.CheckConstraint(
                condition=~Q(actor="") & ~Q(reason=""), name="rerating_is_reviewed_by_somebody_with_reason"
            )
        ]
        triggers = append_only(noun="reviews of re-rating")

    def __str__(self) -> str:
        return f"review of {self.finding_id}"
