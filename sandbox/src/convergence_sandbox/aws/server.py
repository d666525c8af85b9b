"""moto on a port of its own, started by the first request, since its import is slow.

    GET /_sandbox/exports/{seed}    where a customer's exports are, and credentials that read them

A customer's bucket (`exports-{seed}`) is there from the first request on that names it, as of the
day; what else is put into S3 lasts as long as the process.
"""

from __future__ import annotations

import io
import json
import logging
import re
import select
import socket
import threading
from collections.abc import Callable, Iterable
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote

from convergence_sandbox.aws import exports
from convergence_sandbox.aws.keys import (
    ACCOUNT,
    BUCKET_PREFIX,
    PLATFORM,
    AwsError,
    Caller,
    Keys,
    Request,
    assumed_seed,
    bucket,
    credential,
    role,
    secret_of,
)
from convergence_sandbox.providers.clock import Clock

if TYPE_CHECKING:
    from werkzeug.serving import BaseWSGIServer

REGION: Final = "us-east-1"
Environ = dict[str, Any]
StartResponse = Callable[..., Any]
WsgiApp = Callable[[Environ, StartResponse], Iterable[bytes]]
_POLL_SECONDS: Final = 0.5
_OPENED: Final = ("SecretAccessKey", "SessionToken", "Expiration", "AccessKeyId")


class AwsServer:
    """Serves a listening socket from a thread, once a client connects."""

    def __init__(self, line: socket.socket, clock: Clock) -> None:
        self._line = line
        self._clock = clock
        self._stopping = threading.Event()
        self._server: BaseWSGIServer | None = None
        self._thread = threading.Thread(target=self._run, name="aws", daemon=True)

    def start(self) -> None:
        """Wait for the first request, in the background."""
        self._thread.start()

    def stop(self) -> None:
        """End within a second or so."""
        self._stopping.set()
        if self._server is not None:
            self._server.shutdown()
        self._thread.join(5)

    def _run(self) -> None:
        while not select.select([self._line], [], [], _POLL_SECONDS)[0]:
            if self._stopping.is_set():
                return
        from werkzeug.serving import make_server

        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        host, port = self._line.getsockname()[:2]
        app = AwsApp(self._clock)
        self._server = make_server(host, port, app, threaded=True, fd=self._line.fileno())
        self._server.serve_forever(poll_interval=_POLL_SECONDS)


class AwsApp:
    """moto's app, behind the keys."""

    def __init__(self, clock: Clock) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        self._moto: WsgiApp = DomainDispatcherApplication(create_backend_app)
        self._keys = Keys()
        self._clock = clock
        self._lock = threading.Lock()
        self._filled: dict[str, date] = {}

    def __call__(self, environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
        """Return, if the caller is known and its own."""
        request = _request(environ)
        if request.path.startswith("/_sandbox/exports/"):
            return _json(_described(request.path.rpartition("/")[2]), start_response)
        try:
            caller = self._keys.check(request)
            if caller.service == "sts":
                return self._sts(caller, request, environ, start_response)
            self._enter(caller, unquote(request.path).lstrip("/").partition("/")[0])
        except AwsError as error:
            return _rejection(request, error.code, start_response)
        return self._moto(environ, start_response)

    def _enter(self, caller: Caller, name: str) -> None:
        if not caller.may_use(name):
            raise AwsError("AccessDenied")
        if name.startswith(BUCKET_PREFIX):
            with self._lock:
                self._fill(name)

    def _fill(self, name: str) -> None:
        """Put a customer's exports of the day into its bucket, once a day."""
        from moto.s3.models import s3_backends

        today = self._clock.now().date()
        if self._filled.get(name) == today:
            return
        backend = s3_backends[ACCOUNT]["aws"]
        if name not in self._filled:
            backend.create_bucket(name, REGION)
        seed = name.removeprefix(BUCKET_PREFIX)
        for key, content in exports.objects(name, seed, as_of=today):
            backend.put_object(name, key, content)
        self._filled[name] = today

    def _sts(
        self, caller: Caller, request: Request, environ: Environ, start_response: StartResponse
    ) -> Iterable[bytes]:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        if form.get("Action") != "AssumeRole":
            return self._moto(environ, start_response)
        seed = assumed_seed(caller, form.get("RoleArn", ""), form.get("ExternalId", ""))
        response = b"".join(self._moto(environ, start_response))
        secret, token, until, key = (_element(response, name) for name in _OPENED)
        self._keys.open_session(
            key, secret=secret, token=token, seed=seed, until=datetime.fromisoformat(until)
        )
        return [response]


def _element(xml: bytes, name: str) -> str:
    found = re.search(rf"<{name}>([^<]+)</{name}>", xml.decode())
    if found is None:
        raise ValueError(f"moto's answer has no {name}")
    return found[1]


def _described(seed: str) -> dict[str, Any]:
    return {
        "params": {
            kind: {
                "bucket": bucket(seed),
                "prefix": exports.PREFIX,
                "export_name": kind,
                "region": REGION,
                "kind": table,
            }
            for kind, table in exports.EXPORTS.items()
        },
        "access_key": credential(seed),
        "role": role(seed),
        "platform_key": {"access_key_id": PLATFORM, "secret_access_key": secret_of(PLATFORM)},
    }


def _request(environ: Environ) -> Request:
    headers = {
        name.removeprefix("HTTP_").replace("_", "-").lower(): value
        for name, value in environ.items()
        if name.startswith("HTTP_") or name in {"CONTENT_TYPE", "CONTENT_LENGTH"}
    }
    path, _, query = str(environ.get("RAW_URI") or environ["PATH_INFO"]).partition("?")
    body = b""
    if "x-amz-content-sha256" not in headers and "/sts/aws4" in headers.get("authorization", ""):
        body = environ["wsgi.input"].read(int(headers.get("content-length") or 0))
        environ["wsgi.input"] = io.BytesIO(body)
    return Request(environ["REQUEST_METHOD"], path, query, headers, body)


def _json(payload: object, start_response: StartResponse) -> list[bytes]:
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(payload).encode()]


def _rejection(request: Request, code: str, start_response: StartResponse) -> list[bytes]:
    start_response("403 Forbidden", [("Content-Type", "text/xml")])
    error = f"<Code>{code}</Code><Message>refused by the sandbox</Message>"
    if "/sts/aws4" in request.headers.get("authorization", ""):
        payload = f"<ErrorResponse><Error><Type>Sender</Type>{error}</Error></ErrorResponse>"
    else:
        payload = f"<Error>{error}</Error>"
    return [payload.encode()]
