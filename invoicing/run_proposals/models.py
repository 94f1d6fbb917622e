"""Billing runs as somebody proposes them: what would be issued, signed by another by its digest, and issued as signed."""

import pgtrigger
from django.db import models

from billing_site.kernel.guard import Guard
from billing_site.kernel.model import carved
from invoicing.approvals.models import Approval, ApprovedDeed, Decision
from invoicing.invoices.models import BillingRun

# What becomes of an invoice of a run.
ISSUED, HELD, WAITS = "issue", "held", "waits"


def subject_sql(number: str) -> str:
    """Return what an approval calls a proposed run, as an SQL expression; `RunProposal.subject` says the same."""
    return f"'run ' || {number}"


class RunProposal(models.Model):
    """A billing run that is looked at before it is made: what it would issue and hold, and whether it was issued as signed."""

    as_of = models.DateTimeField(help_text="Periods that ended by then are billed.")
    proposed_at = models.DateTimeField()
    proposed_by = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)
    figures = models.JSONField(null=True, blank=True, help_text="What would be issued and held, invoice by invoice.")
    figures_digest = models.CharField(max_length=64, blank=True)
    shown_at = models.DateTimeField(null=True, blank=True, help_text="When the figures were made.")
    approval = models.ForeignKey(
        Approval,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="+",
        help_text="The newest request for its signature.",
    )
    asked_at = models.DateTimeField(null=True, blank=True, help_text="When somebody last asked to issue it.")
    asked_by = models.CharField(max_length=200, blank=True)
    refusal = models.CharField(max_length=500, blank=True, help_text="Why it was not issued as signed.")
    committed_at = models.DateTimeField(null=True, blank=True)
    run = models.OneToOneField(BillingRun, null=True, blank=True, on_delete=models.PROTECT, related_name="proposal")

    objects = models.Manager["RunProposal"]()

    class Meta:
        verbose_name = "proposed billing run"
        constraints = [
            models.CheckConstraint(
                condition=~models.Q(proposed_by="") & ~models.Q(reason=""),
                name="run_is_proposed_by_somebody_with_reason",
            ),
            models.CheckConstraint(
                condition=models.Q(figures__isnull=True, figures_digest="", shown_at__isnull=True)
                | (models.Q(figures__isnull=False, shown_at__isnull=False) & ~models.Q(figures_digest="")),
                name="run_is_shown_whole_and_with_its_digest",
            ),
            models.CheckConstraint(
                condition=models.Q(committed_at__isnull=True, run__isnull=True)
                | (
                    models.Q(committed_at__isnull=False, run__isnull=False, figures__isnull=False)
                    & ~models.Q(asked_by="")
                ),
                name="run_is_issued_as_it_was_shown",
            ),
        ]
        triggers = [
            *carved(noun="issued billing run", while_open="OLD.committed_at IS NULL", free_columns=[]),
            Guard(
                name="is_signed_by_another",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert | pgtrigger.Update,
                func=f"""
                    IF TG_OP = 'UPDATE' AND (OLD.id, OLD.as_of, OLD.proposed_at, OLD.proposed_by, OLD.reason)
                       IS DISTINCT FROM (NEW.id, NEW.as_of, NEW.proposed_at, NEW.proposed_by, NEW.reason) THEN
                        RAISE EXCEPTION 'what was proposed as billing run % cannot be changed', OLD.id
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    IF NEW.committed_at IS NOT NULL AND NOT EXISTS (
                        SELECT 1 FROM invoicing_approval
                         WHERE id = NEW.approval_id AND deed = '{ApprovedDeed.BILLING_RUN.value}' AND subject = {subject_sql("NEW.id")}
                           AND digest = NEW.figures_digest AND decision = '{Decision.APPROVED.value}'
                           AND lower(decided_by) <> lower(NEW.proposed_by)
                    ) THEN
                        RAISE EXCEPTION 'nobody else has signed billing run % as it is', NEW.id
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    @property
    def subject(self) -> str:
        """What an approval calls it."""
        return f"run {self.pk}"

    def __str__(self) -> str:
        return f"Run as of {self.as_of:%Y-%m-%d %H:%M} UTC"
