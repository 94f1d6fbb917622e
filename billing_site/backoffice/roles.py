"""The groups of staff and the permissions for deeds that move money, made of the table of `responsibilities.py`.

`serve` and `demo` call `ensure_roles`; running it again changes nothing but adding what is missing, so that a permission that was taken away
by hand must be taken from the person, not from the group.
"""

from collections.abc import Container, Iterable

from django.contrib.auth.models import Group, Permission
from django.contrib.contenttypes.models import ContentType
from django.db import transaction
from django.db.models import Model

from billing_site.backoffice.responsibilities import PROCESSES, Role, decides
from dunning.cases.models import DunningCase
from dunning.handover.models import HandOverFile
from dunning.notices.models import BlockedAddress, Notice
from dunning.notices.templates import TemplateVersion
from dunning.overdue.models import OverdueTerms
from dunning.policies.models import PolicyAssignment, PolicyVersion
from invoicing.approvals.models import Approval, ApprovalLimit, ApprovedDeed
from invoicing.catalog.coupon import Coupon
from invoicing.catalog.models import Plan, PlanSpend, PlanVersion, Price, PriceTier, Product
from invoicing.closing.models import MonthClose
from invoicing.credit_notes.models import CreditNote
from invoicing.credits.models import CreditGrant
from invoicing.customers.models import Customer
from invoicing.draft_edits.models import LineEdit
from invoicing.entities.models import LegalEntity
from invoicing.gate.models import GateSetting, InvoiceHold
from invoicing.invoices.models import Invoice, UsageCorrection
from invoicing.payments.dispute import Dispute
from invoicing.payments.models import PushIntent
from invoicing.payments.outage import Outage
from invoicing.payments.refund import Refund
from invoicing.plan_migrations.models import PlanMigration
from invoicing.progressive.models import ProgressiveThreshold
from invoicing.reports.models import AccountMapping
from invoicing.rerating.models import ReratingFinding
from invoicing.spend.models import Budget, UsageAnomaly
from invoicing.subscriptions.discount import Discount
from invoicing.subscriptions.metered_at_stripe import MeterReporting
from invoicing.subscriptions.models import Subscription
from invoicing.tax.models import CustomerTax, SellerTax, TaxExemption, TaxRate, TaxRegistration
from invoicing.top_ups.rules import TopUpRule
from invoicing.what_ifs.models import WhatIf
from metering.models import DeadLetter, Meter, UsageEvent

FINANCE, APPROVERS, SUPPORT = Role.FINANCE.value, Role.APPROVERS.value, Role.SUPPORT.value

# Deeds beyond Django's add, change, delete and view.
DEEDS: tuple[tuple[type[Model], str, str], ...] = (
    (Customer, "move_customer", "Can suspend and close customers"),
    (Invoice, "issue_invoice", "Can issue invoices"),
    (LineEdit, "edit_draft", "Can change drafts by hand"),
    (InvoiceHold, "release_invoicehold", "Can release held invoices"),
    (GateSetting, "set_gatesetting", "Can set the checks before issue"),
    (Invoice, "record_transfer", "Can record bank transfers"),
    (CreditNote, "issue_creditnote", "Can issue credit notes"),
    (Invoice, "write_off_invoice", "Can write invoices off, and take that back"),
    (Refund, "record_refund", "Can record refunds that were transferred"),
    (Dispute, "settle_dispute", "Can accept the loss of disputes, and serve their customers again"),
    (Outage, "stop_stripe", "Can stop the calls to Stripe, and begin again"),
    (MeterReporting, "report_usage", "Can let Stripe settle usage, and repair what it lacks"),
    (PushIntent, "retry_push", "Can send refused invoices to Stripe again"),
    (PlanVersion, "publish_planversion", "Can publish plan versions"),
    (PlanMigration, "migrate_subscribers", "Can move the subscribers of a plan to another version"),
    (UsageAnomaly, "review_usageanomaly", "Can say what was found about unusual usage"),
    (ReratingFinding, "review_reratingfinding", "Can say what was found about lines that rate otherwise"),
    (WhatIf, "ask_whatif", "Can try price lists on closed periods"),
    (UsageEvent, "correct_usageevent", "Can cancel and amend usage events, and settle contradictions"),
    (Meter, "backdate_meter", "Can date meters back and rebuild their windows"),
    (MonthClose, "close_month", "Can sign off checks, close months and ask that one is opened again"),
    (UsageCorrection, "decide_late_usage", "Can decide about late usage"),
    (UsageCorrection, "backfill_usage", "Can backfill and replay usage events"),
    (DeadLetter, "replay_deadletter", "Can replay and dismiss dead letters"),
    (DunningCase, "arrange_dunningcase", "Can hold dunning, note promises and objections, and take steps by hand"),
    (HandOverFile, "download_handoverfile", "Can download the files of cases that are handed over to collectors"),
    (TemplateVersion, "draft_templateversion", "Can draft what notices say, and ask for its approval"),
    (TemplateVersion, "approve_templateversion", "Can approve and refuse what others draft for notices"),
    (Notice, "decide_notice", "Can send notices again, or drop them, that were not delivered"),
    (BlockedAddress, "lift_blockedaddress", "Can let addresses be written to again that bounced or complained"),
)
# Deeds of the second person: whoever may ask for something is not thereby one who may approve it.
SECOND_DEEDS: tuple[tuple[type[Model], str, str], ...] = (
    (Approval, "decide_approval", "Can approve and refuse what others ask for"),
    (ApprovalLimit, "set_approvallimit", "Can set from which amount on it takes two people"),
)
EDITED: tuple[type[Model], ...] = (
    AccountMapping,
    OverdueTerms,
    PolicyAssignment,
    PolicyVersion,
    Budget,
    Customer,
    Subscription,
    Coupon,
    Discount,
    CreditGrant,
    TopUpRule,
    ProgressiveThreshold,
    LegalEntity,
    SellerTax,
    TaxRegistration,
    TaxRate,
    CustomerTax,
    TaxExemption,
    Product,
    Plan,
    PlanVersion,
    PlanSpend,
    Price,
    PriceTier,
)


