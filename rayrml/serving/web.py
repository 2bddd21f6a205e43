"""The HTTP side of a server: who may ask, what is accepted, and the answers. Neither Ray nor torch is needed."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import hmac
import json
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from http import HTTPStatus
from typing import Any

from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, Response
from starlette.types import Receive, Scope, Send

from rayrml.errors import RayrmlError, printable
from rayrml.serving.limits import Limits, Refusal, bad_request, busy, too_large
from rayrml.serving.openapi import describe_api, docs_page
from rayrml.serving.page import PAGE, POLICY
from rayrml.serving.uploads import Upload, read_uploads

_SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
_LOG = logging.getLogger(__name__)
_TRUE = ("1", "true", "yes", "on")

Predict = Callable[[Sequence[Upload], bool], Awaitable[list[dict[str, Any]]]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Access:
    """Who may ask a server.

    Attributes:
        token: that requests must have, None for everybody.
        hosts: names by which browsers may address the server, () for any.
    """

    token: str | None = None
    hosts: Collection[str] = ()


class Web:
    """The application, in the form of ASGI.

    Args:
        predict: answers uploads; its second argument is whether the answers have the outputs' numbers.
        describe: what is known of the network.
        limits: what is accepted.
        access: who may ask.
    """

    def __init__(
        self,
        *,
        predict: Predict,
        describe: Callable[[], Awaitable[dict[str, Any]]],
        limits: Limits,
        access: Access,
    ):
        self._predict = predict
        self._describe = describe
        self._limits = limits
        self._access = access
        self._waiting = 0
        self._waiting_bytes = 0
        self._routes: dict[str, tuple[str, Callable[[Request], Awaitable[Response]]]] = {
            "/": ("GET", self._page),
            "/healthz": ("GET", self._health),
            "/metadata": ("GET", self._metadata),
            "/docs": ("GET", self._docs),
            "/openapi.json": ("GET", self._api),
            "/predict": ("POST", self._answer),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request of ASGI."""
        response = await self.respond(Request(scope, receive))
        await response(scope, receive, send)

    async def respond(self, request: Request) -> Response:
        """The response to a request, whatever it is."""
        path = request.scope["path"].removeprefix(request.scope.get("root_path", "").rstrip("/")) or "/"
        method, answer = self._routes.get(path, ("", None))
        asked = f"{request.method} {printable(path)}"
        try:
            if answer is None:
                raise Refusal(HTTPStatus.NOT_FOUND, f"{asked}: there is no such page. `/docs` says what there is")
            if request.method != method and (request.method, method) != ("HEAD", "GET"):
                raise Refusal(HTTPStatus.METHOD_NOT_ALLOWED, f"{asked}: expected {method}. `/docs` says more")
            return await answer(request)
        except Refusal as refusal:
            return _refuse(refusal, method)
        except Exception as error:
            _LOG.exception("%s failed", asked)
            return _fail(error)

    async def _page(self, request: Request) -> Response:
        self._check_host(request)
        return HTMLResponse(PAGE, headers={**_SECURITY, "Content-Security-Policy": POLICY})

    async def _docs(self, request: Request) -> Response:
        self._check_host(request)
        return HTMLResponse(docs_page(self._limits), headers=_SECURITY)

    async def _api(self, request: Request) -> Response:
        self._check_host(request)
        return _json(describe_api(self._limits, secured=self._access.token is not None))

    async def _health(self, request: Request) -> Response:
        await self._describe()
        return _json({"status": "ok"})

    async def _metadata(self, request: Request) -> Response:
        self._check(request)
        limits = {"max_bytes": self._limits.max_bytes, "max_pixels": self._limits.max_pixels}
        return _json({**await self._describe(), "limits": {**limits, "max_files": self._limits.max_files}})

    async def _answer(self, request: Request) -> Response:
        self._check(request)
        if self._waiting >= self._limits.max_waiting:
            raise busy(f"{self._waiting} requests wait already. Send this one again in a moment")
        self._waiting += 1
        held = _Held(self)
        try:
            body = await self._read(request, held)
            kind = request.headers.get("content-type", "")
            uploads = await asyncio.to_thread(read_uploads, kind, body, self._limits)
            del body
            outputs = request.query_params.get("outputs", "").lower() in _TRUE
            found = await self._predict(uploads, outputs)
            as_picture = "image/png" in request.headers.get("accept", "")
            return await asyncio.to_thread(_compose, found, as_picture=as_picture)
        finally:
            self._waiting -= 1
            held.release()

    async def _read(self, request: Request, held: _Held) -> bytes:
        """The body of a request. Raises Refusal if it is too long, or comes too slowly."""
        limits, parts, size = self._limits, [], 0
        message = f"the request has more than {limits.max_bytes:,} bytes"
        declared = request.headers.get("content-length", "")
        if declared.isdecimal() and int(declared) > limits.max_bytes:
            raise too_large(message)
        stream = request.stream().__aiter__()
        while True:
            try:
                chunk = await asyncio.wait_for(anext(stream), limits.read_seconds)
            except StopAsyncIteration:
                return b"".join(parts)
            except TimeoutError:
                seconds = f"{limits.read_seconds:g} seconds"
                raise Refusal(HTTPStatus.REQUEST_TIMEOUT, f"the request is incomplete after {seconds}") from None
            except ClientDisconnect:
                raise bad_request("the request is incomplete") from None
            size += len(chunk)
            if size > limits.max_bytes:
                raise too_large(message)
            held.take(len(chunk))
            parts.append(chunk)

    def _check(self, request: Request) -> None:
        """Raise Refusal unless the request may be answered."""
        self._check_host(request)
        token = self._access.token
        if token is None:
            return
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), token.encode()):
            message = "the token is missing or wrong. Expected the header `Authorization: Bearer TOKEN`"
            raise Refusal(HTTPStatus.UNAUTHORIZED, message)

    def _check_host(self, request: Request) -> None:
        """Raise Refusal if a browser was led here under another name, as by a page that is not of this server."""
        if not self._access.hosts:
            return
        host = (request.url.hostname or "").strip("[]").lower()
        if host not in self._access.hosts:
            raise Refusal(HTTPStatus.FORBIDDEN, f"this server is not {printable(host)}. `--host` opens it to others")

    def hold(self, count: int) -> None:
        """Count bytes of bodies that wait. Raises Refusal if these are too many."""
        if count > 0 and self._waiting_bytes + count > self._limits.max_waiting_bytes:
            raise busy("requests of too many bytes wait already. Send this one again in a moment")
        self._waiting_bytes += count


