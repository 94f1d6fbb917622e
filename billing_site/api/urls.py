"""The addresses of the machine face."""

from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView

from billing_site.api.health import health
from invoicing.api.e_invoice import ECreditNoteView, EInvoiceView
from invoicing.api.pdf import CreditNotePdfView, InvoicePdfView
from invoicing.api.webhooks import receive_stripe_webhook

urlpatterns = [
    path("health", health, name="health"),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerView.as_view(url_name="schema"), name="docs"),
    path("api/v1/", include("metering.urls")),
    path("api/v1/", include("invoicing.api.urls")),
    path("api/v1/", include("dunning.urls")),
    path("billing/invoices/<str:number>/pdf", InvoicePdfView.as_view(), name="invoice-pdf"),
    path("billing/invoices/<str:number>/e-invoice", EInvoiceView.as_view(), name="e-invoice"),
    path("billing/credit-notes/<str:number>/pdf", CreditNotePdfView.as_view(), name="credit-note-pdf"),
    path("billing/credit-notes/<str:number>/e-invoice", ECreditNoteView.as_view(), name="e-credit-note"),
    path("webhooks/stripe", receive_stripe_webhook, name="stripe-webhook"),
]
