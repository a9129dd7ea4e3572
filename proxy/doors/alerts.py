"""Alerts over HTTP: what was crossed and told, and a test of who is told."""

import time
from collections.abc import Callable

from starlette.responses import Response
from starlette.routing import BaseRoute

from proxy.alerts import NANO, Alert, Alerts, State
from proxy.doors.api import ADMIN, Api, Asked, Operation, Strict, answer
from proxy.times import iso


class AlertEntry(Strict):
    """A share of a budget that was spent. `state` is `superseded` where only a higher share, spent
    at the same time, was sent."""

    id: str
    scope: str
    kind: str
    name: str
    threshold_percent: int
    spent_usd: float
    budget_usd: float
    per: str
    period_begins: str
    at: str
    state: State
    tries: int
    delivered_at: str | None
    next_try_at: str | None


class AlertList(Strict):
    """The newest first, a hundred at most."""

    data: list[AlertEntry]


class WebhookTested(Strict):
    """Whether the webhook took a test event, and why not."""

    success: bool
    error: str | None


class AlertDoor:
    """Handlers over the alerts of the gateway."""

    def __init__(self, api: Api, alerts: Callable[[], Alerts]) -> None:
        self._api = api
        self._alerts = alerts

    def routes(self) -> list[BaseRoute]:
        operations = [
            Operation(
                "GET",
                "/api/v1/alerts",
                self.show,
                ADMIN,
                "The last hundred alerts",
                answer=AlertList,
            ),
            Operation(
                "POST",
                "/api/v1/alerts/test",
                self.test,
                ADMIN,
                "Send a test event to the webhook",
                answer=WebhookTested,
            ),
        ]
        return [self._api.route(operation) for operation in operations]

    async def show(self, _: Asked) -> Response:
        now = time.time()
        found = await self._alerts().listed()
        return answer(AlertList(data=[_entry(alert, now) for alert in found]))

    async def test(self, _: Asked) -> Response:
        fault = await self._alerts().test()
        return answer(WebhookTested(success=fault is None, error=fault))


def _entry(alert: Alert, now: float) -> AlertEntry:
    state = alert.state(now)
    delivered = alert.delivered_at if state == "delivered" else None
    return AlertEntry(
        id=alert.id,
        scope=alert.scope,
        kind=alert.kind,
        name=alert.name,
        threshold_percent=alert.threshold,
        spent_usd=alert.spent_nanousd / NANO,
        budget_usd=alert.budget_nanousd / NANO,
        per=alert.per,
        period_begins=iso(alert.begins),
        at=iso(alert.created_at),
        state=state,
        tries=alert.tries,
        delivered_at=None if delivered is None else iso(delivered),
        next_try_at=iso(alert.next_try_at) if state == "waiting" else None,
    )
