"""Routes of the API's documentation, unless `ENABLE_API_DOCS` is false.

Its pages load nothing from other servers: their scripts and styles come from the fastapi-offline
package, and the pages' policy allows no other source.
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
from convergence.api.http.dependencies import UrlBuilderDep
from convergence.api.http.document import TITLE
from convergence.api.http.routing import guarded_router
from convergence.api.http.scopes import Scope, require_scope
from convergence.errors import NotFoundError

router = guarded_router(tag="docs")

Asset = Literal["swagger-ui-bundle.js", "swagger-ui.css", "redoc.standalone.js"]

# Scripts of both pages set inline styles, and ReDoc searches in a worker that it creates.
_CSP = (
    "default-src 'none'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'; script-src 'self' 'nonce-{nonce}'; worker-src blob:; "
    "style-src 'self' 'unsafe-inline'; font-src 'self'; img-src 'self' data:"
)
_NO_ICON = "data:,"
_ASSETS_PATH = "/docs/assets"


@router.get("/openapi.json", include_in_schema=False)
@require_scope(Scope.PUBLIC)
async def get_openapi_document(request: Request) -> JSONResponse:
    """Return the OpenAPI document."""
    return JSONResponse(request.app.openapi())


@router.get("/docs", include_in_schema=False)
@require_scope(Scope.PUBLIC)
async def get_swagger_page(request: Request, build_url: UrlBuilderDep) -> HTMLResponse:
    """Return the page of Swagger UI."""
    page = get_swagger_ui_html(
        openapi_url=build_url("/openapi.json"),
        title=TITLE,
        swagger_js_url=build_url(f"{_ASSETS_PATH}/swagger-ui-bundle.js"),
        swagger_css_url=build_url(f"{_ASSETS_PATH}/swagger-ui.css"),
        swagger_favicon_url=_NO_ICON,
    )
    return _restrict_page(request, page)


@router.get("/redoc", include_in_schema=False)
@require_scope(Scope.PUBLIC)
async def get_redoc_page(request: Request, build_url: UrlBuilderDep) -> HTMLResponse:
    """Return the page of ReDoc."""
    page = get_redoc_html(
        openapi_url=build_url("/openapi.json"),
        title=TITLE,
        redoc_js_url=build_url(f"{_ASSETS_PATH}/redoc.standalone.js"),
        redoc_favicon_url=_NO_ICON,
        with_google_fonts=False,
    )
    return _restrict_page(request, page)


@router.get("/docs/assets/{asset}", include_in_schema=False)
@require_scope(Scope.PUBLIC)
async def get_asset(asset: Asset) -> FileResponse:
    """Return a script or style of the pages."""
    return FileResponse(_find_assets() / asset, headers={"Cache-Control": "public, max-age=86400"})


def _restrict_page(request: Request, page: HTMLResponse) -> HTMLResponse:
    """Return the page with a policy that allows only our files and the page's inline script."""
    nonce = secrets.token_urlsafe(16)
    context_of(request.scope).headers["Content-Security-Policy"] = _CSP.format(nonce=nonce)
    return HTMLResponse(bytes(page.body).decode().replace("<script>", f'<script nonce="{nonce}">'))


@cache
def _find_assets() -> Path:
    """Return the folder of the installed package, without importing its code."""
    found = find_spec("fastapi_offline")
    if found is None or found.origin is None:
        raise NotFoundError("The pages of the documentation are not installed")
    return Path(found.origin).with_name("static")
