from django.apps import AppConfig


class KernelConfig(AppConfig):
    name = "raxx.kernel"
    label = "kernel"
    verbose_name = "Kernel"
