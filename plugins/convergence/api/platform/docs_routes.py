"""The API's own documentation, unless `ENABLE_API_DOCS` is false.

Its pages load nothing from elsewhere: their scripts and styles come with the fastapi-offline
package and are served from here, and the pages' policy allows no other source.
"""

from __future__ import annotations

import secrets
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from fastapi import Request
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse

from convergence.api.http.context import context_of
from convergence.api.http.document import TITLE
from convergence.api.http.responses import url
from convergence.api.http.routing import guarded_router
from convergence.api.http.scopes import Scope, needs
from convergence.errors import NotFoundError

router = guarded_router(tag="docs")

Asset = Literal["swagger-ui-bundle.js", "swagger-ui.css", "redoc.standalone.js"]

# Both pages style themselves from script, and ReDoc searches in a worker that it makes itself.
_CSP = (
    "default-src 'none'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'; script-src 'self' 'nonce-{nonce}'; worker-src blob:; "
    "style-src 'self' 'unsafe-inline'; font-src 'self'; img-src 'self' data:"
)
_NO_ICON = "data:,"


@router.get("/openapi.json", include_in_schema=False)
@needs(Scope.PUBLIC)
async def openapi(request: Request) -> JSONResponse:
    """The OpenAPI document."""
    return JSONResponse(request.app.openapi())


@router.get("/docs", include_in_schema=False)
@needs(Scope.PUBLIC)
async def swagger(request: Request) -> HTMLResponse:
    """Swagger UI."""
    page = get_swagger_ui_html(
        openapi_url=url(request, "/openapi.json"),
        title=TITLE,
        swagger_js_url=_address(request, "swagger-ui-bundle.js"),
        swagger_css_url=_address(request, "swagger-ui.css"),
        swagger_favicon_url=_NO_ICON,
    )
    return _locked(request, page)


@router.get("/redoc", include_in_schema=False)
@needs(Scope.PUBLIC)
async def redoc(request: Request) -> HTMLResponse:
    """ReDoc."""
    page = get_redoc_html(
        openapi_url=url(request, "/openapi.json"),
        title=TITLE,
        redoc_js_url=_address(request, "redoc.standalone.js"),
        redoc_favicon_url=_NO_ICON,
        with_google_fonts=False,
    )
    return _locked(request, page)


@router.get("/docs/assets/{asset}", include_in_schema=False)
@needs(Scope.PUBLIC)
async def asset(asset: Asset) -> FileResponse:
    """A script or style of the pages."""
    return FileResponse(_assets() / asset, headers={"Cache-Control": "public, max-age=86400"})


def _address(request: Request, name: Asset) -> str:
    return url(request, f"/docs/assets/{name}")


def _locked(request: Request, page: HTMLResponse) -> HTMLResponse:
    """The page with a policy under which only our files and its own script run."""
    nonce = secrets.token_urlsafe(16)
    context_of(request.scope).headers["Content-Security-Policy"] = _CSP.format(nonce=nonce)
    return HTMLResponse(bytes(page.body).decode().replace("<script>", f'<script nonce="{nonce}">'))


@cache
def _assets() -> Path:
    """Where the installed package keeps them; its code is not imported."""
    found = find_spec("fastapi_offline")
    if found is None or found.origin is None:
        raise NotFoundError("The documentation's pages are not installed here")
    return Path(found.origin).with_name("static")
