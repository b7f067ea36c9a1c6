"""The requests of an endpoint's pages: where the number, the cursor or the last value of a page goes."""

from collections.abc import Callable, Mapping

import httpx2
import msgspec

from pagefold.engine.configuration.endpoint_config import PagingConfig, RequestConfig
from pagefold.engine.configuration.request_templates import AFTER, with_member
from pagefold.engine.snapshots.endpoint_client import PageRequest

Address = Callable[[str, httpx2.URL], httpx2.URL]
"""Resolves the address of a page. Raises `SourceFailed` if it is not allowed."""


class PageRequests:
    """Makes the request of a page.

    A page is named by its number or offset, by its cursor or address, or, with keyset paging and where a cursor goes
    into the body, by the JSON text of the value. None is the first page. `secrets` are members of each body.
    """

    def __init__(self, settings: RequestConfig, secrets: Mapping[str, str]) -> None:
        self._settings = settings
        self._secrets = secrets
        self._first = httpx2.URL(settings.url or "")

    def request(self, page: str | None, address: Address) -> PageRequest:
        """The request of a page."""
        settings = self._settings
        if settings.paging is not None and settings.paging.finds_pages:
            return self._paged(page, settings.paging)
        if page is None:
            return self._request(self._first)
        if settings.cursor_member is not None:
            return self._request(self._first, settings.cursor_member, msgspec.json.decode(page))
        if settings.cursor_parameter is not None:
            return self._request(self._first.copy_set_param(settings.cursor_parameter, page))
        return self._request(address(page, self._first))

    def _paged(self, page: str | None, paging: PagingConfig) -> PageRequest:
        if paging.after is None:
            value: object = int(page or paging.start)
        elif page is None:
            return self._request(self._first)
        else:
            value = msgspec.json.decode(page)
            if paging.value is not None:
                value = paging.value.replace(AFTER, str(value))
        if paging.member is not None:
            return self._request(self._first, paging.member, value)
        return self._request(self._first.copy_set_param(paging.parameter or "", str(value)))

    def _request(self, url: httpx2.URL, member: str | None = None, value: object = None) -> PageRequest:
        body, verb = self._settings.body, self._settings.verb
        if isinstance(body, str):
            return PageRequest(url, verb, body.encode(), "text/plain; charset=utf-8")
        if body is None:
            return PageRequest(url, verb)
        for place, secret in self._secrets.items():
            body = with_member(body, place, secret)
        if member is not None:
            body = with_member(body, member, value)
        return PageRequest(url, verb, msgspec.json.encode(body))
