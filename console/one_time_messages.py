from django.contrib.messages.storage.cookie import CookieStorage


class HostCookieStorage(CookieStorage):
    """What the operator site says once after something was done, in a cookie of this very host."""

    cookie_name = "__Host-raxx-m"
