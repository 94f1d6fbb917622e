"""What lists of millions of facts share."""

from unfold.paginator import InfinitePaginator

from billing_site.display.admin import ReadOnlyAdmin


class FactsAdmin(ReadOnlyAdmin):
    """Lists of millions: nothing is counted, pages go on as long as there are rows."""

    paginator = InfinitePaginator
    show_full_result_count = False
    list_per_page = 50
    actions = None
