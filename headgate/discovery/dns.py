"""Endpoints that the records of a name say: addresses (A, AAAA), or hosts with ports and weights (SRV).

    ask -> say -> wait as long as the answer is good (its TTL, within bounds) -> ask again

Laws: an answer that was cut is asked for anew over TCP. A name that does not exist or has no such records is no empty
set, for so answers, too, who has lost the zone: what was said before stays. One question of two that fails makes both
fail. Of SRV records only those of the lowest priority number are used (RFC 2782); one that names the root says that
there is no such service, and that alone is an empty set.
"""

from __future__ import annotations

import asyncio

import dns.asyncresolver
import dns.exception
import dns.name
import dns.nameserver
import dns.resolver

from headgate.core.endpoint import Endpoint
from headgate.discovery.backoff import Backoff
from headgate.discovery.endpoint_set import endpoint_at, usable
from headgate.discovery.places import domain_name, server_address
from headgate.discovery.settings import DnsDiscovery
from headgate.discovery.source import Given, NotFound, Sink

_QUESTIONS = {"a": ("A",), "aaaa": ("AAAA",), "both": ("A", "AAAA"), "srv": ("SRV",)}


class DnsSource:
    """One name."""

    def __init__(self, settings: DnsDiscovery, given: Given) -> None:
        """Take the settings.

        Raises:
            ValueError: with a sentence, for a name or a server that is none.
        """
        self._settings = settings
        try:
            # Without an origin a name that ends in no dot is looked for in the domains of the system, too.
            self._name = dns.name.from_text(domain_name(settings, given.service), origin=None)
        except (dns.exception.DNSException, UnicodeError):
            raise ValueError("the name is no domain name") from None
        self._servers = [name_server(each) for each in settings.servers]
        self._backoff = Backoff(given.chance)

    async def run(self, sink: Sink) -> None:
        """Ask and say, until cancelled."""
        settings = self._settings
        while True:
            try:
                endpoints, ttl = await self._ask()
            except NotFound as error:
                sink.failed(str(error))
                wait = self._backoff.pause()
            else:
                sink.take(endpoints)
                self._backoff.succeeded()
                wait = min(max(ttl, settings.min_ttl), settings.max_ttl)
            await asyncio.sleep(wait)

    async def _ask(self) -> tuple[tuple[Endpoint, ...], float]:
        """Return the endpoints, and the seconds for which they are good.

        Raises:
            NotFound: with a sentence.
        """
        kinds = _QUESTIONS[self._settings.record]
        answered = await asyncio.gather(*map(self._question, kinds), return_exceptions=True)
        for each in answered:
            if isinstance(each, BaseException):
                raise each
        answers = [each for each in answered if isinstance(each, dns.resolver.Answer)]
        if not answers:
            raise NotFound(f"the name has no records of the type {' or '.join(kinds)}")
        ttl = min(each.chaining_result.minimum_ttl for each in answers)
        return self._read(answers), float(ttl)

    def _read(self, answers: list[dns.resolver.Answer]) -> tuple[Endpoint, ...]:
        records = [record for answer in answers for record in answer]
        settings = self._settings
        if settings.record != "srv":
            return usable(records, lambda each: endpoint_at(each.address, settings.port, settings.scheme))
        there = [each for each in records if each.target != dns.name.root]
        first = min((each.priority for each in there), default=0)
        # A weight of 0 is a small one here (RFC 2782): who is listed gets something.
        return usable(
            [each for each in there if each.priority == first],
            lambda each: endpoint_at(
                each.target.to_text(omit_final_dot=True), each.port, settings.scheme, each.weight or 1
            ),
        )

    async def _question(self, kind: str) -> dns.resolver.Answer | None:
        """Ask for records of one type; None: the name has none.

        Raises:
            NotFound: with a sentence.
        """
        try:
            # Made anew each time, for the system's servers may be others than before.
            resolver = dns.asyncresolver.Resolver(configure=not self._servers)
            if self._servers:
                resolver.nameservers = list(self._servers)
            search = not self._servers and not self._name.is_absolute()
            return await resolver.resolve(self._name, kind, lifetime=self._settings.timeout, search=search)
        except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
            return None
        except dns.exception.Timeout:
            raise NotFound("no name server answered in time") from None
        except dns.resolver.NoNameservers:
            raise NotFound("no name server has an answer (SERVFAIL, REFUSED, or none that can be read)") from None
        except (dns.exception.DNSException, OSError) as error:
            raise NotFound(f"the question failed: {type(error).__name__}") from None


def name_server(text: str) -> dns.nameserver.Nameserver:
    """Read ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT.

    Raises:
        ValueError: with a sentence.
    """
    host, port = server_address(text)
    return dns.nameserver.Do53Nameserver(host, port)
