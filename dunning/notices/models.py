"""Notices to customers: each the outbox row of one e-mail and the log of what it said, what became of it, and addresses that are not written to."""

import pgtrigger
from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower, Now

from billing_site.kernel.guard import Guard
from billing_site.kernel.model import append_only, carved, never_deleted, stays
from dunning.core.notice_kinds import NoticeKind
from dunning.core.notice_life import OVER, NoticeState, notice_moves_in_sql
from dunning.core.wording import SUBJECT_FILLED_MAX
from dunning.notices.templates import KIND_CHOICES, NoticeTemplate, TemplateVersion, VersionState
from invoicing.customers.models import Customer
from invoicing.invoices.models import Invoice

STATE_CHOICES = [(state.value, state.value.replace("_", " ").capitalize()) for state in NoticeState]
# What is written down before a mail is handed over, and changes only when it is written anew to be handed over again.
CONTENT = (
    *("template_version_id", "from_address", "reply_to", "to_address", "subject", "text", "html", "told", "message_id"),
    "sending_at",
)
_OLD, _NEW = (", ".join(f"{row}.{column}" for column in CONTENT) for row in ("OLD", "NEW"))


def _moves_as_stated() -> Guard:
    """Return a trigger by which a notice begins planned, moves as the table says, and changes its content only on the way to the mail server."""
    return Guard(
        name="is_planned_then_sent_once",
        when=pgtrigger.Before,
        operation=pgtrigger.Insert | pgtrigger.Update,
        func=f"""
            IF TG_OP = 'INSERT' THEN
                IF NEW.state <> 'planned' THEN
                    RAISE EXCEPTION 'a notice is planned first' USING ERRCODE = 'integrity_constraint_violation';
                END IF;
                RETURN NEW;
            END IF;
            IF NEW.state <> OLD.state AND (OLD.state, NEW.state) NOT IN ({notice_moves_in_sql()}) THEN
                RAISE EXCEPTION 'a notice does not go from % to %', OLD.state, NEW.state
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            IF ({_OLD}) IS DISTINCT FROM ({_NEW})
               AND NOT (OLD.state = 'planned' AND NEW.state = 'sending') THEN
                RAISE EXCEPTION 'what notice % says is written once it is sent, and stays', OLD.id
                    USING ERRCODE = 'integrity_constraint_violation';
            END IF;
            RETURN NEW;
        """,
    )


def _says_approved_words() -> Guard:
    """Return a trigger by which only approved words go out, of the notice's own kind, and to no address that bounced or complained."""
    return Guard(
        name="says_approved_words_to_whom_it_may",
        when=pgtrigger.Before,
        operation=pgtrigger.Update,
        func=f"""
            IF OLD.state = 'planned' AND NEW.state = 'sending' THEN
                PERFORM 1 FROM dunning_templateversion version
                   JOIN dunning_noticetemplate template ON template.id = version.template_id
                  WHERE version.id = NEW.template_version_id AND version.state = '{VersionState.APPROVED.value}'
                    AND template.kind = NEW.kind;
                IF NOT FOUND THEN
                    RAISE EXCEPTION 'notice % does not say what was approved', NEW.id
                        USING ERRCODE = 'integrity_constraint_violation';
                END IF;
                PERFORM 1 FROM dunning_blockedaddress
                  WHERE address = lower(NEW.to_address) AND lifted_at IS NULL;
                IF FOUND THEN
                    RAISE EXCEPTION 'nothing is sent to an address that bounced or complained: notice %', NEW.id
                        USING ERRCODE = 'integrity_constraint_violation';
                END IF;
            END IF;
            RETURN NEW;
        """,
    )


