"""Every path of the product, in one place."""

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from raxx.kernel.api.security_headers import allowing

# The page styles its parts one by one, and brings small pictures along.
_DOCS = allowing(
    SpectacularSwaggerSplitView.as_view(url_name="schema"),
    style_src="'self' 'unsafe-inline'",
    img_src="'self' data:",
)

# Tables of libraries that nothing records: what is scheduled is said in settings, and who may do what by the user.
for model in [m for m in admin.site._registry if m._meta.app_label in ("auth", "django_celery_beat")]:
    admin.site.unregister(model)

urlpatterns = [
    path("", include("raxx.kernel.pages")),
    path("", include("console.status.pages")),
    path("", include("raxx.identity.pages")),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", _DOCS, name="docs"),
    path("api/", include("raxx.identity.api.urls")),
    path("api/mbt/", include("mbt.api.urls")),
    path("admin/", include("console.pages")),
    path("admin/", admin.site.urls),
]

handler400 = "raxx.kernel.api.errors.bad_request"
handler404 = "raxx.kernel.api.errors.not_found"
handler500 = "raxx.kernel.api.errors.server_error"
