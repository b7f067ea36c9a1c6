"""One process of a pool: `python -m pagefold.engine.replay.verifier_process`, started by `engine.replay.verifier_pool`.

Its standard input is a configuration and then requests, one a line; its standard output is the replies. It ends at the
end of its input.
"""

from collections.abc import Iterable
from functools import partial

import msgspec

from pagefold.domains import DOMAINS
from pagefold.engine.configuration.config import Config
from pagefold.engine.configuration.sent_config import SentConfig
from pagefold.engine.replay.helper_process import run_helper, with_store, write_reply
from pagefold.engine.replay.section_verifier import SectionVerifier, SharedScans, VerifiedRange
from pagefold.engine.replay.verifier_pool import VerifyReply, VerifyRequest
from pagefold.engine.runtime.task_groups import run_together
from pagefold.engine.stores.store import Store

_requests = msgspec.json.Decoder(VerifyRequest)


async def serve(lines: Iterable[bytes]) -> int:
    """Verifies one range after the other. Ends if the store fails."""
    config = msgspec.json.decode(next(iter(lines)), type=SentConfig).config

    async def verify(store: Store) -> None:
        for line in lines:
            await _verify(store, config, _requests.decode(line))

    return await with_store(config, verify)


async def _verify(store: Store, config: Config, request: VerifyRequest) -> None:
    domains = [domain for domain in DOMAINS if domain.name in request.domains]
    scans = SharedScans(store.log, domains, config)  # new for each request: cached scans would be outdated
    verifiers = [SectionVerifier(store, domain, config, scans) for domain in domains]
    await run_together(
        *(partial(verifier.verify, request.streams, partial(_reply, verifier.domain)) for verifier in verifiers)
    )
    write_reply(None)


def _reply(domain: str, verified: VerifiedRange) -> None:
    write_reply(VerifyReply(domain, verified))


if __name__ == "__main__":
    run_helper(serve)