class Notice(models.Model):
    """The decision to tell a customer something, once per reference; then the mail as it was sent."""

    customer = models.ForeignKey(Customer, on_delete=models.PROTECT, related_name="notices")
    kind = models.CharField(max_length=20, choices=KIND_CHOICES)
    reference = models.CharField(max_length=200, unique=True, help_text="What it is told for: planned once.")
    acts_on = models.DateField(null=True, blank=True, help_text="The day of the next step, of which the mail tells.")
    planned_at = models.DateTimeField()
    state = models.CharField(max_length=20, choices=STATE_CHOICES, default=NoticeState.PLANNED.value)
    why = models.CharField(
        max_length=500, blank=True, help_text="Why it was not sent, could not be, or is tried again."
    )
    settled_at = models.DateTimeField(null=True, blank=True, help_text="Since when it is as it is.")
    attempt_count = models.PositiveIntegerField(default=0)
    next_attempt_at = models.DateTimeField(help_text="When the sweep queues it again if it is still planned.")
    # The mail, as it is handed over.
    template_version = models.ForeignKey(
        TemplateVersion, null=True, blank=True, on_delete=models.PROTECT, related_name="notices"
    )
    from_address = models.CharField(max_length=700, blank=True)
    reply_to = models.CharField(max_length=700, blank=True)
    to_address = models.CharField(max_length=254, blank=True)
    subject = models.CharField(max_length=SUBJECT_FILLED_MAX, blank=True)
    text = models.TextField(blank=True)
    html = models.TextField(blank=True)
    told = models.JSONField(null=True, blank=True, help_text="The figures that the mail tells.")
    message_id = models.CharField(
        max_length=255, blank=True, help_text="Of the mail; the same however often it is sent."
    )
    sending_at = models.DateTimeField(null=True, blank=True)
    provider_id = models.CharField(max_length=255, blank=True, help_text="What the mail provider calls it.")

    objects = models.Manager["Notice"]()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(kind__in=[kind.value for kind in NoticeKind]), name="notice_is_of_a_known_kind"
            ),
            models.CheckConstraint(
                condition=Q(state__in=[state.value for state in NoticeState]), name="notice_is_in_a_known_state"
            ),
            models.CheckConstraint(condition=~Q(reference=""), name="notice_has_a_reference"),
            models.CheckConstraint(
                condition=~Q(state__in=[NoticeState.SENDING.value, NoticeState.SENT.value])
                | Q(template_version__isnull=False, sending_at__isnull=False, told__isnull=False)
                & ~Q(from_address="")
                & ~Q(to_address="")
                & ~Q(subject="")
                & ~Q(text="")
                & ~Q(html="")
                & ~Q(message_id=""),
                name="notice_is_written_down_before_it_is_sent",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=[NoticeState.NOT_NEEDED.value, NoticeState.UNDELIVERABLE.value]) | ~Q(why=""),
                name="notice_that_is_not_sent_says_why",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=[state.value for state in OVER]) | Q(settled_at__isnull=False),
                name="notice_is_over_since_a_moment",
            ),
            models.CheckConstraint(
                condition=~Q(subject__contains="\n") & ~Q(subject__contains="\r"), name="notice_subject_is_one_line"
            ),
        ]
        indexes = [
            models.Index(fields=["state", "next_attempt_at"], name="notice_by_state"),
            models.Index(fields=["customer", "-planned_at"], name="notice_by_customer"),
            models.Index(fields=["provider_id"], condition=~Q(provider_id=""), name="notice_by_provider_id"),
        ]
        triggers = [
            *carved(
                noun="notice",
                while_open=f"OLD.state NOT IN ({', '.join(repr(state.value) for state in OVER)})",
                free_columns=[],
            ),
            stays(noun="notice", columns=["customer_id", "kind", "reference", "acts_on", "planned_at"]),
            never_deleted(noun="notices"),
            _moves_as_stated(),
            _says_approved_words(),
        ]

    def __str__(self) -> str:
        return f"{self.get_kind_display()} to {self.customer}"


class NoticeInvoice(models.Model):
    """One of the invoices that a notice is about."""

    notice = models.ForeignKey(Notice, on_delete=models.PROTECT, related_name="about")
    invoice = models.ForeignKey(Invoice, on_delete=models.PROTECT, related_name="notices")

    objects = models.Manager["NoticeInvoice"]()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["notice", "invoice"], name="notice_names_an_invoice_once"),
        ]
        triggers = [
            *append_only(noun="invoices of notices"),
            Guard(
                name="is_of_the_same_customer",
                when=pgtrigger.Before,
                operation=pgtrigger.Insert,
                func="""
                    IF (SELECT customer_id FROM dunning_notice WHERE id = NEW.notice_id)
                       IS DISTINCT FROM (SELECT customer_id FROM invoicing_invoice WHERE id = NEW.invoice_id) THEN
                        RAISE EXCEPTION 'notice % is about an invoice of another customer', NEW.notice_id
                            USING ERRCODE = 'integrity_constraint_violation';
                    END IF;
                    RETURN NEW;
                """,
            ),
        ]

    def __str__(self) -> str:
        return f"{self.notice}: {self.invoice}"


