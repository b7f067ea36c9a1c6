"""What a saga does next, against a model of targets: every step, every answer, a crash before and after each."""

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagefold.engine.sagas.page_saga import PageName, PageSaga
from pagefold.engine.sagas.saga_errors import SagaStateError
from pagefold.engine.sagas.saga_steps import ABSENT, End, Look, Place, Record, Version, Wait, goal_of, next_action
from pagefold.engine.stores.delivery_records import StoredDelivery

TARGETS = ["a", "b", "c"]
PIVOT = "b"
ANSWERS = st.sampled_from(["taken", "refused", "lost", "unsure", "none", "crash"])
"""`lost`: taken, but the answer was lost. `unsure`: not taken, without an answer. `none`: nothing was sent."""


def version(number: int) -> Version:
    """A version, from its position on."""
    return Version(number, f"v{number}", {name: f"{name}{number}" for name in TARGETS})


class World:
    """The log with the events of one page's saga, the receipts, and what the targets hold."""

    def __init__(self) -> None:
        self.end = 10
        self.events: list[PageSaga.Event] = []
        self.versions = {0: ABSENT}
        self.newest = ABSENT
        self.rows: dict[str, StoredDelivery] = {}
        self.held = dict.fromkeys(TARGETS, "")
        self.sent: list[tuple[str, str, int]] = []
        self.change()

    def change(self) -> None:
        """The page has another version."""
        self.end += 1
        self.newest = self.versions[self.end] = version(self.end)

    def saga(self) -> PageSaga:
        """The aggregate, as a process that begins reads it."""
        if not self.events:
            return PageSaga.create(PageName("listing", "MUG", "web-de"))
        found: PageSaga | None = None
        for event in self.events:
            found = event.mutate(found)
        assert found is not None
        return found

    def append(self, saga: PageSaga) -> None:
        """Its new events are in the log."""
        pending = saga.collect_events()
        self.events += pending  # type: ignore[arg-type]  # its own
        self.end += len(pending)

    def position(self) -> int:
        """Above all that were used."""
        return max([self.end, *(row.wanted_position + 1 for row in self.rows.values())])

    def place(self, name: str, tag: str, position: int) -> None:
        """As the store's `place`."""
        row = self.rows.get(name)
        acked = "?" if row is None and not tag else None if row is None else row.acked_tag
        is_current = row is not None and (acked or "") == tag
        self.rows[name] = StoredDelivery(
            "t", "MUG", "web-de", "current" if is_current else "waiting", tag, position, acked, 0, None, 0, None, None,
            "", None, not is_current, None,
        )  # fmt: skip

    def answer(self, name: str, how: str) -> None:
        """A deliverer sends what a target is to get, and settles the answer."""
        row = self.rows.get(name)
        if row is None or row.state != "waiting" or not row.is_edited or how == "none":
            return
        self.sent.append((name, row.wanted_tag, row.wanted_position))
        if how in ("taken", "lost"):
            self.held[name] = row.wanted_tag
        if how == "taken":
            self.rows[name] = row._replace(state="current", acked_tag=row.wanted_tag, is_edited=False)
        elif how == "refused":
            self.rows[name] = row._replace(state="dead", answer="422")
        else:
            self.rows[name] = row._replace(acked_tag="?")


def steps(world: World, *, crash: bool = False) -> Iterator[object]:
    """What one process does until a target has the word, or all is done. With `crash`, it ends after one write."""
    saga = world.saga()
    newest: Version | None = None
    while True:
        goal = world.versions[goal_of(saga, newest) or 0]
        action = next_action(saga, world.rows, goal, newest, TARGETS)
        yield action
        match action:
            case Look():
                newest = world.newest
            case Place(name):
                position = world.position() if action.again else saga.position
                world.place(name, goal.tag_for(name), position)
            case Record():
                record(world, saga, action, newest)
                world.append(saga)
            case Wait() | End():
                return
        if crash:
            return


def record(world: World, saga: PageSaga, action: Record, newest: Version | None) -> None:
    """Triggers the event of an action."""
    position = world.position()
    match action.what:
        case "start" | "agree":
            assert newest is not None
            known = {"upto": newest.position, "position": position, "tag": newest.tag}
            if action.what == "agree":
                saga.agree(**known)  # type: ignore[arg-type]  # by name
            else:
                saga.start(**known, targets=TARGETS, pivot=PIVOT, ahead=action.flag)  # type: ignore[arg-type]  # by name
        case "refuse":
            saga.refuse(action.target, action.reason, position, uncertain=action.flag)
        case "stick":
            saga.stick(action.target, action.reason)
        case "take" | "revert":
            getattr(saga, action.what)(action.target)
        case "complete" | "compensate":
            getattr(saga, action.what)()


def run(world: World) -> str:
    """Lets a process work until a target has the word, or all is done: the target, or how it ended."""
    last: object = None
    for number, action in enumerate(steps(world)):
        assert number < 60, "it does not end"
        last = action
    return last.target if isinstance(last, Wait) else last.how if isinstance(last, End) else ""


