"""What the gRPC fakes share: a server for raw methods, refusals in Google's form, credentials."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn, Protocol

import grpc
from google.rpc import code_pb2, error_details_pb2, status_pb2

from fakes.accounts import Accounts, Rejected
from fakes.sockets import LOOPBACK

_WORKERS = 64
"""Eight concurrent calls and what a test leaves hanging; threads are made as they are needed."""

_CREDENTIALS_EXPECTED = (
    "Expected OAuth 2 access token, login cookie or other valid authentication credential. "
    "See https://developers.google.com/identity/sign-in/web/devconsole-project."
)


class Call(Protocol):
    """What is used of grpc.ServicerContext."""

    def invocation_metadata(self) -> Iterable[tuple[str, str | bytes]]: ...
    def set_trailing_metadata(self, metadata: tuple[tuple[str, bytes], ...]) -> None: ...
    def abort(self, code: object, details: str) -> NoReturn: ...
    def add_callback(self, callback: Callable[[], None]) -> bool: ...
    def peer(self) -> str: ...


class Refusal(Exception):
    """An answer that is a gRPC error: the name of its status, words, and ErrorInfo's reason."""

    def __init__(self, code: str, message: str, reason: str = "") -> None:
        super().__init__(code, message, reason)  # all three: a copy is made from them
        self.code = code
        self.message = message
        self.reason = reason


@contextlib.contextmanager
def server(answer: Callable[[str, bytes, Call], bytes], certificate_and_key: tuple[bytes, bytes]) -> Iterator[int]:
    """Serve every method with `answer`, over TLS on loopback; give the port.

    `answer` takes the full method ("/package.Service/Method"), the serialized request and the call,
    and returns the serialized response or raises Refusal. Leaving ends all calls at once.
    """
    certificate, key = certificate_and_key
    with ThreadPoolExecutor(_WORKERS) as pool:
        # A port that nobody else has, and no limit of gRPC's own to the size of a request.
        options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)]
        running = grpc.server(pool, options=options)
        running.add_generic_rpc_handlers([_Handlers(answer)])
        port: int = running.add_secure_port(f"{LOOPBACK}:0", grpc.ssl_server_credentials([(key, certificate)]))
        running.start()
        try:
            yield port
        finally:
            running.stop(None).wait()


def metadata(call: Call) -> dict[str, str]:
    """Return the headers of a call, without those that are binary."""
    return {key: value for key, value in call.invocation_metadata() if isinstance(value, str)}


def authenticate(accounts: Accounts, headers: Mapping[str, str], host: str) -> None:
    """Raise Refusal unless the caller of the service at `host` is known to `accounts`."""
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    if not bearer:
        raise Refusal(
            "UNAUTHENTICATED",
            f"Request is missing required authentication credential. {_CREDENTIALS_EXPECTED}",
            "CREDENTIALS_MISSING",
        )
    try:
        if scheme != "Bearer":
            raise Rejected(f"unknown scheme {scheme!r}")
        accounts.authenticate(bearer, audiences=(f"https://{host}/",))
    except Rejected as rejected:
        raise Refusal(
            "UNAUTHENTICATED",
            f"Request had invalid authentication credentials. {_CREDENTIALS_EXPECTED}",
            rejected.reason,
        ) from None


class _Details(Protocol):
    """What is used of grpc.HandlerCallDetails."""

    @property
    def method(self) -> str: ...


class _Handlers:
    """Hands every method of every service to one function (grpc.GenericRpcHandler by shape)."""

    def __init__(self, answer: Callable[[str, bytes, Call], bytes]) -> None:
        self._answer = answer

    def service(self, details: _Details) -> object:
        def behaviour(raw: bytes, call: Call) -> bytes:
            try:
                return self._answer(details.method, raw, call)
            except Refusal as refusal:
                _abort(call, details.method, refusal)

        return grpc.unary_unary_rpc_method_handler(behaviour)


def _abort(call: Call, method: str, refusal: Refusal) -> NoReturn:
    """End the call with an error in the form that google-api-core takes apart."""
    status = status_pb2.Status(code=code_pb2.Code.Value(refusal.code), message=refusal.message)
    if refusal.reason:
        details = error_details_pb2.ErrorInfo(
            reason=refusal.reason,
            domain="googleapis.com",
            metadata={"method": method.strip("/").replace("/", ".")},
        )
        status.details.add().Pack(details)
    call.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    call.abort(grpc.StatusCode[refusal.code], refusal.message)
