"""Deeds that are rows of their own and have no history: each stands in its table once, with who, when and why."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db.models import CharField, F, Model, QuerySet, Value
from django.urls import reverse

from billing_site.display.changes import Change


@dataclass(frozen=True)
class Deed:
    """How the rows of a model read as changes: the fields for when, who and why, and the words."""

    label: str
    at: str
    actor: str
    reason: str
    verb: Callable[[Any], str]
    subject: Callable[[Any], str]
    page: tuple[str, str]

    @property
    def model(self) -> type[Model]:
        """The table of the deeds."""
        return apps.get_model(self.label)

    def rows(self, *, actor: str = "") -> QuerySet[Any]:
        """Return the deeds that are done, of one actor or everyone: what waits for somebody is not one yet."""
        done = self.model._default_manager.filter(**{f"{self.at}__isnull": False})
        return done.filter(**{f"{self.actor}__iexact": actor}) if actor else done

    def numbers(self, *, actor: str) -> QuerySet[Any]:
        """Return label, key and time of each deed, as a part of the union over all histories."""
        return (
            self.rows(actor=actor)
            .order_by()
            .annotate(label=Value(self.label, output_field=CharField()), history_id=F("pk"), history_date=F(self.at))
            .values("label", "history_id", "history_date")
        )

    def changes(self, *, keys: Iterable[int]) -> dict[int, tuple[Change, str]]:
        """Return the deeds with these keys in words, each with the address of what it was done to."""
        name, key = self.page
        return {
            row.pk: (
                Change(
                    model=str(self.model._meta.verbose_name),
                    subject=self.subject(row),
                    object_id=row.pk,
                    verb=self.verb(row),
                    at=getattr(row, self.at),
                    actor=getattr(row, self.actor),
                    reason=getattr(row, self.reason) if self.reason else "",
                    fields=(),
                ),
                reverse(f"admin:{name}", args=[getattr(row, key)] if key else []),
            )
            for row in self.model._default_manager.filter(pk__in=list(keys))
        }


DEEDS = {
    deed.label: deed
    for deed in (
        Deed(
            label="metering.eventcancellation",
            at="cancelled_at",
            actor="actor",
            reason="reason",
            verb=lambda row: "cancelled" if row.replacement_number is None else "amended",
            subject=lambda row: f"of {row.customer_id}: event {row.idempotency_key}",
            page=("metering_usageevent_change", "event_number"),
        ),
        Deed(
            label="metering.meterbackdating",
            at="backdated_at",
            actor="actor",
            reason="reason",
            verb=lambda row: f"dated back to {row.effective_from:%Y-%m-%d %H:%M} UTC",
            subject=lambda row: row.meter.key,
            page=("metering_meter_change", "meter_id"),
        ),
        Deed(
            label="metering.eventconflict",
            at="settled_at",
            actor="settled_by",
            reason="reason",
            verb=lambda row: f"settled: {row.get_outcome_display()}",
            subject=lambda row: f"of {row.customer_id}: {row.idempotency_key}",
            page=("metering_eventconflict_change", "pk"),
        ),
        Deed(
            label="metering.deadletter",
            at="settled_at",
            actor="settled_by",
            reason="settlement_reason",
            verb=lambda row: f"settled: {row.get_outcome_display()}",
            subject=lambda row: f"{row.source}, {row.position}",
            page=("metering_deadletter_change", "pk"),
        ),
        Deed(
            label="metering.retentionrun",
            at="made_at",
            actor="actor",
            reason="",
            verb=lambda row: f"purged {row.purged_events:,} events" if row.applied else "looked",
            subject=lambda row: "",
            page=("metering_eventarchive_retention", ""),
        ),
        Deed(
            label="invoicing.usagecorrection",
            at="decided_at",
            actor="actor",
            reason="reason",
            verb=lambda row: f"decided: {row.get_decision_display()}",
            subject=lambda row: f"of {row.original.invoice.number}, line {row.original.position}",
            page=("invoicing_usagecorrection_change", "pk"),
        ),
        Deed(
            label="invoicing.approval",
            at="decided_at",
            actor="decided_by",
            reason="decision_reason",
            verb=lambda row: row.get_decision_display().lower(),
            subject=str,
            page=("invoicing_approval_change", "pk"),
        ),
        Deed(
            label="invoicing.approvallimit",
            at="set_at",
            actor="actor",
            reason="reason",
            verb=lambda row: f"set from {row.amount} on" if row.amount is not None else "taken away",
            subject=str,
            page=("invoicing_approvallimit_change", "pk"),
        ),
        Deed(
            label="invoicing.runproposal",
            at="committed_at",
            actor="asked_by",
            reason="reason",
            verb=lambda row: "issued as signed",
            subject=str,
            page=("invoicing_runproposal_change", "pk"),
        ),
        Deed(
            label="invoicing.invoicehold",
            at="released_at",
            actor="released_by",
            reason="reason",
            verb=lambda row: f"released over {row.total}",
            subject=lambda row: f"of {row.customer.name}",
            page=("invoicing_invoicehold_change", "pk"),
        ),
        Deed(
            label="invoicing.gatesetting",
            at="set_at",
            actor="actor",
            reason="reason",
            verb=lambda row: "set" if row.is_on else "switched off",
            subject=lambda row: row.get_check_name_display(),
            page=("invoicing_gate_checks", ""),
        ),
        Deed(
            label="invoicing.creditgrant",
            at="granted_at",
            actor="actor",
            reason="reason",
            verb=lambda row: "granted",
            subject=str,
            page=("invoicing_creditgrant_change", "pk"),
        ),
        Deed(
            label="invoicing.lifecyclemove",
            at="moved_at",
            actor="actor",
            reason="reason",
            verb=lambda row: f"became {row.get_to_state_display().lower()}",
            subject=lambda row: row.customer.name,
            page=("invoicing_customer_change", "customer_id"),
        ),
        Deed(
            label="invoicing.anomalyreview",
            at="reviewed_at",
            actor="actor",
            reason="reason",
            verb=lambda row: "looked into",
            subject=lambda row: f"{row.anomaly.meter} of {row.anomaly.customer.key} on {row.anomaly.day}",
            page=("invoicing_usageanomaly_change", "anomaly_id"),
        ),
        Deed(
            label="invoicing.reratingreview",
            at="reviewed_at",
            actor="actor",
            reason="reason",
            verb=lambda row: "looked into",
            subject=lambda row: f"line {row.finding.line.position} of {row.finding.line.invoice.number}",
            page=("invoicing_reratingfinding_change", "finding_id"),
        ),
        Deed(
            label="invoicing.topup",
            at="made_at",
            actor="actor",
            reason="reason",
            verb=lambda row: "sold",
            subject=lambda row: f"to {row.customer}: {row.invoice}",
            page=("invoicing_topup_change", "pk"),
        ),
        Deed(
            label="invoicing.creditnote",
            at="issued_at",
            actor="actor",
            reason="reason",
            verb=lambda row: "credited",
            subject=lambda row: f"{row.invoice} by {row.number}",
            page=("invoicing_creditnote_change", "pk"),
        ),
        Deed(
            label="invoicing.disputedecision",
            at="decided_at",
            actor="actor",
            reason="reason",
            verb=lambda row: "accepted as lost" if row.kind == "accept" else "let its customer be served and charged",
            subject=lambda row: f"dispute {row.dispute}",
            page=("invoicing_dispute_change", "dispute_id"),
        ),
        Deed(
            label="invoicing.bankallocation",
            at="allocated_at",
            actor="actor",
            reason="reason",
            verb=lambda row: f"allocated: {row.get_kind_display().lower()}",
            subject=lambda row: f"bank line {row.line}",
            page=("invoicing_bankline_change", "line_id"),
        ),
        Deed(
            label="invoicing.allocationreversal",
            at="reversed_at",
            actor="actor",
            reason="reason",
            verb=lambda row: "taken back",
            subject=lambda row: f"allocation {row.allocation}",
            page=("invoicing_bankallocation_change", "allocation_id"),
        ),
        Deed(
            label="invoicing.paymentreversal",
            at="recorded_at",
            actor="actor",
            reason="reason",
            verb=lambda row: f"taken back: {row.get_cause_display().lower()}",
            subject=lambda row: f"payment {row.payment.reference}",
            page=("invoicing_payment_change", "payment_id"),
        ),
        Deed(
            label="invoicing.accountuse",
            at="used_at",
            actor="actor",
            reason="reason",
            verb=lambda row: row.get_kind_display().lower(),
            subject=lambda row: f"money on account {row.allocation}",
            page=("invoicing_bankallocation_change", "allocation_id"),
        ),
        Deed(
            label="invoicing.topuprule",
            at="set_at",
            actor="actor",
            reason="reason",
            verb=lambda row: "set",
            subject=lambda row: f"of {row.customer}",
            page=("invoicing_topuprule_change", "pk"),
        ),
        Deed(
            label="invoicing.progressivethreshold",
            at="set_at",
            actor="actor",
            reason="reason",
            verb=lambda row: "set",
            subject=lambda row: f"of {row.customer}",
            page=("invoicing_progressivethreshold_change", "pk"),
        ),
        Deed(
            label="dunning.hold",
            at="starts_at",
            actor="actor",
            reason="reason",
            verb=lambda row: "held",
            subject=str,
            page=("invoicing_customer_change", "customer_id"),
        ),
        Deed(
            label="dunning.promise",
            at="made_at",
            actor="actor",
            reason="reason",
            verb=lambda row: "written down",
            subject=lambda row: f"of {row.case.customer}",
            page=("dunning_dunningcase_change", "case_id"),
        ),
        Deed(
            label="invoicing.objection",
            at="opened_at",
            actor="actor",
            reason="reason",
            verb=lambda row: "written down",
            subject=str,
            page=("invoicing_invoice_change", "invoice_id"),
        ),
        Deed(
            label="dunning.policyversion",
            at="recorded_at",
            actor="actor",
            reason="reason",
            verb=lambda row: "published",
            subject=str,
            page=("dunning_policyversion_change", "pk"),
        ),
        Deed(
            label="dunning.policyassignment",
            at="set_at",
            actor="actor",
            reason="reason",
            verb=lambda row: "assigned",
            subject=str,
            page=("dunning_policyassignment_change", "pk"),
        ),
        Deed(
            label="invoicing.checksignoff",
            at="signed_at",
            actor="actor",
            reason="reason",
            verb=lambda row: "signed off",
            subject=lambda row: f"{row.check_name.replace('_', ' ')} of {row.month:%Y-%m}: {row.summary}",
            page=("invoicing_month_of", "month"),
        ),
        Deed(
            label="invoicing.monthclose",
            at="closed_at",
            actor="actor",
            reason="reason",
            verb=lambda row: "closed",
            subject=str,
            page=("invoicing_monthclose_change", "pk"),
        ),
        Deed(
            label="invoicing.monthreopening",
            at="reopened_at",
            actor="approved_by",
            reason="reason",
            verb=lambda row: f"opened again, as {row.requested_by} has asked",
            subject=lambda row: str(row.close),
            page=("invoicing_monthclose_change", "close_id"),
        ),
        Deed(
            label="dunning.noticedecision",
            at="decided_at",
            actor="actor",
            reason="reason",
            verb=lambda row: f"decided: {row.get_kind_display().lower()}",
            subject=lambda row: str(row.notice),
            page=("dunning_notice_change", "notice_id"),
        ),
        Deed(
            label="dunning.blockedaddress",
            at="lifted_at",
            actor="lifted_by",
            reason="reason",
            verb=lambda row: "let be written to again",
            subject=str,
            page=("dunning_blockedaddress_change", "pk"),
        ),
        Deed(
            label="invoicing.backfill",
            at="committed_at",
            actor="committed_by",
            reason="reason",
            verb=lambda row: "committed",
            subject=str,
            page=("invoicing_backfill_change", "pk"),
        ),
    )
}