def finish(world: World, how: str = "taken") -> str:
    """Lets every target answer so until all is done."""
    for _ in range(40):
        if (last := run(world)) not in TARGETS:
            return last
        world.answer(last, how)
    pytest.fail("it does not end")


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(ANSWERS, st.just("change")), max_size=25))
def test_all_or_none_or_a_person(answers: list[str]) -> None:
    """Whatever targets answer and wherever processes end: all hold one version, or a person has to decide.

    A version is sent to a target only in its run, and what is sent later has a higher position.
    """
    world = World()
    for how in answers:
        if how == "change":
            world.change()
        elif how == "crash":
            for _ in steps(world, crash=True):
                pass
        elif (last := run(world)) in TARGETS:
            world.answer(last, how)
    ended = finish(world)
    saga = world.saga()
    if ended == "delivered":
        assert world.held == dict(world.newest.tags)
        assert saga.common_tag == world.newest.tag
    elif ended == "discarded":
        assert (saga.result, saga.given_up) == ("refused", world.newest.tag)
        assert world.held == {name: world.versions[saga.common or 0].tag_for(name) for name in TARGETS}
    else:
        assert (ended, saga.state) == ("dead", "needs a person")
    for name in TARGETS:
        positions = [position for to, _, position in world.sent if to == name]
        assert positions == sorted(positions)
        assert len({(tag, position) for to, tag, position in world.sent if to == name}) == len(set(positions))


def test_a_refusal_before_the_pivot_gives_a_version_up() -> None:
    """Those that took it get what all had before, in reverse order; the one that refused gets nothing."""
    world = World()
    assert finish(world) == "delivered"
    before = dict(world.held)
    world.change()
    run(world)
    world.answer("a", "taken")
    run(world)
    world.answer("b", "refused")
    world.sent.clear()
    assert finish(world) == "discarded"
    assert world.held == before
    assert [name for name, _, _ in world.sent] == ["a"]


def test_the_first_version_is_withdrawn_if_it_is_refused() -> None:
    """There was nothing before."""
    world = World()
    run(world)
    world.answer("a", "taken")
    run(world)
    world.answer("b", "refused")
    assert finish(world) == "discarded"
    assert set(world.held.values()) == {""}


def test_after_the_pivot_a_person_decides() -> None:
    """The others have it for good; it is tried again on a decision, or taken back on another."""
    for decision in ("resume", "reverse", "settle", "newer"):
        world = World()
        assert finish(world) == "delivered"
        before = dict(world.held)
        world.change()
        for name, how in (("a", "taken"), ("b", "taken"), ("c", "refused")):
            run(world)
            world.answer(name, how)
        assert run(world) == "dead"
        saga = world.saga()
        if decision == "resume":
            saga.resume("ann", "it works again", world.position())
        elif decision == "reverse":
            saga.reverse("ann", "it never will", world.position())
        elif decision == "settle":
            saga.settle("ann", "put there by hand", taken=True)
        else:
            world.change()
        world.append(saga)
        ended = finish(world)
        assert ended == ("discarded" if decision == "reverse" else "delivered")
        if decision == "settle":
            assert world.held["c"] == before["c"]
        else:
            assert world.held == (before if decision == "reverse" else dict(world.newest.tags))


def test_a_target_that_was_emptied_gets_what_it_had() -> None:
    """Also if a version was given up meanwhile: that is no reason to try it again. Nothing is recorded for it."""
    world = World()
    assert finish(world) == "delivered"
    before = dict(world.held)
    world.change()
    run(world)
    world.answer("a", "refused")
    assert finish(world) == "discarded"
    events = len(world.events)
    world.rows["c"] = world.rows["c"]._replace(state="held", acked_tag="?")
    world.held["c"] = ""
    assert finish(world) == "discarded"
    assert world.held == before
    assert len(world.events) == events


def test_targets_that_hold_something_before_the_first_version() -> None:
    """What all of them have already is agreed on; else there is nothing to go back to, and a person has to decide."""
    world = World()
    for name in TARGETS:
        world.place(name, world.newest.tags[name], 1)
        world.answer(name, "taken")
    assert run(world) == "delivered"
    assert [type(event).__name__ for event in world.events] == ["Created", "Agreed"]
    world = World()
    for name in TARGETS:
        world.place(name, f"{name}-old", 1)
        world.answer(name, "taken")
    run(world)
    world.answer("a", "taken")
    run(world)
    world.answer("b", "refused")
    assert run(world) == "dead"
    saga = world.saga()
    with pytest.raises(SagaStateError, match="needs a person"):
        saga.reverse("ann", "back", world.position())
    saga.resume("ann", "again", world.position())
    world.append(saga)
    assert finish(world) == "delivered"


def test_what_a_state_does_not_allow() -> None:
    """It is refused, and changes nothing."""
    saga = PageSaga.create(PageName("listing", "MUG/1", "web-de"))
    assert "/" not in saga.id
    with pytest.raises(SagaStateError, match="not under way"):
        saga.complete()
    saga.start(upto=5, position=5, tag="v", targets=TARGETS, pivot=PIVOT)
    with pytest.raises(SagaStateError, match="running"):
        saga.start(upto=6, position=6, tag="w", targets=TARGETS, pivot=PIVOT)
    with pytest.raises(SagaStateError, match="running"):
        saga.refuse("c", "after the pivot", 7)
    with pytest.raises(SagaStateError, match="position 5"):
        saga.refuse("a", "no later", 5)
