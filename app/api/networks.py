"""The networks on offer, their layers and their weights."""

import asyncio

from fastapi import APIRouter

import models
from app.api import schemas
from app.api.openapi import problems
from app.engine.registry import NetworkRegistry
from app.web.dependencies import EngineHere, NameHere

router = APIRouter(tags=["api"])


@router.get("/networks", response_description="The networks.", responses=problems(406))
async def list_networks(engine: EngineHere) -> schemas.NetworksDocument:
    """List the networks on offer, in the order of history."""
    return await asyncio.to_thread(_networks, engine.registry)


def _networks(registry: NetworkRegistry) -> schemas.NetworksDocument:
    summaries = tuple(summarize(registry, name) for name in registry.architectures)
    return schemas.NetworksDocument(default=registry.default(), networks=summaries)


def summarize(registry: NetworkRegistry, name: str) -> schemas.NetworkSummary:
    """Document a network in short; raises UnknownNetwork."""
    info, architecture = registry.weights(name), registry.architectures[name]
    return schemas.NetworkSummary(
        name=name,
        title=architecture.title,
        paper=architecture.paper,
        weights=schemas.describe_weights(registry.provenance(name), info.state),
        offer=schemas.describe_offer(info),
    )


@router.get(
    "/networks/{network}",
    response_description="The network.",
    responses=problems(404, 422, 503),
)
async def show_network(network: NameHere, engine: EngineHere) -> schemas.NetworkDocument:
    """Show a network's layers in order, and its weights with their provenance."""
    summary = await asyncio.to_thread(summarize, engine.registry, network)
    if summary.weights.state == "ready":
        loaded = await engine.network(network)
        layers = loaded.describe()
    else:
        layers = await asyncio.to_thread(models.describe_layers, network)
    return schemas.NetworkDocument(
        **dict(summary),
        layers=tuple(schemas.describe_layer(layer) for layer in layers),
    )
