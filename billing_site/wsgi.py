"""The WSGI entry point of the web process."""

import gc
import os

from django.core.wsgi import get_wsgi_application
from django.urls import get_resolver

from billing_site.kernel.garbage import set_aside_for_good

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "billing_site.settings")
# Whoever starts it: what answers requests owns no table.
os.environ.setdefault("DATABASE_ROLE", "application")

application = get_wsgi_application()

# Views are imported now, not by the first request. What is loaded stays: no collection looks through it again,
# which would take a tenth of a second out of somebody's request.
assert get_resolver().url_patterns, "the product has addresses"
gc.collect()
set_aside_for_good()
