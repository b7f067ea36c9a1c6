"""The trace of a run: a digest and, for people, lines."""

from hashlib import blake2b


class Trace:
    """All decisions and steps, in order. `lines` are kept if they are requested."""

    def __init__(self, *, verbose: bool = False) -> None:
        self._verbose = verbose
        self._digest = blake2b(digest_size=16)
        self._now = 0.0
        self.lines: list[str] = []

    def step(self, now: float, task: int) -> None:
        """A task runs a step."""
        self._now = now
        self._digest.update(b"%d %d\n" % (now * 1e6, task))

    def note(self, text: str) -> None:
        """An event for a reader of the trace."""
        self._digest.update(text.encode())
        self.lines.append(f"{self._now:10.5f} {text}")
        if self._verbose:
            print(self.lines[-1], flush=True)  # noqa: T201  # that is what it is asked for

    def change(self, text: str, content: bytes = b"") -> None:
        """A file changes."""
        self._digest.update(text.encode())
        self._digest.update(content)

    @property
    def digest(self) -> str:
        """Equal for two runs if and only if the same happened, in the same order."""
        return self._digest.hexdigest()
