"""The application on Ray Serve: an ingress that reads requests, and replicas of the network that answer them.

The ingress asks another replica if one dies, so an accepted request is answered; it needs neither torch nor a GPU.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any

from ray import serve
from ray.exceptions import RayActorError
from ray.serve import Application
from starlette.requests import Request
from starlette.responses import Response

from rayrml.cpus import count_cpus
from rayrml.errors import ConfigError, Problem
from rayrml.serving.limits import Refusal
from rayrml.serving.settings import TOKEN_VARIABLE, Settings
from rayrml.serving.uploads import Upload
from rayrml.serving.web import Access, Web

_TRIES = 4  # of a request whose replica dies; one that kills each replica is given up
_MOST_BATCHED = 64  # requests
_BATCH_SECONDS = 0.002
_HEALTH_SECONDS = 20.0
_FAILED = "the server failed"


class Network:
    """A replica of the network."""

    def __init__(self, settings: Settings):
        import torch

        from rayrml.serving.model import Model

        # As the actors of a prediction: Ray limits a process to one thread.
        torch.set_num_threads(max(count_cpus() // settings.max_replicas, 1))
        self._model = Model(
            settings.checkpoint,
            settings.overrides,
            device="cuda" if settings.gpus else "cpu",
            max_pixels=settings.max_pixels,
            exact=settings.exact,
            weights=settings.weights,
        )
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="network")

    async def predict(self, uploads: list[Upload], outputs: bool) -> list[dict[str, Any]]:
        """The answers to the uploads of one request."""
        return await self._batched((uploads, outputs))

    async def describe(self) -> dict[str, Any]:
        """What is known of the network."""
        return self._model.describe()

    @serve.batch(max_batch_size=_MOST_BATCHED, batch_wait_timeout_s=_BATCH_SECONDS)
    async def _batched(self, requests: list[tuple[list[Upload], bool]]) -> list[list[dict[str, Any]]]:
        # Not in the replica's own thread, which answers Ray in the meantime.
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, requests)

    def _answer(self, requests: Sequence[tuple[list[Upload], bool]]) -> list[list[dict[str, Any]]]:
        try:
            return self._answer_together(requests)
        except Exception as error:
            if len(requests) == 1:
                text = f"{_FAILED}. {type(error).__name__}; its log says more"
                _log(error)
                return [[{"name": upload.name, "failed": text} for upload in requests[0][0]]]
        # One of them is at fault, and the others shall not suffer.
        return [found for request in requests for found in self._answer([request])]

    def _answer_together(self, requests: Sequence[tuple[list[Upload], bool]]) -> list[list[dict[str, Any]]]:
        uploads = [upload for own, _ in requests for upload in own]
        wanting = [wanted for own, wanted in requests for _ in own]
        found = iter(self._model.predict(uploads, {number for number, wanted in enumerate(wanting) if wanted}))
        return [[next(found) for _ in own] for own, _ in requests]


class Ingress:
    """Reads requests, and lets replicas of the network answer them."""

    def __init__(self, network: Any, settings: Settings):
        token = settings.token or os.environ.get(TOKEN_VARIABLE)
        if not token and not settings.open:
            message = f"is missing. Set it, or the environment variable {TOKEN_VARIABLE}, or `open: true` for no token"
            raise ConfigError(Problem("token", message))
        self._network = network
        access = Access(token=None if settings.open else token, hosts=settings.hosts)
        self._web = Web(predict=self._predict, describe=self._describe, limits=settings.limits, access=access)

    async def __call__(self, request: Request) -> Response:
        """The response to a request."""
        return await self._web.respond(request)

    async def _predict(self, uploads: Sequence[Upload], outputs: bool) -> list[dict[str, Any]]:
        for _ in range(_TRIES):
            try:
                found = await self._network.predict.remote(list(uploads), outputs)
            except RayActorError:
                continue  # the replica died; the same request to another one has the same answer
            failed = next((result["failed"] for result in found if "failed" in result), None)
            if failed is not None:
                raise Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, failed)
            return found
        message = f"{_FAILED}: {_TRIES} replicas ended while they computed this request"
        raise Refusal(HTTPStatus.INTERNAL_SERVER_ERROR, message)

    async def _describe(self) -> dict[str, Any]:
        try:
            return await asyncio.wait_for(_result(self._network.describe.remote()), _HEALTH_SECONDS)
        except (RayActorError, TimeoutError):
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, "no replica of the network answers") from None


async def _result(response: Any) -> Any:
    return await response


def _log(error: Exception) -> None:
    import logging

    logging.getLogger("ray.serve").error("a request failed", exc_info=error)


def application(settings: Settings) -> Application:
    """The application, as `serve deploy` builds it of the `args` in its file."""
    gpus = settings.gpus if settings.gpus <= 1 else int(settings.gpus)
    actor = {"num_cpus": settings.cpus, "num_gpus": gpus}
    number: dict[str, Any] = {"num_replicas": settings.min_replicas}
    if settings.max_replicas > settings.min_replicas:
        number = {
            "autoscaling_config": {
                "min_replicas": settings.min_replicas,
                "max_replicas": settings.max_replicas,
                "target_ongoing_requests": 8,
                "upscale_delay_s": 5,
                "downscale_delay_s": 60,
            }
        }
    waiting = settings.max_waiting
    network: Any = serve.deployment(Network, name="network")
    ingress: Any = serve.deployment(Ingress, name="ingress")
    # The ingress itself refuses what is too much; further requests than it can refuse wait in Serve, up to a number.
    network = network.options(ray_actor_options=actor, max_ongoing_requests=2 * waiting, **number)
    ingress = ingress.options(
        ray_actor_options={"num_cpus": 0}, max_ongoing_requests=2 * waiting, max_queued_requests=waiting
    )
    return ingress.bind(network.bind(settings), settings)
