"""The addresses of this face, below /api/v1/."""

from django.urls import path

from invoicing.api import (
    access,
    anomalies,
    budgets,
    commitments,
    coupons,
    customers,
    invoices,
    plans,
    prices,
    saving,
    spend,
    subscription_changes,
    subscriptions,
)

urlpatterns = [
    path("customers", customers.CustomersView.as_view()),
    path("customers/<str:key>", customers.CustomerView.as_view()),
    path("customers/<str:key>/access", access.AccessView.as_view()),
    path("customers/<str:key>/spend", spend.SpendView.as_view()),
    path("customers/<str:key>/saving", saving.SavingView.as_view()),
    path("budgets", budgets.BudgetsView.as_view()),
    path("budgets/<str:key>", budgets.BudgetView.as_view()),
    path("budgets/<str:key>/retire", budgets.BudgetRetireView.as_view()),
    path("anomalies", anomalies.AnomaliesView.as_view()),
    path("spend-notices", spend.SpendNoticesView.as_view()),
    path("subscriptions", subscriptions.SubscriptionsView.as_view()),
    path("subscriptions/<str:key>", subscriptions.SubscriptionView.as_view()),
    path("subscriptions/<str:key>/commitments", commitments.CommitmentsView.as_view()),
    path("subscriptions/<str:key>/commitments/<str:number>", commitments.CommitmentView.as_view()),
    path("subscriptions/<str:key>/end", subscriptions.SubscriptionEndView.as_view()),
    path("subscriptions/<str:key>/changes", subscription_changes.SubscriptionChangesView.as_view()),
    path("coupons", coupons.CouponsView.as_view()),
    path("coupons/<str:code>/close", coupons.CouponCloseView.as_view()),
    path("discounts", coupons.DiscountsView.as_view()),
    path("discounts/<str:number>/end", coupons.DiscountEndView.as_view()),
    path("plans", plans.PlansView.as_view()),
    path("plans/<str:key>", plans.PlanView.as_view()),
    path("prices/preview", prices.PricePreviewView.as_view()),
    path("invoices", invoices.InvoicesView.as_view()),
    path("invoices/preview", invoices.InvoicePreviewView.as_view()),
    path("invoices/<str:number>", invoices.InvoiceView.as_view()),
    path("invoices/<str:number>/explain", invoices.InvoiceExplanationView.as_view()),
]
