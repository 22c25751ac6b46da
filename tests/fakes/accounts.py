"""Whom the fakes let in: service account keys, users and the access tokens issued to them."""

from __future__ import annotations

import base64
import binascii
import json
import secrets
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cache

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

CLOUD_PLATFORM = "https://www.googleapis.com/auth/cloud-platform"
STORAGE = "https://www.googleapis.com/auth/devstorage."
TOKEN_LIFETIME = 3600
"""Seconds: the longest life of a JWT that Google accepts, and of the tokens issued here."""
_CLOCK_SKEW = 300

ACCESS_TOKEN_EXPIRED = "ACCESS_TOKEN_EXPIRED"
ACCESS_TOKEN_TYPE_UNSUPPORTED = "ACCESS_TOKEN_TYPE_UNSUPPORTED"


class Rejected(Exception):
    """Credentials that are not accepted; `reason` is google.rpc.ErrorInfo's word for it."""

    def __init__(self, words: str, reason: str = ACCESS_TOKEN_TYPE_UNSUPPORTED) -> None:
        super().__init__(words)
        self.reason = reason


@dataclass
class _Key:
    email: str
    public_key: rsa.RSAPublicKey
    expired: bool = False


@dataclass(frozen=True)
class _Token:
    email: str
    key_id: str | None
    """The service account key that the token came from; None for a user's."""
    expires: float


class Accounts:
    """The register of keys, users and tokens. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: dict[str, _Key] = {}
        self._users: dict[str, tuple[Mapping[str, str], str]] = {}
        self._tokens: dict[str, _Token] = {}

    def trust(self, key: Mapping[str, str]) -> None:
        """Accept what this service account key (`certs.service_account_key`) signs."""
        public_key = _public_key(key["private_key"])
        with self._lock:
            self._keys[key["private_key_id"]] = _Key(key["client_email"], public_key)

    def revoke(self, key: Mapping[str, str]) -> None:
        """Forget the key, and what was issued for it: as a key deleted in the console."""
        with self._lock:
            del self._keys[key["private_key_id"]]

    def expire(self, key: Mapping[str, str]) -> None:
        """Answer every further call with this key as one with an expired token."""
        with self._lock:
            self._keys[key["private_key_id"]].expired = True

    def user(self, email: str) -> dict[str, str]:
        """Return a user's credentials, as `gcloud auth application-default login` writes them."""
        credentials = {
            "type": "authorized_user",
            "client_id": f"{secrets.token_hex(8)}.apps.googleusercontent.com",
            "client_secret": secrets.token_urlsafe(16),
            "refresh_token": secrets.token_urlsafe(32),
            "universe_domain": "googleapis.com",
        }
        with self._lock:
            self._users[credentials["refresh_token"]] = (credentials, email)
        return credentials

    def exchange_assertion(self, assertion: str, *, token_uri: str) -> str:
        """Return an access token for a signed assertion made for `token_uri`; raise Rejected."""
        key_id, claims = self._verified(assertion)
        if claims.get("aud") != token_uri:
            raise Rejected(f"Invalid JWT: the audience must be {token_uri}.")
        scopes = _scopes(claims)
        # Cloud Storage's client asks for the scopes of Cloud Storage alone.
        if CLOUD_PLATFORM not in scopes and not (scopes and all(scope.startswith(STORAGE) for scope in scopes)):
            raise Rejected("Invalid OAuth scope or ID token audience provided.")
        return self._issue(str(claims["iss"]), key_id)

    def exchange_refresh_token(self, form: Mapping[str, str]) -> str:
        """Return an access token for the fields of a refresh_token grant; raise Rejected."""
        with self._lock:
            known, email = self._users.get(form.get("refresh_token", ""), ({}, ""))
        if not known or any(form.get(k) != known[k] for k in ("client_id", "client_secret")):
            raise Rejected("Token has been expired or revoked.")
        return self._issue(email, None)

    def authenticate(self, bearer: str, *, audiences: Collection[str]) -> str:
        """Return the e-mail of the caller; raise Rejected.

        `bearer` is an access token issued here, or a JWT that a service account signed for itself
        (https://google.aip.dev/auth/4111), for the scope cloud-platform or one of `audiences`.
        """
        if bearer.count(".") == 2:
            _, claims = self._verified(bearer)
            if claims.get("sub") != claims["iss"]:
                raise Rejected("a self-signed JWT has its issuer as subject")
            if CLOUD_PLATFORM not in _scopes(claims) and claims.get("aud") not in audiences:
                raise Rejected("the JWT has neither the scope nor the audience of this service")
            return str(claims["iss"])
        with self._lock:
            token = self._tokens.get(bearer)
            key = self._keys.get(token.key_id) if token and token.key_id else None
        if token is None or (token.key_id is not None and key is None):
            raise Rejected("unknown access token")
        if token.expires <= time.time() or (key is not None and key.expired):
            raise Rejected("expired access token", ACCESS_TOKEN_EXPIRED)
        return token.email

    def _issue(self, email: str, key_id: str | None) -> str:
        token = secrets.token_urlsafe(48)
        with self._lock:
            self._tokens[token] = _Token(email, key_id, time.time() + TOKEN_LIFETIME)
        return token

    def _verified(self, jwt: str) -> tuple[str, dict[str, object]]:
        """Return (key id, claims) of a JWT whose signature, issuer and times are right."""
        signed, _, signature = jwt.rpartition(".")
        head, _, body = signed.partition(".")
        header, claims = _decoded_object(head), _decoded_object(body)
        key_id = str(header.get("kid"))
        with self._lock:
            key = self._keys.get(key_id)
        if key is None or header.get("alg") != "RS256":
            raise Rejected("Invalid JWT Signature.")
        try:
            key.public_key.verify(_decoded(signature), signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            raise Rejected("Invalid JWT Signature.") from None
        if claims.get("iss") != key.email:
            raise Rejected("Invalid grant: account not found")
        issued, expires = claims.get("iat"), claims.get("exp")
        if not (isinstance(issued, int) and isinstance(expires, int)):
            raise Rejected("Invalid JWT: it needs iat and exp in seconds.")
        now = time.time()
        if issued > now + _CLOCK_SKEW or expires - issued > TOKEN_LIFETIME:
            raise Rejected("Invalid JWT: Token must be a short-lived token (60 minutes).")
        if expires <= now or key.expired:
            raise Rejected("Invalid JWT: the token has expired.", ACCESS_TOKEN_EXPIRED)
        return key_id, claims


@cache  # reading one takes 40 ms, and most tests trust the session's
def _public_key(private_key: str) -> rsa.RSAPublicKey:
    private = serialization.load_pem_private_key(private_key.encode(), password=None)
    assert isinstance(private, rsa.RSAPrivateKey), "Google's keys are RSA"
    return private.public_key()


def _scopes(claims: Mapping[str, object]) -> list[str]:
    return str(claims.get("scope", "")).split()


def _decoded(part: str) -> bytes:
    try:
        return base64.b64decode(part + "=" * (-len(part) % 4), altchars="-_", validate=True)
    except (binascii.Error, ValueError):
        raise Rejected("Invalid JWT: not base64url.") from None


def _decoded_object(part: str) -> dict[str, object]:
    try:
        value = json.loads(_decoded(part))
    except ValueError:
        raise Rejected("Invalid JWT: not JSON.") from None
    if not isinstance(value, dict):
        raise Rejected("Invalid JWT: not a JSON object.")
    return value
