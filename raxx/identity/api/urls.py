"""Below /api/."""

from django.urls import path

from raxx.identity.api import data_requests, keys, notices, passkeys, sessions

urlpatterns = [
    path("sessions", sessions.SessionsApi.as_view()),
    path("sessions/options", sessions.SignInOptionsApi.as_view()),
    path("sessions/sign-up", sessions.SignUpApi.as_view()),
    path("sessions/sign-up/options", sessions.SignUpOptionsApi.as_view()),
    path("sessions/recovery", sessions.RecoveryApi.as_view()),
    path("sessions/current", sessions.CurrentSessionApi.as_view()),
    path("sessions/refresh", sessions.RefreshApi.as_view()),
    path("sessions/step-up", sessions.StepUpApi.as_view()),
    path("sessions/step-up/options", sessions.StepUpOptionsApi.as_view()),
    path("sessions/<uuid:session_id>", sessions.SessionApi.as_view()),
    path("passkeys", passkeys.PasskeysApi.as_view()),
    path("passkeys/options", passkeys.PasskeyOptionsApi.as_view()),
    path("passkeys/<uuid:passkey_id>", passkeys.PasskeyApi.as_view()),
    path("recovery-codes", passkeys.RecoveryCodesApi.as_view()),
    path("data-requests", data_requests.DataRequestsApi.as_view()),
    path("data-requests/<uuid:request_id>", data_requests.DataRequestApi.as_view()),
    path("data-requests/<uuid:request_id>/hurry", data_requests.HurryApi.as_view()),
    path("data-requests/<uuid:request_id>/lift", data_requests.LiftApi.as_view()),
    path("data-requests/<uuid:request_id>/copy", data_requests.CopyApi.as_view()),
    path("notices", notices.NoticesApi.as_view()),
    path("keys", keys.KeysApi.as_view()),
    path("keys/<str:key_id>", keys.KeyApi.as_view()),
]
