"""What Stripe's meters are told, row by row before the call, and the cases in which people have to repair it."""

import pgtrigger
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing_site.kernel.guard import Guard
from billing_site.kernel.model import carved, exact_field, never_deleted, never_truncated, stays
from invoicing.subscriptions.metered_at_stripe import MeterReporting


class ReportKind(models.TextChoices):
    """What a report does to the sum at Stripe."""

    REPORT = "report", "Report"
    CANCEL = "cancel", "Cancel"
    WAIVER = "waiver", "Given up"


class ReportStatus(models.TextChoices):
    """How far a report is."""

    PLANNED = "planned", "To be sent"
    SENT = "sent", "Accepted for processing"
    REFUSED = "refused", "Refused by Stripe"
    WITHDRAWN = "withdrawn", "Not needed any more"
    WAIVED = "waived", "Given up"


# What counts as reported: it stands at Stripe, is on its way there, or was given up.
COUNTED = (ReportStatus.PLANNED, ReportStatus.SENT, ReportStatus.WAIVED)


class MeterReport(models.Model):
    """One row of the outbox: a value that Stripe hears, or the cancelling of one, whose value is its opposite.

    `source` is what it is about: an hour (`2026-07-01T05`) or an event (`event-123`). The rows of a source add up to what was counted.
    """

    reporting = models.ForeignKey(MeterReporting, on_delete=models.PROTECT, related_name="reports", db_index=False)
    source = models.CharField(max_length=40)
    ordinal = models.PositiveIntegerField(help_text="Of the rows of one source.")
    kind = models.CharField(max_length=10, choices=ReportKind)
    cancels = models.OneToOneField(
        "self",
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="cancelled_by",
        help_text="The report that it takes back.",
    )
    happened_at = models.DateTimeField(help_text="When the usage was: the start of the hour, or the event's timestamp.")
    value = exact_field()
    identifier = models.CharField(max_length=100, unique=True, help_text="By which Stripe knows the fact.")
    request = models.CharField(
        max_length=255, blank=True, default="", help_text="The idempotency key of the event that it reports."
    )
    status = models.CharField(max_length=10, choices=ReportStatus, default=ReportStatus.PLANNED)
    attempt_count = models.PositiveIntegerField(default=0)
    first_sent_at = models.DateTimeField(null=True, blank=True, help_text="When it was tried first.")
    sent_at = models.DateTimeField(null=True, blank=True, help_text="When Stripe accepted it for processing.")
    next_attempt_at = models.DateTimeField(help_text="When the sweep queues it again if it is still to be sent.")
    last_error = models.TextField(blank=True, default="")
    stripe_request_id = models.CharField(max_length=100, blank=True, default="")
    planned_at = models.DateTimeField()
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = models.Manager["MeterReport"]()

    class Meta:
        verbose_name = "report to Stripe's meter"
        verbose_name_plural = "reports to Stripe's meters"
        constraints = [
            models.UniqueConstraint(fields=["reporting", "source", "ordinal"], name="meter_report_is_made_once"),
            models.CheckConstraint(condition=Q(kind__in=ReportKind.values), name="meter_report_kind_is_known"),
            models.CheckConstraint(condition=Q(status__in=ReportStatus.values), name="meter_report_status_is_known"),
            models.CheckConstraint(condition=~Q(value=0), name="meter_report_says_something"),
            models.CheckConstraint(
                condition=Q(kind="cancel", cancels__isnull=False) | ~Q(kind="cancel") & Q(cancels__isnull=True),
                name="meter_report_cancels_a_report",
            ),
            models.CheckConstraint(
                condition=Q(kind="waiver", status="waived") | ~Q(kind="waiver") & ~Q(status="waived"),
                name="meter_report_that_is_given_up_is_not_sent",
            ),
            models.CheckConstraint(
                condition=~Q(status="sent") | Q(sent_at__isnull=False, first_sent_at__isnull=False),
                name="meter_report_is_sent_at_a_time",
            ),
            models.CheckConstraint(
                condition=~Q(status="refused") | ~Q(last_error=""), name="meter_report_is_refused_with_a_reason"
            ),
        ]
        indexes = [
            models.Index(fields=["next_attempt_at"], condition=Q(status="planned"), name="meter_report_waiting"),
            models.Index(fields=["reporting", "happened_at"], name="meter_report_by_time"),
        ]
        triggers = [
            stays(
                noun="meter report",
                columns=[
                    "reporting_id",
                    "source",
                    "ordinal",
                    "kind",
                    "cancels_id",
                    "happened_at",
                    "value",
                    "identifier",
                    "request",
                    "planned_at",
                ],
            ),
            Guard(
                name="goes_one_way",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert | pgtrigger.Update,
                # What Stripe accepted it may still refuse later; what it refused, or nobody needs, is told anew under another ordinal.
                func="""
                    IF TG_OP = 'UPDATE' AND OLD.status <> NEW.status AND OLD.status <> 'planned'
                       AND NOT (OLD.status = 'sent' AND NEW.status = 'refused')
                    THEN
                        RAISE EXCEPTION 'meter report % is %', OLD.id, OLD.status
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    PERFORM 1 FROM invoicing_meterreport report
                     WHERE NEW.kind = 'cancel' AND report.id = NEW.cancels_id
                       AND (report.kind <> 'report' OR report.value <> -NEW.value OR report.source <> NEW.source
                            OR report.reporting_id <> NEW.reporting_id);
                    IF FOUND THEN
                        RAISE EXCEPTION 'meter report % does not take back what it cancels', NEW.id
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
            never_deleted(noun="meter reports"),
            never_truncated(noun="meter reports"),
        ]

    def __str__(self) -> str:
        return self.identifier

    @property
    def idempotency_key(self) -> str:
        """By which Stripe tells a call that is repeated from a new one: the same for every attempt (S4-022, S4-050)."""
        return f"meter:{self.identifier}"


class CaseCode(models.TextChoices):
    """Why a person has to look; Stripe's own codes of refused events beside ours."""

    OUTCOME_UNKNOWN = "outcome_unknown", "Nobody knows whether Stripe has it"
    SUMMARY_DIFFERS = "summary_differs", "Stripe's sum is another one"
    NOT_OURS = "not_ours", "Stripe refused something that we do not know"


class RepairCase(models.Model):
    """Something that Stripe does not have as it should: of one report, or of a day whose sums differ. Closed by somebody, or by itself once it is right."""

    reporting = models.ForeignKey(
        MeterReporting, null=True, blank=True, on_delete=models.PROTECT, related_name="repair_cases"
    )
    report = models.ForeignKey(
        MeterReport, null=True, blank=True, on_delete=models.PROTECT, related_name="repair_cases"
    )
    subject = models.CharField(max_length=200, help_text="Stripe's identifier of the event, or the day compared.")
    code = models.CharField(max_length=100, help_text="Why, as Stripe or we call it.")
    message = models.TextField(help_text="What is wrong, in words.")
    notice = models.CharField(max_length=100, blank=True, default="", help_text="Stripe's event that told of it.")
    opened_at = models.DateTimeField()
    closed_at = models.DateTimeField(null=True, blank=True)
    closed_by = models.CharField(max_length=200, blank=True, default="")
    closed_because = models.CharField(max_length=300, blank=True, default="")
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = models.Manager["RepairCase"]()

    class Meta:
        verbose_name = "repair case of a meter"
        verbose_name_plural = "repair cases of meters"
        constraints = [
            models.UniqueConstraint(
                fields=["report"], condition=Q(report__isnull=False), name="repair_case_is_one_a_report"
            ),
            models.UniqueConstraint(
                fields=["reporting", "subject", "code"],
                condition=Q(report__isnull=True, closed_at__isnull=True),
                nulls_distinct=False,
                name="repair_case_is_open_once",
            ),
            models.CheckConstraint(
                condition=Q(closed_at__isnull=True, closed_by="", closed_because="")
                | Q(closed_at__isnull=False) & ~Q(closed_by="") & ~Q(closed_because=""),
                name="repair_case_is_closed_by_somebody_with_a_reason",
            ),
        ]
        indexes = [models.Index(fields=["opened_at"], condition=Q(closed_at__isnull=True), name="repair_case_open")]
        triggers = [
            *carved(noun="repair case", while_open="OLD.closed_at IS NULL", free_columns=[]),
            stays(noun="repair case", columns=["reporting_id", "report_id", "subject", "code", "opened_at"]),
            never_deleted(noun="repair cases"),
        ]

    def __str__(self) -> str:
        return f"{self.code}: {self.subject}"
