"""Every path of the product, in one place."""

from django.contrib import admin
from django.urls import include, path
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

urlpatterns = [
    path("", include("raxx.kernel.pages")),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    path("api/mbt/", include("mbt.api.urls")),
    path("admin/", include("console.pages")),
    path("admin/", admin.site.urls),
]

handler400 = "raxx.kernel.api.errors.bad_request"
handler404 = "raxx.kernel.api.errors.not_found"
handler500 = "raxx.kernel.api.errors.server_error"
