"""The paper's figures and tables, and where each can be made here."""

from collections.abc import Mapping
from dataclasses import dataclass

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from starlette.routing import Match

import models
from app.engine.experiments import EXPERIMENTS
from app.engine.folders import FOLDER_EXPERIMENTS
from app.web.templates import show

router = APIRouter(include_in_schema=False, default_response_class=HTMLResponse)


@dataclass(frozen=True)
class Paper:
    """The page: which experiments this server has a page for, and the networks' errors."""

    experiments: frozenset[str]
    has_examples: bool
    errors: Mapping[str, models.ErrorRate]


@router.get("/paper")
def show_paper(request: Request) -> Response:
    """Show where each figure and table can be made."""
    errors = {name: models.error_rates(name)[0] for name in ("alexnet2012", "zfnet", "zfnet_b")}
    experiments = frozenset({*EXPERIMENTS, *FOLDER_EXPERIMENTS})
    page = Paper(experiments, _leads(request, "/examples/zfnet/conv5"), errors)
    return show(request, "paper/paper.html", page)


def _leads(request: Request, path: str) -> bool:
    """Tell whether there is a page at a path."""
    scope = {"type": "http", "method": "GET", "path": path, "root_path": "", "headers": []}
    routes = request.app.routes
    return any(route.matches(scope)[0] is Match.FULL for route in routes)
