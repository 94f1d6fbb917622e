"""The admin site: its index shows work, not tables."""

from unfold.sites import UnfoldAdminSite


class BackofficeSite(UnfoldAdminSite):
    """Django's admin, themed, with the work queues as its index."""
