"""Deeds that take two people: what one asks for, bound to a digest, another approves or refuses; never the one who asked."""

from decimal import Decimal

import pgtrigger
from django.db import models
from django.db.models.functions import Lower
from django.db.models.lookups import Exact

from billing_site.kernel.guard import Guard
from billing_site.kernel.model import (
    amount_field,
    append_only,
    carved,
    fits_currency,
    stays,
)


class ApprovedDeed(models.TextChoices):
    """What may take two people. `workflows/approve.py` says what follows from an approval of each."""

    BILLING_RUN = "billing_run", "Billing run"
    RELEASE = "release", "Release of a held invoice"
    CREDIT_NOTE = "credit_note", "Credit note"
    WRITE_OFF = "write_off", "Write-off"
    PRICE_VERSION = "price_version", "Publication of prices"
    REOPENING = "reopening", "Reopening of a closed month"
    OWN_PRICE = "own_price", "Price of a customer's own"
    LIMIT = "limit", "Loosening of an approval limit"
    PAYMENT_REVERSAL = "payment_reversal", "Reversal of a payment"
    VOID = "void", "Declaring an invoice void"
    CHECK = "check", "Change of a check that takes two"


# Deeds over an amount, which take a second person from a limit on.
LIMITED = (
    ApprovedDeed.RELEASE,
    ApprovedDeed.CREDIT_NOTE,
    ApprovedDeed.WRITE_OFF,
    ApprovedDeed.PAYMENT_REVERSAL,
    ApprovedDeed.VOID,
)
# Deeds over no amount, which always take a second person or never: their limit is 0 or none, of the code for no currency (ISO 4217).
SWITCHED = (ApprovedDeed.PRICE_VERSION, ApprovedDeed.OWN_PRICE)
NO_CURRENCY = "XXX"


class Decision(models.TextChoices):
    """What became of a request."""

    APPROVED = "approved", "Approved"
    REFUSED = "refused", "Refused"
    WITHDRAWN = "withdrawn", "Withdrawn"