@transaction.atomic
def ensure_roles() -> None:
    """Make sure that the deeds' permissions and the groups exist, each with what its part in each process needs."""
    _ensure_deeds()
    known = _KnownPermissions()
    held: dict[Role, set[int]] = {role: set() for role in Role}
    for process in PROCESSES:
        for role in process.roles:
            held[role] |= known.seen(process.seen)
        held[process.responsible] |= known.named(process.deeds)
        held[process.accountable] |= known.named(process.seconded)
        held[process.accountable] |= known.named(map(decides, process.approved))
        if process.edited:
            held[process.responsible] |= known.edited()
    held[Role.APPROVERS] |= known.named(f"{model._meta.app_label}.{name}" for model, name, _ in SECOND_DEEDS)
    for role, permissions in held.items():
        Group.objects.get_or_create(name=role.value)[0].permissions.add(*permissions)


def _ensure_deeds() -> None:
    """Make the permissions that are missing; one query where none is."""
    approvals: list[tuple[type[Model], str, str]] = [
        (Approval, decides(deed).partition(".")[2], f"Can approve and refuse: {deed.label.lower()}")
        for deed in ApprovedDeed
    ]
    wanted = {
        (ContentType.objects.get_for_model(model).pk, codename): name
        for model, codename, name in (*DEEDS, *SECOND_DEEDS, *approvals)
    }
    there = set(
        Permission.objects.filter(codename__in=[codename for _, codename in wanted]).values_list(
            "content_type_id", "codename"
        )
    )
    Permission.objects.bulk_create(
        Permission(content_type_id=content_type, codename=codename, name=name)
        for (content_type, codename), name in wanted.items()
        if (content_type, codename) not in there
    )


class _KnownPermissions:
    """The keys of all permissions, read once."""

    def __init__(self) -> None:
        self._rows = list(
            Permission.objects.values_list("content_type__app_label", "content_type_id", "codename", "pk")
        )
        self._by_name = {f"{app}.{codename}": pk for app, _, codename, pk in self._rows}

    def named(self, names: Iterable[str]) -> set[int]:
        """Return those of these names; a KeyError where there is none."""
        return {self._by_name[name] for name in names}

    def seen(self, apps: Container[str]) -> set[int]:
        """Return what lets one look at everything of these apps."""
        return {pk for app, _, codename, pk in self._rows if app in apps and codename.startswith("view_")}

    def edited(self) -> set[int]:
        """Return what lets one add and change what is edited, and delete what a draft of a plan is made of."""
        edited = {each.pk for each in ContentType.objects.get_for_models(*EDITED).values()}
        removed = {each.pk for each in ContentType.objects.get_for_models(Price, PriceTier, PlanSpend).values()}
        return {
            pk
            for _, content_type, codename, pk in self._rows
            if (content_type in edited and codename.startswith(("add_", "change_")))
            or (content_type in removed and codename.startswith("delete_"))
        }
