from django.urls import path

from mbt.api import account, exercise, orders, structures

urlpatterns = [
    path("account", account.AccountApi.as_view()),
    path("account/margin", account.MarginApi.as_view()),
    path("account/settings", account.AccountSettingsApi.as_view()),
    path("positions", account.PositionsApi.as_view()),
    path("positions/<str:symbol>", account.PositionApi.as_view()),
    path("positions/<str:symbol>/exercise", exercise.ExerciseApi.as_view()),
    path("positions/<str:symbol>/do-not-exercise", exercise.DoNotExerciseApi.as_view()),
    path("exercise-instructions", exercise.InstructionsApi.as_view()),
    path("structures", structures.StructuresApi.as_view()),
    path("structures/close", structures.StructureCloseApi.as_view()),
    path("structures/roll", structures.StructureRollApi.as_view()),
    path("orders", orders.OrdersApi.as_view()),
    path("orders/preview", orders.OrderPreviewApi.as_view()),
    path("orders/<uuid:order_id>", orders.OrderApi.as_view()),
    path("orders/<uuid:order_id>/explain", orders.OrderExplanationApi.as_view()),
    path("activities", account.ActivitiesApi.as_view()),
    path("activities/<uuid:activity_id>", account.ActivityApi.as_view()),
]