class _Held:
    """The bytes of one request's body."""

    def __init__(self, web: Web):
        self._web = web
        self._count = 0

    def take(self, count: int) -> None:
        self._web.hold(count)
        self._count += count

    def release(self) -> None:
        self._web.hold(-self._count)
        self._count = 0


def _compose(found: Sequence[dict[str, Any]], *, as_picture: bool) -> Response:
    """The response with the answers; its status tells whether one of them is an error."""
    errors = [f"{result['name']}: {result['error']}" for result in found if "error" in result]
    if as_picture and len(found) == 1 and not errors and (text := found[0].get("mask") or found[0].get("image")):
        return Response(base64.b64decode(text), media_type="image/png", headers=_SECURITY)
    content: dict[str, Any] = {"predictions": list(found)}
    if errors:
        content = {"error": "; ".join(errors[:_MOST_TOLD]) + ("; ..." if errors[_MOST_TOLD:] else ""), **content}
    return _json(content, HTTPStatus.BAD_REQUEST if errors else HTTPStatus.OK)


_MOST_TOLD = 10


def _json(content: Any, status: HTTPStatus = HTTPStatus.OK, headers: dict[str, str] | None = None) -> Response:
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    sent = text.encode("utf-8", "replace")
    return Response(sent, status, {**_SECURITY, **(headers or {})}, media_type="application/json")


def _refuse(error: Refusal, method: str) -> Response:
    headers = {
        HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": "1"},
        HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": "Bearer"},
        HTTPStatus.METHOD_NOT_ALLOWED: {"Allow": method},
    }
    return _json({"error": error.message}, error.status, headers.get(error.status))


def _fail(error: Exception) -> Response:
    """Say what a replica has raised; what it is in detail is in its log."""
    known = isinstance(error, RayrmlError)
    text = printable(str(error)) if known else f"the server failed. {type(error).__name__}; its log says more"
    return _json({"error": text}, HTTPStatus.INTERNAL_SERVER_ERROR)
