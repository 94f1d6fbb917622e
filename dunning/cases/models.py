"""Cases of customers who owe, and the steps that were taken; the database takes none where nothing is owed."""

import pgtrigger
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing_site.kernel.guard import Guard
from billing_site.kernel.history import tracked
from billing_site.kernel.model import append_only, fits_currency, money_field, never_deleted, never_truncated, stays
from dunning.core.calendar import Anchor
from dunning.core.case_life import CLOSED, LIVE, CaseState, case_moves_in_sql, state_words
from dunning.core.policy import ACT_WORDS, Act
from dunning.policies.models import PolicyVersion
from invoicing.core.life_cycle import Trigger
from invoicing.customers.accounts import is_of_who_pays
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice

SWEEP = "dunning sweep"


def _in_arrears(at: str) -> str:
    """Return, in SQL, whether something of an invoice `invoice` is owed and late at a moment: as `arrears.py` reads it."""
    return f"""
        invoice.status = 'issued'
        AND invoice.total - invoice.amount_paid - invoice.amount_credited - invoice.amount_written_off > coalesce((
            SELECT sum(objection.amount) FROM invoicing_objection objection
             WHERE objection.invoice_id = invoice.id AND objection.ended_at IS NULL), 0)
        AND (invoice.due_date < ({at} AT TIME ZONE invoice.timezone)::date
             OR EXISTS (SELECT FROM invoicing_paymentfailure failure
                         WHERE failure.invoice_id = invoice.id AND failure.occurred_at <= {at} AND NOT failure.by_customer))
    """


