"""The API's own documentation, unless `ENABLE_API_DOCS` is false."""

from __future__ import annotations

from fastapi import Request
from fastapi.openapi.docs import get_redoc_html, get_swagger_ui_html
from fastapi.responses import HTMLResponse, JSONResponse

from convergence.api.answers import url
from convergence.api.context import context_of
from convergence.api.document import TITLE
from convergence.api.routing import guarded_router
from convergence.api.scopes import Scope, needs

router = guarded_router(tag="docs")

# The pages load their scripts from the CDN that FastAPI names; nothing else may load anything.
_CSP = (
    "default-src 'none'; connect-src 'self'; frame-ancestors 'none'; "
    "script-src 'unsafe-inline' https://cdn.jsdelivr.net; worker-src blob:; "
    "style-src 'unsafe-inline' https://cdn.jsdelivr.net https://fonts.googleapis.com; "
    "font-src https://fonts.gstatic.com; img-src data: https:"
)


@router.get("/openapi.json", include_in_schema=False)
@needs(Scope.PUBLIC)
async def openapi(request: Request) -> JSONResponse:
    """The OpenAPI document."""
    return JSONResponse(request.app.openapi())


@router.get("/docs", include_in_schema=False)
@needs(Scope.PUBLIC)
async def swagger(request: Request) -> HTMLResponse:
    """Swagger UI."""
    context_of(request.scope).headers["Content-Security-Policy"] = _CSP
    return get_swagger_ui_html(openapi_url=url(request, "/openapi.json"), title=TITLE)


@router.get("/redoc", include_in_schema=False)
@needs(Scope.PUBLIC)
async def redoc(request: Request) -> HTMLResponse:
    """ReDoc."""
    context_of(request.scope).headers["Content-Security-Policy"] = _CSP
    return get_redoc_html(openapi_url=url(request, "/openapi.json"), title=TITLE)