class NoticeDecision(models.Model):
    """What somebody decided about a notice that could not be delivered, or of which nobody knows whether it was sent."""

    class Kind(models.TextChoices):
        """What was decided."""

        WAS_SENT = "was_sent", "It was sent"
        SEND_AGAIN = "send_again", "Send it again"
        DROP = "drop", "Do not send it"

    notice = models.ForeignKey(Notice, on_delete=models.PROTECT, related_name="decisions")
    kind = models.CharField(max_length=20, choices=Kind)
    decided_at = models.DateTimeField()
    actor = models.CharField(max_length=200)
    reason = models.CharField(max_length=300)

    objects = models.Manager["NoticeDecision"]()

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=~Q(actor="") & ~Q(reason=""), name="notice_is_decided_by_somebody_with_reason"
            ),
            models.CheckConstraint(
                condition=Q(kind__in=["was_sent", "send_again", "drop"]), name="notice_decision_is_of_a_known_kind"
            ),
        ]
        triggers = append_only(noun="decisions about notices")

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.notice}"


class MailEventKind(models.TextChoices):
    """What became of a mail: what the mail server said when it was handed over, then what its provider tells."""

    REFUSED = "refused", "Refused by the mail server"
    DELIVERED = "delivered", "Delivered"
    DELAYED = "delayed", "Delayed"
    SOFT_BOUNCE = "soft_bounce", "Bounced, for now"
    BOUNCE = "bounce", "Bounced"
    COMPLAINT = "complaint", "Called unwanted"


# After these the address is not written to any more.
BLOCKING = (MailEventKind.BOUNCE, MailEventKind.COMPLAINT)


class MailEvent(models.Model):
    """One thing that became of a mail, once however often it is told."""

    notice = models.ForeignKey(Notice, null=True, blank=True, on_delete=models.PROTECT, related_name="events")
    kind = models.CharField(max_length=20, choices=MailEventKind)
    address = models.CharField(max_length=254)
    key = models.CharField(max_length=64, unique=True, help_text="SHA-256 over what makes it the same event.")
    said = models.CharField(max_length=500, blank=True, help_text="What the mail server or the provider says.")
    occurred_at = models.DateTimeField()
    recorded_at = models.DateTimeField(db_default=Now(), editable=False)

    objects = models.Manager["MailEvent"]()

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(kind__in=MailEventKind.values), name="mail_event_is_of_a_known_kind"),
            models.CheckConstraint(
                condition=Q(address=Lower("address")), name="mail_event_address_is_in_small_letters"
            ),
        ]
        indexes = [models.Index(fields=["address"], name="mail_event_by_address")]
        triggers = append_only(noun="mail events")

    def __str__(self) -> str:
        return f"{self.get_kind_display()}: {self.address}"


class BlockedAddress(models.Model):
    """An address that bounced or complained: nothing is sent to it until somebody lifts that, with a reason."""

    address = models.CharField(max_length=254)
    event = models.OneToOneField(MailEvent, on_delete=models.PROTECT, related_name="block")
    blocked_at = models.DateTimeField()
    lifted_at = models.DateTimeField(null=True, blank=True)
    lifted_by = models.CharField(max_length=200, blank=True)
    reason = models.CharField(max_length=300, blank=True)

    objects = models.Manager["BlockedAddress"]()

    class Meta:
        verbose_name_plural = "blocked addresses"
        constraints = [
            models.UniqueConstraint(
                fields=["address"], condition=Q(lifted_at__isnull=True), name="address_is_blocked_once_at_a_time"
            ),
            models.CheckConstraint(condition=Q(address=Lower("address")), name="blocked_address_is_in_small_letters"),
            models.CheckConstraint(
                condition=Q(lifted_at__isnull=True, lifted_by="", reason="")
                | Q(lifted_at__isnull=False) & ~Q(lifted_by="") & ~Q(reason=""),
                name="block_is_lifted_by_somebody_with_reason",
            ),
        ]
        triggers = [
            *carved(noun="lifted block", while_open="OLD.lifted_at IS NULL", free_columns=[]),
            stays(noun="blocked address", columns=["address", "event_id", "blocked_at"]),
            never_deleted(noun="blocked addresses"),
        ]

    def __str__(self) -> str:
        return self.address


__all__ = [
    "BLOCKING",
    "BlockedAddress",
    "MailEvent",
    "MailEventKind",
    "Notice",
    "NoticeDecision",
    "NoticeInvoice",
    "NoticeTemplate",
    "TemplateVersion",
    "VersionState",
]
