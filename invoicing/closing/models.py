"""Month close: months that are closed, with their certificate and reports, checks that somebody signed off, and months opened again.

All of it is append-only. That a month is closed is the row of its close without a row of its reopening; `ledger.Books` follows from that.
"""

import pgtrigger
from django.db import models
from django.db.models.functions import Lower
from django.db.models.lookups import Exact

from billing_site.kernel.guard import Guard
from billing_site.kernel.model import append_only
from invoicing.approvals.models import Approval, ApprovedDeed

# Checks that say that the books are not right. What they find is mended, whoever would answer for it: `workflows/close_checks.py` says how.
NEVER_SIGNED_OFF = ("books", "ties")
_NEVER_SIGNED_OFF_SQL = ", ".join(f"'{name}'" for name in NEVER_SIGNED_OFF)


class CheckSignOff(models.Model):
    """Somebody answers for what a check of the month's close has found, as it was then (`digest`): anything else is found anew."""

    month = models.DateField(help_text="The first day of the month.")
    check_name = models.CharField(max_length=40)
    digest = models.CharField(max_length=64, help_text="Of what the check had found.")
    summary = models.CharField(max_length=300, help_text="What the check had found, in words and figures.")
    signed_at = models.DateTimeField()
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)

    objects = models.Manager["CheckSignOff"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["month", "check_name", "digest"], name="check_is_signed_off_once_as_it_is"),
            models.CheckConstraint(
                condition=~models.Q(actor="") & ~models.Q(reason="") & ~models.Q(digest=""),
                name="check_is_signed_off_by_somebody_with_reason",
            ),
        ]
        triggers = [
            *append_only(noun="signatures under checks"),
            Guard(
                name="never_answers_for_wrong_books",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                func=f"""
                    IF NEW.check_name IN ({_NEVER_SIGNED_OFF_SQL}) THEN
                        RAISE EXCEPTION 'nobody can sign off the check %: what it finds is mended', NEW.check_name
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.check_name} of {self.month:%Y-%m}"


class MonthClose(models.Model):
    """One close of a month: its certificate says what the books were. A month that was opened again is closed by a new one."""

    month = models.DateField(help_text="The first day of the month.")
    closed_at = models.DateTimeField()
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)
    certificate = models.JSONField(help_text="The checklist, figures, digests and heads of the chains, as they were.")
    digest = models.CharField(max_length=64, help_text="SHA-256 of the certificate.")

    objects = models.Manager["MonthClose"]()

    class Meta:
        verbose_name = "month close"
        constraints = [
            models.CheckConstraint(condition=models.Q(month__day=1), name="close_is_of_a_whole_month"),
            models.CheckConstraint(
                condition=~models.Q(actor="") & ~models.Q(reason=""), name="month_is_closed_by_somebody_with_reason"
            ),
        ]
        triggers = [
            *append_only(noun="closes of months"),
            Guard(
                name="closes_months_in_order",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                declare=[("opened", "timestamptz"), ("after", "timestamptz")],
                # Alone with the books: who posts has committed, who wants to waits and is booked after it.
                func="""
                    INSERT INTO invoicing_books (id) SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM invoicing_books) ON CONFLICT DO NOTHING;
                    SELECT open_from INTO STRICT opened FROM invoicing_books WHERE id = 1 FOR UPDATE;
                    after := (NEW.month + interval '1 month') AT TIME ZONE 'UTC';
                    IF opened <> NEW.month::timestamp AT TIME ZONE 'UTC' OR NEW.closed_at < after THEN
                        RAISE EXCEPTION 'month % is not the next to close, or is not over', to_char(NEW.month, 'YYYY-MM')
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
            Guard(
                name="closes_with_books_that_agree",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                func=f"""
                    IF (SELECT count(DISTINCT told ->> 'check') FROM jsonb_array_elements(NEW.certificate -> 'checklist') told
                         WHERE told ->> 'check' IN ({_NEVER_SIGNED_OFF_SQL}) AND told ->> 'state' = 'green')
                       <> {len(NEVER_SIGNED_OFF)} THEN
                        RAISE EXCEPTION 'the checklist of month % does not say that its books agree', to_char(NEW.month, 'YYYY-MM')
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
            Guard(
                name="closes_the_books",
                when=pgtrigger.After,
                operation=pgtrigger.Insert,
                func="""
                    UPDATE invoicing_books SET open_from = (NEW.month + interval '1 month') AT TIME ZONE 'UTC' WHERE id = 1;
                    RETURN NULL;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.month:%Y-%m}"

    @property
    def subject(self) -> str:
        """What approvals call it."""
        return f"month close {self.pk}"


class ClosedReport(models.Model):
    """A report of a closed month, as it was written when the month was closed: names may change later, figures never."""

    close = models.ForeignKey(MonthClose, on_delete=models.PROTECT, related_name="reports")
    name = models.CharField(max_length=40)
    content = models.TextField(help_text="The report as CSV.")
    digest = models.CharField(max_length=64, help_text="SHA-256 of the CSV.")

    objects = models.Manager["ClosedReport"]()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["close", "name"], name="closed_report_is_kept_once")]
        triggers = append_only(noun="reports of closed months")

    def __str__(self) -> str:
        return f"{self.name} of {self.close}"


class MonthReopening(models.Model):
    """The newest closed month, opened again because one asked and another approved it."""

    close = models.OneToOneField(MonthClose, on_delete=models.PROTECT, related_name="reopening")
    approval = models.OneToOneField(Approval, on_delete=models.PROTECT, related_name="+")
    reopened_at = models.DateTimeField()
    requested_by = models.CharField(max_length=200)
    approved_by = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)

    objects = models.Manager["MonthReopening"]()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=~models.Q(requested_by="")
                & ~models.Q(approved_by="")
                & ~models.Q(reason="")
                & ~models.Q(Exact(Lower("approved_by"), Lower("requested_by"))),
                name="month_is_opened_again_by_two_with_reason",
            )
        ]
        triggers = [
            *append_only(noun="reopenings of months"),
            Guard(
                name="reopens_the_newest_as_approved",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                declare=[("opened", "timestamptz")],
                func=f"""
                    SELECT open_from INTO STRICT opened FROM invoicing_books WHERE id = 1 FOR UPDATE;
                    IF NOT EXISTS (
                        SELECT 1 FROM invoicing_monthclose closed JOIN invoicing_approval approval ON approval.id = NEW.approval_id
                         WHERE closed.id = NEW.close_id AND (closed.month + interval '1 month') AT TIME ZONE 'UTC' = opened
                           AND NOT EXISTS (SELECT 1 FROM invoicing_monthclose later
                                            WHERE later.month = closed.month AND later.id > closed.id)
                           AND approval.deed = '{ApprovedDeed.REOPENING.value}' AND approval.subject = 'month close ' || closed.id
                           AND approval.digest = closed.digest AND approval.decision = 'approved'
                           AND approval.requested_by = NEW.requested_by AND approval.decided_by = NEW.approved_by
                    ) THEN
                        RAISE EXCEPTION 'month close % is not the newest, or nobody has approved that it is opened again',
                            NEW.close_id USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
            Guard(
                name="opens_the_books",
                when=pgtrigger.After,
                operation=pgtrigger.Insert,
                func="""
                    UPDATE invoicing_books SET open_from = (
                        SELECT max(closed.month) + interval '1 month' FROM invoicing_monthclose closed
                         WHERE NOT EXISTS (SELECT 1 FROM invoicing_monthreopening WHERE close_id = closed.id)
                    ) AT TIME ZONE 'UTC' WHERE id = 1;
                    RETURN NULL;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.close}, opened again"
