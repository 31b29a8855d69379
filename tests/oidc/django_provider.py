"""A real OpenID provider, django-oauth-toolkit, as a program: `python -m tests.oidc.django_provider FOLDER PORT`.

The folder holds its database, and key.pem, the RSA key that it signs with: another key takes a restart. It knows one
user and one confidential client (`tests.oidc.provider`), asks for PKCE, and gives out id tokens signed by RS256, and
access tokens that are opaque.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from socketserver import ThreadingMixIn
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from tests.oidc.provider import CALLBACK, CLIENT, CLIENT_SECRET, DATABASE, PASSWORD, ROLE, TENANT, USER

LOGIN = '<form method="post">{% csrf_token %}{{ form }}</form>'


def configure(folder: Path, port: int) -> None:
    """Set Django up."""
    from django.conf import settings

    # RFC 6749 section 3.1.2.1 asks for TLS, which loopback does without.
    os.environ["OAUTHLIB_INSECURE_TRANSPORT"] = "1"
    loaders = [("django.template.loaders.locmem.Loader", {"registration/login.html": LOGIN})]
    settings.configure(
        SECRET_KEY="of the tests",
        ALLOWED_HOSTS=["127.0.0.1"],
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django.contrib.sessions",
            "oauth2_provider",
        ],
        MIDDLEWARE=[
            "django.contrib.sessions.middleware.SessionMiddleware",
            "django.middleware.csrf.CsrfViewMiddleware",
            "django.contrib.auth.middleware.AuthenticationMiddleware",
        ],
        TEMPLATES=[
            {"BACKEND": "django.template.backends.django.DjangoTemplates", "OPTIONS": {"loaders": loaders}},
        ],
        # The tables as they are today, without the way there.
        MIGRATION_MODULES=dict.fromkeys(("auth", "contenttypes", "sessions", "oauth2_provider")),
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": folder / DATABASE}},
        # The tests log in with one password, and its hash need not be slow.
        PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        LOGIN_URL="/login/",
        USE_TZ=True,
        OAUTH2_PROVIDER={
            "OIDC_ENABLED": True,
            "OIDC_ISS_ENDPOINT": f"http://127.0.0.1:{port}/o",
            "OIDC_RSA_PRIVATE_KEY": (folder / "key.pem").read_text(),
            "OAUTH2_VALIDATOR_CLASS": f"{__name__}.claiming_validator",
            "PKCE_REQUIRED": True,
            "SCOPES": {"openid": "who you are", "read": "read", "introspection": "ask about tokens"},
        },
    )
    import django

    django.setup()


def claiming_validator(*args: Any, **kwargs: Any) -> Any:
    """Make what writes tenant and roles into id tokens."""
    from oauth2_provider.oauth2_validators import OAuth2Validator

    class Claiming(OAuth2Validator):  # type: ignore[misc]
        oidc_claim_scope = None

        def get_additional_claims(self) -> dict[str, Any]:
            return {
                "tenant": lambda request: request.user.last_name,
                "roles": lambda request: [group.name for group in request.user.groups.all()],
            }

    return Claiming(*args, **kwargs)


def populate() -> None:
    """Make the tables, the user and the client."""
    from django.contrib.auth.models import Group, User
    from django.core.management import call_command

    call_command("migrate", run_syncdb=True, verbosity=0)
    from oauth2_provider.models import Application

    ann = User.objects.create_user(USER, password=PASSWORD, last_name=TENANT)
    ann.groups.add(Group.objects.create(name=ROLE))
    Application.objects.create(
        name="app",
        client_id=CLIENT,
        client_secret=CLIENT_SECRET,
        client_type=Application.CLIENT_CONFIDENTIAL,
        authorization_grant_type=Application.GRANT_AUTHORIZATION_CODE,
        redirect_uris=CALLBACK,
        algorithm=Application.RS256_ALGORITHM,
        skip_authorization=True,
    )


class Server(ThreadingMixIn, WSGIServer):
    """Answers requests at once."""

    daemon_threads = True


class Handler(WSGIRequestHandler):
    """Says nothing."""

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


def main() -> None:
    """Serve until killed."""
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    fresh = not (folder / DATABASE).exists()
    configure(folder, port)
    if fresh:
        populate()
    from django.contrib.auth.views import LoginView
    from django.core.wsgi import get_wsgi_application
    from django.urls import include, path

    global urlpatterns
    urlpatterns = [
        path("o/", include("oauth2_provider.urls", namespace="oauth2_provider")),
        path("login/", LoginView.as_view()),
    ]
    make_server("127.0.0.1", port, get_wsgi_application(), Server, Handler).serve_forever()


urlpatterns: list[Any] = []

if __name__ == "__main__":
    # Django imports this module by its name, and must find this one.
    sys.modules["tests.oidc.django_provider"] = sys.modules["__main__"]
    __name__ = "tests.oidc.django_provider"
    main()