class DunningCase(models.Model):
    """A debt of a customer being chased by one version of a policy.

    Days are counted from its anchor: the oldest invoice that was late when it was opened. With that paid it is settled; what else is late
    then is a case of its own, so that nobody is suspended by the days of an invoice that is paid.
    """

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="dunning_cases")
    policy = models.ForeignKey(PolicyVersion, on_delete=models.PROTECT, related_name="cases")
    state = models.CharField(max_length=20, choices=[(state.value, state_words(state)) for state in CaseState])
    state_since = models.DateTimeField()
    anchor_invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="dunning_cases")
    anchor_day = models.DateField(help_text="Days are counted from it, where the customer is.")
    refused_at = models.DateTimeField(
        null=True, blank=True, help_text="When the charge was refused from which on days are counted."
    )
    opened_at = models.DateTimeField()
    # What is to come, as the terms and the steps that were taken say: kept for lists and for the sweep.
    next_number = models.PositiveIntegerField(null=True, blank=True)
    next_due_at = models.DateTimeField(null=True, blank=True)
    waits_because = models.CharField(
        max_length=500, blank=True, default="", help_text="Why the step that is due has not been taken."
    )
    looked_at = models.DateTimeField(
        null=True,
        blank=True,
        editable=False,
        help_text="When the sweep last tried to go on with it: the oldest look comes first.",
    )
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)
    history = tracked(excluded_fields=["next_number", "next_due_at", "waits_because", "looked_at"])

    objects = models.Manager["DunningCase"]()

    class Meta:
        verbose_name = "dunning case"
        constraints = [
            models.UniqueConstraint(
                fields=["customer"], condition=Q(state__in=LIVE), name="dunning_case_is_one_at_a_time"
            ),
            models.CheckConstraint(condition=Q(state__in=list(CaseState)), name="dunning_case_state_is_known"),
            models.CheckConstraint(
                condition=Q(state="open") | Q(next_number__isnull=True, next_due_at__isnull=True),
                name="dunning_case_plans_steps_while_it_is_open",
            ),
        ]
        indexes = [models.Index(fields=["next_due_at"], condition=Q(state="open"), name="dunning_case_due")]
        triggers = [
            is_of_who_pays(noun="a dunning case"),
            never_deleted(noun="dunning cases"),
            never_truncated(noun="dunning cases"),
            stays(
                noun="dunning case",
                columns=[
                    "customer_id",
                    "policy_id",
                    "anchor_invoice_id",
                    "anchor_day",
                    "refused_at",
                    "opened_at",
                ],
            ),
            Guard(
                name="follows_its_table",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert | pgtrigger.Update,
                func=f"""
                    IF TG_OP = 'INSERT' THEN
                        IF NEW.state <> 'open' THEN
                            RAISE EXCEPTION 'a dunning case begins open' USING ERRCODE = 'integrity_constraint_violation';
                        END IF;
                        IF NOT EXISTS (SELECT FROM invoicing_invoice WHERE id = NEW.anchor_invoice_id
                                          AND customer_id = NEW.customer_id AND status = 'issued') THEN
                            RAISE EXCEPTION 'a dunning case is about an issued invoice of its customer'
                                USING ERRCODE = 'integrity_constraint_violation';
                        END IF;
                    ELSIF OLD.state <> NEW.state AND (OLD.state, NEW.state) NOT IN ({case_moves_in_sql()}) THEN
                        RAISE EXCEPTION 'a dunning case does not go from % to %', OLD.state, NEW.state
                            USING ERRCODE = 'integrity_constraint_violation';
                    ELSIF OLD.state <> NEW.state AND NEW.state = 'settled' AND EXISTS (
                        SELECT FROM invoicing_invoice invoice
                         WHERE invoice.id = NEW.anchor_invoice_id AND {_in_arrears("NEW.state_since")}) THEN
                        RAISE EXCEPTION 'dunning case % is not settled: the invoice that it began with is owed', OLD.id
                            USING ERRCODE = 'integrity_constraint_violation';
                    ELSIF OLD.state <> NEW.state AND NEW.state = 'superseded' AND NOT EXISTS (
                        SELECT FROM invoicing_lifecyclemove move WHERE move.customer_id = NEW.customer_id
                           AND move.trigger = '{Trigger.CAME_BACK}' AND move.moved_at >= OLD.opened_at) THEN
                        RAISE EXCEPTION 'dunning case % is not superseded: its customer has not come back', OLD.id
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    @property
    def anchor(self) -> Anchor:
        """From which day on its days are counted."""
        return Anchor(self.anchor_day, self.refused_at)

    @property
    def is_live(self) -> bool:
        """Say whether it is not closed."""
        return CaseState(self.state) not in CLOSED

    def __str__(self) -> str:
        return f"{self.customer} since {self.anchor_day}"


class Outcome(models.TextChoices):
    """What became of a step whose day had come."""

    DONE = "done", "done"
    SKIPPED = "skipped", "skipped"


class CaseStep(models.Model):
    """A step that was taken, or skipped for a reason, with the figures that it was based on; once each, in their order."""

    case = models.ForeignKey(DunningCase, on_delete=models.PROTECT, related_name="steps")
    number = models.PositiveIntegerField(help_text="Its place in the policy: 1 is the first.")
    day = models.PositiveIntegerField()
    act = models.CharField(max_length=20, choices=[(act.value, ACT_WORDS[act]) for act in Act])
    notice = models.CharField(max_length=30, blank=True, help_text="What the customer is told; empty: nothing.")
    due_at = models.DateTimeField()
    done_at = models.DateTimeField()
    delay_days = models.PositiveIntegerField(help_text="By so many days the steps after it are later than planned.")
    outcome = models.CharField(max_length=10, choices=Outcome)
    why = models.CharField(max_length=500, blank=True, default="")
    currency = models.CharField(max_length=3)
    amount = money_field(help_text="What was late then, without what is objected to.")
    figures = models.JSONField(help_text="The invoices that were late then.")
    actor = models.CharField(max_length=200)
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = models.Manager["CaseStep"]()

    class Meta:
        verbose_name = "dunning step"
        constraints = [
            models.UniqueConstraint(fields=["case", "number"], name="dunning_step_is_taken_once"),
            models.CheckConstraint(
                condition=~Q(outcome="skipped") | ~Q(why=""), name="dunning_step_is_skipped_for_a_reason"
            ),
            models.CheckConstraint(
                condition=~Q(outcome="done") | Q(amount__gt=0), name="dunning_step_is_taken_where_something_is_owed"
            ),
            models.CheckConstraint(condition=~Q(actor=""), name="dunning_step_has_an_actor"),
            models.CheckConstraint(
                condition=Q(done_at__gte=F("due_at")) | ~Q(actor=SWEEP) & ~Q(why=""),
                name="dunning_step_comes_before_its_day_by_somebody_with_a_reason",
            ),
            fits_currency("amount", name="dunning_step_amount_fits_its_currency"),
        ]
        triggers = [
            *append_only(noun="dunning steps"),
            Guard(
                name="is_taken_in_order_while_something_is_owed",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                declare=[("chased", "record"), ("before", "record")],
                # Locked and asked again: a payment that is being recorded is waited for, and wins.
                func=f"""
                    SELECT customer.id, customer.timezone, dunning.state INTO chased
                      FROM dunning_dunningcase dunning JOIN invoicing_customer customer ON customer.id = dunning.customer_id
                     WHERE dunning.id = NEW.case_id FOR NO KEY UPDATE OF dunning;
                    SELECT max(number) AS number, max(done_at) AS done_at INTO before FROM dunning_casestep WHERE case_id = NEW.case_id;
                    IF chased.state <> 'open' OR NEW.number <> coalesce(before.number, 0) + 1
                       OR NEW.done_at < coalesce(before.done_at, '-infinity') THEN
                        RAISE EXCEPTION 'step % of dunning case % is not the next one', NEW.number, NEW.case_id
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    IF NEW.outcome = 'done' THEN
                        PERFORM 1 FROM invoicing_invoice invoice WHERE invoice.customer_id = chased.id AND {_in_arrears("NEW.done_at")}
                         ORDER BY invoice.id FOR NO KEY UPDATE OF invoice;
                        IF NOT FOUND THEN
                            RAISE EXCEPTION 'nothing is owed in dunning case %: no step is taken', NEW.case_id
                                USING ERRCODE = 'integrity_constraint_violation';
                        END IF;
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"day {self.day}: {self.get_act_display()}"
