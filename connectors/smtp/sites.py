"""The sites of messages: from memory, or by a look-up beside which the messages wait."""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from functools import lru_cache

import structlog

from connectors.smtp.items import Queued
from sealwax import clock
from sealwax.model.reply import Reply
from sealwax.policy.shaping.rules import ShapingRules
from sealwax.policy.shaping.shape import Shape
from sealwax.policy.site import site_of
from sealwax.smtp.mx import Target
from sealwax.smtp.resolver import Resolver
from sealwax.smtp.route import Routes

# Each message asks, and most domains of a provider have the same hosts.
_site_of = lru_cache(10_000)(site_of)

logger = structlog.get_logger(__name__)


class Sites:
    """Finds the site of each message. Thread-safe.

    What waits here is unsettled: after a crash or a stop it is read again.

    Args:
        routes: Domains that go elsewhere than to their MX hosts.
        resolver: Looks MX hosts up.
        found: Takes messages whose site was looked up, from any thread.
    """

    def __init__(
        self, routes: Routes, resolver: Resolver, found: Callable[[list[Queued]], None]
    ) -> None:
        self._routes = routes
        self._resolver = resolver
        self._found = found
        self._waiting: dict[str, list[Queued]] = {}
        self._hosts: dict[str, tuple[str, ...]] = {}  # of the sites that mail was placed in
        self._lock = threading.Lock()

    def place(self, queued: Queued) -> Queued | None:
        """The message with its site; None where that has to be looked up, and `found` gets it."""
        domain = queued.delivery.rcpt_domain
        if self._routes.route(domain) is not None:
            return queued._replace(site=self._routes.site(domain))
        known = self._resolver.known(domain)
        if known is not None:
            return queued._replace(site=self._named(domain, known))
        queued = queued._replace(asked_ms=clock.now_ms())
        with self._lock:
            others = self._waiting.get(domain)
            if others is not None:
                others.append(queued)
                return None
            self._waiting[domain] = [queued]
        answer = self._resolver.look_up(domain)
        answer.add_done_callback(lambda answer: self._answered(domain, answer))
        return None

    def _answered(self, domain: str, answer: "Future[Target | Reply]") -> None:
        with self._lock:
            waiting = self._waiting.pop(domain)
        if answer.cancelled():  # the process ends
            return
        site = domain
        if error := answer.exception():
            # A defect of ours must not keep the messages: their attempts say it, and come again.
            logger.error("a look-up failed", domain=domain, exc_info=error)
        else:
            site = self._named(domain, answer.result())
        self._found([queued._replace(site=site) for queued in waiting])

    def shape(self, rules: ShapingRules, queued: Queued) -> Shape:
        """The limits of the site that a message was placed in.

        A domain without hosts has those of any site: no connection is opened for it.
        """
        domain = queued.delivery.rcpt_domain
        if self._routes.route(domain) is not None:
            # A smart host takes the mail of all domains: no rule for one of them is its own.
            return rules.of_routed(domain if queued.site == domain else "")
        return rules.of_site(self._hosts.get(queued.site, ()))

    def forget(self, site: str) -> None:
        """Nothing is remembered of a site whose lane is gone."""
        self._hosts.pop(site, None)

    def _named(self, domain: str, target: Target | Reply) -> str:
        """A domain without hosts is a site by itself: its attempts say why there are none."""
        if isinstance(target, Reply):
            return domain
        hosts = tuple(host.name for host in target.hosts)
        site = _site_of(hosts)
        if site not in self._hosts:
            self._hosts[site] = tuple(sorted(hosts))
        return site
