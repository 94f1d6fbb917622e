"""Django's index of this app's models; each lives in its slice."""

from billing_site.kernel.history import guard_history
from invoicing.approvals.models import Approval, ApprovalLimit
from invoicing.backfills.models import Backfill
from invoicing.bank.models import (
    AccountUse,
    AllocationReversal,
    BankAccount,
    BankAllocation,
    BankFile,
    BankLine,
    BankStatement,
)
from invoicing.catalog.coupon import Coupon
from invoicing.catalog.models import Plan, PlanSpend, PlanVersion, Price, PriceCell, PriceTier, Product
from invoicing.closing.models import CheckSignOff, ClosedReport, MonthClose, MonthReopening
from invoicing.credit_notes.models import CreditNote, CreditNoteLine, CreditNoteTax
from invoicing.credits.models import CreditEntry, CreditGrant
from invoicing.customers.models import Customer, LifeCycleMove
from invoicing.customers.restriction import ServiceRestriction
from invoicing.documents.models import RenderedDocument, RenderingFailure
from invoicing.draft_edits.models import LineEdit
from invoicing.entities.logo import SellerLogo
from invoicing.entities.models import LegalEntity
from invoicing.evidence.models import Anchor, EvidenceBlock, EvidenceRow, EvidenceShape
from invoicing.gate.models import GateSetting, InvoiceHold
from invoicing.invoices.models import (
    BillingRun,
    Invoice,
    InvoiceLine,
    InvoiceSeries,
    Objection,
    ProgressiveInvoice,
    TaxLine,
    UsageCorrection,
)
from invoicing.ledger.models import Account, Books, JournalEntry, Posting
from invoicing.meter_reports.models import MeterReport, RepairCase
from invoicing.payments.attempts import PushAttempt
from invoicing.payments.charge_attempt import ChargeAttempt
from invoicing.payments.dispute import Dispute, DisputeDecision, DisputeMovement
from invoicing.payments.key_round import KeyRound
from invoicing.payments.look import StripeLook
from invoicing.payments.models import Payment, PaymentFailure, PushIntent, StripeCustomer, StripeNotice
from invoicing.payments.outage import FailureStreak, Outage
from invoicing.payments.payout import Payout, StripeTransaction, TransactionExplanation
from invoicing.payments.rail import CallBucket
from invoicing.payments.refund import Refund
from invoicing.payments.reversal import PaymentReversal
from invoicing.payments.withdrawal import Withdrawal
from invoicing.plan_migrations.models import PlanMigration
from invoicing.progressive.models import ProgressiveThreshold
from invoicing.recognition.models import RecognisedRevenue
from invoicing.reports.models import AccountMapping
from invoicing.rerating.models import ReratingFinding, ReratingReview, ReratingRun
from invoicing.run_proposals.models import RunProposal
from invoicing.spend.models import AnomalyReview, Budget, SpendNotice, SpendProgress, SpendWatch, UsageAnomaly
from invoicing.stripe_subscriptions.models import StripeSubscription, SubscriptionMismatch
from invoicing.subscriptions.commitment import Commitment, CommitmentTranche
from invoicing.subscriptions.discount import Discount
from invoicing.subscriptions.metered_at_stripe import MeterReporting
from invoicing.subscriptions.models import PriceOverride, Subscription, SubscriptionPhase
from invoicing.tax.inquiries import TaxAnswer, TaxInquiry
from invoicing.tax.models import CustomerTax, SellerTax, TaxExemption, TaxRate, TaxRegistration, VatIdCheck
from invoicing.top_ups.models import TopUp
from invoicing.top_ups.rules import TopUpRule
from invoicing.what_ifs.models import WhatIf, WhatIfFigure
from invoicing.write_offs.models import Recovery, WriteOff

__all__ = [
    "Account",
    "AccountMapping",
    "AccountUse",
    "AllocationReversal",
    "Anchor",
    "AnomalyReview",
    "Approval",
    "ApprovalLimit",
    "Backfill",
    "BankAccount",
    "BankAllocation",
    "BankFile",
    "BankLine",
    "BankStatement",
    "BillingRun",
    "Books",
    "Budget",
    "CallBucket",
    "ChargeAttempt",
    "CheckSignOff",
    "ClosedReport",
    "Commitment",
    "CommitmentTranche",
    "Coupon",
    "CreditEntry",
    "CreditGrant",
    "CreditNote",
    "CreditNoteLine",
    "CreditNoteTax",
    "Customer",
    "CustomerTax",
    "Discount",
    "Dispute",
    "DisputeDecision",
    "DisputeMovement",
    "EvidenceBlock",
    "EvidenceRow",
    "EvidenceShape",
    "FailureStreak",
    "GateSetting",
    "Invoice",
    "InvoiceHold",
    "InvoiceLine",
    "InvoiceSeries",
    "JournalEntry",
    "KeyRound",
    "LegalEntity",
    "LifeCycleMove",
    "LineEdit",
    "MeterReport",
    "MeterReporting",
    "MonthClose",
    "MonthReopening",
    "Objection",
    "Outage",
    "Payment",
    "PaymentFailure",
    "PaymentReversal",
    "Payout",
    "Plan",
    "PlanMigration",
    "PlanSpend",
    "PlanVersion",
    "Posting",
    "Price",
    "PriceCell",
    "PriceOverride",
    "PriceTier",
    "Product",
    "ProgressiveInvoice",
    "ProgressiveThreshold",
    "PushAttempt",
    "PushIntent",
    "RecognisedRevenue",
    "Recovery",
    "Refund",
    "RenderedDocument",
    "RenderingFailure",
    "RepairCase",
    "ReratingFinding",
    "ReratingReview",
    "ReratingRun",
    "RunProposal",
    "SellerLogo",
    "SellerTax",
    "ServiceRestriction",
    "SpendNotice",
    "SpendProgress",
    "SpendWatch",
    "StripeCustomer",
    "StripeLook",
    "StripeNotice",
    "StripeSubscription",
    "StripeTransaction",
    "Subscription",
    "SubscriptionMismatch",
    "SubscriptionPhase",
    "TaxAnswer",
    "TaxExemption",
    "TaxInquiry",
    "TaxLine",
    "TaxRate",
    "TaxRegistration",
    "TopUp",
    "TopUpRule",
    "TransactionExplanation",
    "UsageAnomaly",
    "UsageCorrection",
    "VatIdCheck",
    "WhatIf",
    "WhatIfFigure",
    "Withdrawal",
    "WriteOff",
]

guard_history(
    AccountMapping,
    Budget,
    Customer,
    LegalEntity,
    Product,
    Plan,
    PlanVersion,
    Coupon,
    Subscription,
    SubscriptionPhase,
    PriceOverride,
    StripeSubscription,
    MeterReporting,
    Discount,
    Invoice,
    TaxRegistration,
    TaxRate,
    CustomerTax,
    TaxExemption,
)