class Approval(models.Model):
    """A request for a deed on a subject, as it is (`digest`), and what somebody else decided about it. One is open at a time."""

    deed = models.CharField(max_length=20, choices=ApprovedDeed)
    subject = models.CharField(max_length=100, help_text="What the deed is done to: its table and number.")
    digest = models.CharField(max_length=64, help_text="Of what is approved: anything else is not.")
    summary = models.CharField(max_length=300, help_text="What is approved, in words and figures.")
    asked = models.JSONField(
        default=dict,
        db_default=models.Value({}, output_field=models.JSONField()),
        help_text="What the deed is done with once it is approved, and its figures as they were shown.",
    )
    requested_at = models.DateTimeField()
    requested_by = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)
    decision = models.CharField(max_length=10, choices=Decision, blank=True)
    decided_at = models.DateTimeField(null=True, blank=True)
    decided_by = models.CharField(max_length=200, blank=True)
    decision_reason = models.CharField(max_length=300, blank=True)

    objects = models.Manager["Approval"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["deed", "subject"], condition=models.Q(decision=""), name="approval_is_asked_for_once_at_a_time"
            ),
            models.CheckConstraint(
                condition=models.Q(deed__in=ApprovedDeed.values), name="approval_is_of_a_deed_that_is_known"
            ),
            models.CheckConstraint(
                condition=~models.Q(requested_by="") & ~models.Q(reason="") & ~models.Q(digest=""),
                name="approval_is_asked_for_by_somebody_with_reason",
            ),
            models.CheckConstraint(
                condition=models.Q(decision="", decided_at__isnull=True, decided_by="", decision_reason="")
                | (
                    models.Q(decision__in=Decision.values, decided_at__gte=models.F("requested_at"))
                    & ~models.Q(decided_by="")
                    & ~models.Q(decision_reason="")
                ),
                name="approval_is_decided_by_somebody_with_reason",
            ),
            models.CheckConstraint(
                condition=models.Q(decision__in=["", Decision.WITHDRAWN.value])
                | ~models.Q(Exact(Lower("decided_by"), Lower("requested_by"))),
                name="approval_is_given_by_another_than_asked",
            ),
        ]
        indexes = [models.Index(fields=["deed", "subject"], name="approval_by_subject")]
        triggers = [
            *carved(noun="decided approval", while_open="OLD.decision = ''", free_columns=[]),
            stays(
                noun="approval",
                columns=["deed", "subject", "digest", "summary", "asked", "requested_at", "requested_by", "reason"],
            ),
            Guard(
                name="begins_undecided",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert | pgtrigger.Delete,
                func="""
                    IF TG_OP = 'DELETE' OR NEW.decision <> '' THEN
                        RAISE EXCEPTION 'an approval is asked for, then decided, and stays'
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_deed_display()}: {self.summary}"


def is_approved(*, deed: ApprovedDeed, amount: str, alone: str, subject: str, figures: str) -> Guard:
    """Return a trigger by which a row of a large deed names its approval: of this subject and these figures, by somebody other than its actor.

    `amount` is what the row is over, `alone` what was done of the same without a second person before, `subject` and `figures`
    what the approval must be of; all are SQL over NEW and `approval`. A row has an `actor`, a `currency`, and an `approval_id`, once each.
    """
    return Guard(
        name="is_approved_by_another",
        when=pgtrigger.Before,
        operation=pgtrigger.Insert,
        declare=[("large_from", "numeric")],
        func=f"""
            SELECT limits.amount INTO large_from FROM invoicing_approvallimit limits
             WHERE limits.deed = '{deed.value}' AND limits.currency = NEW.currency ORDER BY limits.number DESC LIMIT 1;
            IF (NEW.approval_id IS NOT NULL OR {amount} + {alone} >= large_from) AND NOT EXISTS (
                SELECT 1 FROM invoicing_approval approval
                 WHERE approval.id = NEW.approval_id AND approval.deed = '{deed.value}' AND approval.subject = {subject}
                   AND approval.decision = '{Decision.APPROVED.value}' AND lower(approval.decided_by) <> lower(NEW.actor)
                   AND {figures}
            ) THEN
                RAISE EXCEPTION '% over % % is large: nobody else has approved it', '{deed.label}', {amount}, NEW.currency
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NEW;
        """,
    )


class ApprovalLimit(models.Model):
    """From which amount on a deed takes a second person: of each deed and currency the newest row holds.

    One person tightens; what loosens (a larger amount, or none any more) is itself approved by another, or a limit would bind nobody who may set it.
    """

    deed = models.CharField(max_length=20, choices=ApprovedDeed)
    currency = models.CharField(max_length=3)
    number = models.PositiveIntegerField(help_text="Counts the limits of a deed and currency.")
    amount: "models.DecimalField[Decimal | None, Decimal | None]" = amount_field(
        null=True,
        blank=True,
        help_text="From this amount on; empty: one person is enough for any.",
    )
    set_at = models.DateTimeField()
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)
    approval = models.ForeignKey(
        Approval, on_delete=models.PROTECT, null=True, blank=True, related_name="+", help_text="Of what it loosens."
    )

    objects = models.Manager["ApprovalLimit"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["deed", "currency", "number"], name="limits_of_a_deed_and_currency_are_numbered"
            ),
            models.CheckConstraint(
                condition=models.Q(deed__in=[deed.value for deed in LIMITED]) & ~models.Q(currency=NO_CURRENCY)
                | models.Q(deed__in=[deed.value for deed in SWITCHED], currency=NO_CURRENCY)
                & (models.Q(amount__isnull=True) | models.Q(amount=0)),
                name="limit_is_of_a_deed_over_an_amount_or_a_switch",
            ),
            models.CheckConstraint(condition=models.Q(currency__regex=r"^[A-Z]{3}$"), name="limit_currency_is_a_code"),
            models.CheckConstraint(
                condition=models.Q(amount__isnull=True) | models.Q(amount__gte=0), name="limit_is_not_negative"
            ),
            models.CheckConstraint(
                condition=~models.Q(actor="") & ~models.Q(reason=""), name="limit_is_set_by_somebody_with_reason"
            ),
            fits_currency("amount", name="limit_fits_its_currency"),
        ]
        triggers = [
            *append_only(noun="approval limits"),
            Guard(
                name="follows_the_limit_before",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                declare=[("before", "invoicing_approvallimit%ROWTYPE")],
                func="""
                    SELECT * INTO before FROM invoicing_approvallimit
                     WHERE deed = NEW.deed AND currency = NEW.currency ORDER BY number DESC LIMIT 1;
                    IF NEW.number <> coalesce(before.number, 0) + 1 THEN
                        RAISE EXCEPTION 'limit % of % in % does not follow the one before', NEW.number, NEW.deed, NEW.currency
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    IF (NEW.approval_id IS NOT NULL OR (before.amount IS NOT NULL AND NEW.amount IS NULL)
                        OR NEW.amount > before.amount) AND NOT EXISTS (
                        SELECT 1 FROM invoicing_approval approval
                         WHERE approval.id = NEW.approval_id AND approval.deed = 'limit'
                           AND approval.subject = 'limit ' || before.id AND approval.decision = 'approved'
                           AND lower(approval.decided_by) <> lower(NEW.actor)
                           AND (approval.asked ->> 'amount')::numeric IS NOT DISTINCT FROM NEW.amount
                    ) THEN
                        RAISE EXCEPTION 'limit % of % in % is loosened: nobody else has approved it', NEW.number, NEW.deed, NEW.currency
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_deed_display()} in {self.currency}, limit {self.number}"
