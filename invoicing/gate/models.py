"""The gate before issue: how each check is set, and the drafts that it held with what became of them."""

from decimal import Decimal

import pgtrigger
from django.db import models

from billing_site.kernel.guard import Guard
from billing_site.kernel.model import (
    EXACT_DIGITS,
    EXACT_PLACES,
    append_only,
    fits_currency,
    money_field,
    never_truncated,
    stays,
)
from invoicing.approvals.models import Approval, ApprovedDeed, Decision
from invoicing.core.gate import CHECKS, Check
from invoicing.core.gate_states import GateState, moves_in_sql
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice

IN_FORCE = [GateState.HELD.value, GateState.READY.value]
# Of what these held two people release it while the house has set nothing else.
TWO_BY_DEFAULT = ", ".join(f"'{check.value}'" for check, terms in CHECKS.items() if terms.takes_two)
# Those bind whoever sets checks before anybody has set them (`Rule.binds`); the guard knows no threshold of such a one.
BOUND = [check for check, terms in CHECKS.items() if terms.takes_two and terms.is_on]
BOUND_BY_DEFAULT = ", ".join(f"'{check.value}'" for check in BOUND)
assert not any(CHECKS[check].threshold for check in BOUND), "the guard compares their threshold with none"


class GateSetting(models.Model):
    """How a check is made from a moment on: the newest row of a check holds; who changed it, and why.

    What two people release is set otherwise by two, or the second person would bind nobody who may set checks.
    """

    check_name = models.CharField(
        "check", max_length=20, choices=[(check.value, terms.title) for check, terms in CHECKS.items()]
    )
    number = models.PositiveIntegerField(help_text="Counts the settings of a check.")
    is_on = models.BooleanField()
    threshold: "models.DecimalField[Decimal | None, Decimal | None]" = models.DecimalField(
        max_digits=EXACT_DIGITS, decimal_places=EXACT_PLACES, null=True, blank=True
    )
    takes_two = models.BooleanField(
        "two people release",
        default=False,
        db_default=False,
        help_text="What it held is released by two, however small.",
    )
    set_at = models.DateTimeField()
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)
    approval = models.ForeignKey(
        Approval, on_delete=models.PROTECT, null=True, blank=True, related_name="+", help_text="Where it takes two."
    )

    objects = models.Manager["GateSetting"]()

    class Meta:
        verbose_name = "setting of a check"
        verbose_name_plural = "settings of checks"
        constraints = [
            models.UniqueConstraint(fields=["check_name", "number"], name="settings_of_a_check_are_numbered"),
            models.CheckConstraint(
                condition=models.Q(check_name__in=[check.value for check in Check]), name="gate_check_is_known"
            ),
            models.CheckConstraint(
                condition=~models.Q(actor="") & ~models.Q(reason=""), name="check_is_set_by_somebody_with_reason"
            ),
            models.CheckConstraint(
                condition=models.Q(
                    check_name__in=[check.value for check, terms in CHECKS.items() if terms.threshold],
                    threshold__isnull=False,
                    threshold__gte=0,
                )
                | models.Q(
                    check_name__in=[check.value for check, terms in CHECKS.items() if not terms.threshold],
                    threshold__isnull=True,
                ),
                name="check_has_the_threshold_that_it_needs",
            ),
        ]
        triggers = [
            *append_only(noun="settings of checks"),
            Guard(
                name="follows_the_setting_before",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                declare=[("before", "invoicing_gatesetting%ROWTYPE"), ("is_bound", "boolean")],
                func=f"""
                    SELECT * INTO before FROM invoicing_gatesetting
                     WHERE check_name = NEW.check_name ORDER BY number DESC LIMIT 1;
                    IF NEW.number <> coalesce(before.number, 0) + 1 OR NEW.set_at < before.set_at THEN
                        RAISE EXCEPTION 'setting % of the check % does not follow the one before', NEW.number, NEW.check_name
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    is_bound := coalesce(before.is_on AND before.takes_two, NEW.check_name IN ({BOUND_BY_DEFAULT}))
                        AND NOT (NEW.is_on AND NEW.takes_two AND NEW.threshold IS NOT DISTINCT FROM before.threshold);
                    IF (NEW.approval_id IS NOT NULL OR is_bound) AND NOT EXISTS (
                        SELECT 1 FROM invoicing_approval approval
                         WHERE approval.id = NEW.approval_id AND approval.deed = '{ApprovedDeed.CHECK.value}'
                           AND approval.subject = 'check ' || NEW.check_name || ' ' || (NEW.number - 1)
                           AND approval.decision = '{Decision.APPROVED.value}'
                           AND lower(approval.decided_by) <> lower(NEW.actor)
                           AND (approval.asked ->> 'is_on')::boolean = NEW.is_on
                           AND (approval.asked ->> 'takes_two')::boolean = NEW.takes_two
                           AND (approval.asked ->> 'threshold')::numeric IS NOT DISTINCT FROM NEW.threshold
                    ) THEN
                        RAISE EXCEPTION 'the check % takes two: nobody else has approved setting %', NEW.check_name, NEW.number
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.get_check_name_display()}, setting {self.number}"


class HoldOutcome(models.TextChoices):
    """Why a draft is no longer held."""

    CHANGED = "changed", "It says something else by now"
    GONE = "gone", "The draft is gone"
    CLEARED = "cleared", "The checks find something else, or nothing"


class InvoiceHold(models.Model):
    """A draft that the gate held: what it said, what was found, who released it, or why it is an ordinary draft again.

    Of one invoice one hold is in force (held or ready). It outlives a draft that is deleted.
    """

    invoice = models.ForeignKey(Invoice, null=True, blank=True, on_delete=models.SET_NULL, related_name="holds")
    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="+")
    period_start = models.DateTimeField()
    period_end = models.DateTimeField()
    currency = models.CharField(max_length=3)
    total = money_field()
    content_digest = models.CharField(
        max_length=64, help_text="Of the draft: what was released is this and nothing else."
    )
    findings = models.JSONField(help_text="For each check that found something: its name and its sentence.")
    state = models.CharField(
        max_length=10,
        choices=[(one.value, one.value.capitalize()) for one in GateState if one is not GateState.ISSUED],
        default=GateState.HELD.value,
    )
    held_at = models.DateTimeField()
    released_at = models.DateTimeField(null=True, blank=True)
    released_by = models.CharField(max_length=200, blank=True)
    reason = models.CharField(max_length=300, blank=True, help_text="Why it was released.")
    ended_at = models.DateTimeField(null=True, blank=True)
    outcome = models.CharField(max_length=10, choices=HoldOutcome, blank=True)

    objects = models.Manager["InvoiceHold"]()

    class Meta:
        verbose_name = "held invoice"
        constraints = [
            models.UniqueConstraint(
                fields=["invoice"], condition=models.Q(state__in=IN_FORCE), name="invoice_is_held_once_at_a_time"
            ),
            models.CheckConstraint(
                condition=models.Q(
                    state=GateState.HELD.value, released_at__isnull=True, outcome="", ended_at__isnull=True
                )
                | models.Q(state=GateState.READY.value, released_at__isnull=False, outcome="", ended_at__isnull=True)
                | models.Q(state=GateState.DRAFT.value, outcome__in=HoldOutcome.values, ended_at__isnull=False),
                name="hold_has_what_its_state_says",
            ),
            models.CheckConstraint(
                condition=models.Q(released_at__isnull=True, released_by="", reason="")
                | (models.Q(released_at__isnull=False) & ~models.Q(released_by="") & ~models.Q(reason="")),
                name="invoice_is_released_by_somebody_with_reason",
            ),
            fits_currency("total", name="held_total_fits_its_currency"),
        ]
        indexes = [models.Index(fields=["customer", "period_end"], name="hold_by_customer")]
        triggers = [
            stays(
                noun="held invoice",
                columns=[
                    "customer_id",
                    "period_start",
                    "period_end",
                    "currency",
                    "total",
                    "content_digest",
                    "findings",
                    "held_at",
                ],
            ),
            Guard(
                name="begins_held",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                func=f"""
                    IF NEW.state <> '{GateState.HELD.value}' OR jsonb_array_length(NEW.findings) = 0 OR NOT EXISTS (
                        SELECT 1 FROM invoicing_invoice
                         WHERE id = NEW.invoice_id AND status = 'draft' AND customer_id = NEW.customer_id
                           AND content_digest = NEW.content_digest AND total = NEW.total AND currency = NEW.currency
                           AND (period_start, period_end) = (NEW.period_start, NEW.period_end)
                    ) THEN
                        RAISE EXCEPTION 'what is held is a draft, as it is, with what was found'
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
            Guard(
                name="follows_the_gate",
                when=pgtrigger.Before,
                operation=pgtrigger.Update | pgtrigger.Delete,
                declare=[("large_from", "numeric"), ("is_odd", "boolean")],
                func=f"""
                    IF TG_OP = 'DELETE' THEN
                        RAISE EXCEPTION 'held invoice % cannot be deleted', OLD.id
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    IF OLD.invoice_id IS NOT NULL AND NEW.invoice_id IS NULL THEN
                        -- Only a draft can go, and what it was held for goes with it.
                        IF EXISTS (SELECT 1 FROM invoicing_invoice WHERE id = OLD.invoice_id AND status <> 'draft') THEN
                            RAISE EXCEPTION 'held invoice % keeps its invoice', OLD.id
                                USING ERRCODE = 'integrity_constraint_violation';
                        END IF;
                        IF NEW.state <> '{GateState.DRAFT.value}' THEN
                            NEW.state := '{GateState.DRAFT.value}';
                            NEW.ended_at := now();
                            NEW.outcome := '{HoldOutcome.GONE.value}';
                        END IF;
                    ELSIF NEW.invoice_id IS DISTINCT FROM OLD.invoice_id THEN
                        RAISE EXCEPTION 'held invoice % keeps its invoice', OLD.id
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    IF OLD.state = NEW.state AND to_jsonb(OLD) - 'invoice_id' IS DISTINCT FROM to_jsonb(NEW) - 'invoice_id'
                       OR OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN (
                           {moves_in_sql(starts=(GateState.HELD, GateState.READY))}
                       )
                       OR OLD.released_at IS NOT NULL AND (OLD.released_at, OLD.released_by, OLD.reason)
                          IS DISTINCT FROM (NEW.released_at, NEW.released_by, NEW.reason)
                       OR NEW.state = '{GateState.DRAFT.value}' AND OLD.released_at IS NULL AND NEW.released_at IS NOT NULL
                    THEN
                        RAISE EXCEPTION 'held invoice % cannot go from % to % like this', OLD.id, OLD.state, NEW.state
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    IF OLD.state <> NEW.state AND NEW.state = '{GateState.READY.value}' THEN
                        SELECT amount INTO large_from FROM invoicing_approvallimit
                         WHERE deed = '{ApprovedDeed.RELEASE.value}' AND currency = NEW.currency ORDER BY number DESC LIMIT 1;
                        SELECT bool_or(coalesce(
                            (SELECT takes_two FROM invoicing_gatesetting
                              WHERE check_name = why.value ->> 'check' ORDER BY number DESC LIMIT 1),
                            why.value ->> 'check' IN ({TWO_BY_DEFAULT})
                        )) INTO is_odd FROM jsonb_array_elements(NEW.findings) why(value);
                        IF (NEW.total >= large_from OR is_odd) AND NOT EXISTS (
                            SELECT 1 FROM invoicing_approval
                             WHERE deed = '{ApprovedDeed.RELEASE.value}' AND subject = 'hold ' || NEW.id
                               AND digest = NEW.content_digest AND decision = '{Decision.APPROVED.value}'
                               AND lower(decided_by) <> lower(NEW.released_by)
                               -- Nor by whoever has changed it by hand: that is what is looked at.
                               AND NOT EXISTS (
                                   SELECT 1 FROM invoicing_lineedit edit
                                    WHERE (edit.customer_id, edit.period_start, edit.period_end)
                                          = (NEW.customer_id, NEW.period_start, NEW.period_end)
                                      AND edit.ended_at IS NULL AND lower(edit.actor) = lower(decided_by))
                        ) THEN
                            RAISE EXCEPTION 'held invoice % is large or odd: nobody else has approved its release', OLD.id
                                USING ERRCODE = 'integrity_constraint_violation';
                        END IF;
                    END IF;
                    RETURN NEW;
                """,
            ),
            never_truncated(noun="held invoices"),
        ]

    def __str__(self) -> str:
        return f"of {self.customer}"
