"""Django as WSGI: what serves every page and API call (raxx/asgi.py routes to it)."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "raxx.settings")
application = get_wsgi_application()
