"""The networks on offer, their layers and their weights."""

import asyncio

from fastapi import APIRouter, Request, Response

import models
from app.api.openapi import problems
from app.engine.registry import NetworkRegistry
from app.web import documents
from app.web.dependencies import EngineHere, NameHere, admit

router = APIRouter(tags=["api"])


@router.get("/networks", response_description="The networks.", responses=problems(406))
async def list_networks(response: Response, engine: EngineHere) -> documents.NetworksDocument:
    """List the networks on offer, in the order of history; a browser gets them as a page."""
    response.headers["Vary"] = "Accept"
    return await asyncio.to_thread(_networks, engine.registry)


def _networks(registry: NetworkRegistry) -> documents.NetworksDocument:
    summaries = tuple(summarize(registry, name) for name in registry.architectures)
    return documents.NetworksDocument(default=registry.default(), networks=summaries)


def summarize(registry: NetworkRegistry, name: str) -> documents.NetworkSummary:
    """Document a network in short; raises UnknownNetwork."""
    info, architecture = registry.weights(name), registry.architectures[name]
    return documents.NetworkSummary(
        name=name,
        title=architecture.title,
        paper=architecture.paper,
        weights=documents.describe_weights(registry.provenance(name), info.state),
        offer=documents.describe_offer(info),
    )


@router.get(
    "/networks/{network}",
    response_description="The network.",
    responses=problems(404, 422, 503),
)
async def show_network(
    request: Request, network: NameHere, engine: EngineHere
) -> documents.NetworkDocument:
    """Show a network's layers in order, and its weights with their provenance."""
    summary = await asyncio.to_thread(summarize, engine.registry, network)
    if summary.weights.state == "ready":
        loaded = await admit(request, engine, lambda: engine.network(network))
        layers = loaded.describe()
    else:
        layers = await asyncio.to_thread(models.describe_layers, network)
    here = await asyncio.to_thread(engine.registry.weights_here, network)
    return documents.NetworkDocument(
        **dict(summary),
        layers=tuple(documents.describe_layer(layer) for layer in layers),
        sources=tuple(documents.describe_weights(each) for each in here),
    )
