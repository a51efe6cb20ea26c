"""Once per request, whatever the API, producers and render do and wherever they crash."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from sealwax.model.claim import Claim, email_claim
from sealwax.model.delivery import Position
from sealwax.policy.idempotency import (
    Adopt,
    Answered,
    Append,
    Concurrent,
    Duplicate,
    Finish,
    GiveUp,
    OtherPayload,
    Render,
    Take,
    TakeForRecord,
    finish,
    give_up,
    take,
    take_for_record,
)

KEEP_MS = 86_400_000
RENDER_KEEP_MS = KEEP_MS + 3_600_000
KEY = "idem:t:k"

steps = st.lists(
    st.one_of(
        st.tuples(
            st.just("request"),
            st.integers(0, 1),  # payload
            st.sampled_from(["answered", "died before append", "died after append", "refused"]),
        ),
        st.tuples(st.just("produce"), st.integers(0, 1), st.just("")),
        st.tuples(st.just("render"), st.booleans(), st.just("")),  # whether it dies after the claim
        st.tuples(
            st.just("pass"), st.sampled_from([5, 10_000, KEEP_MS // 2, KEEP_MS]), st.just("")
        ),
    ),
    max_size=40,
)


@dataclass
class Record:
    position: Position
    email_id: str
    payload: bytes
    stamp_ms: int
    keyed: bool  # of a producer, with the key


@dataclass
class World:
    """One key of one tenant: the claims, the log, and what was seen from outside."""

    now_ms: int = 1_000_000
    claims: dict[str, Claim | None] = field(default_factory=dict)
    log: list[Record] = field(default_factory=list)
    settled: int = 0
    mails: list[Position] = field(default_factory=list)
    rendered: dict[str, set[Position]] = field(default_factory=dict)  # email -> by which record
    # (time, payload, ids) of each 202
    promised: list[tuple[int, bytes, tuple[str, ...]]] = field(default_factory=list)
    begun_ms: dict[str, int] = field(default_factory=dict)  # email -> when it was first asked for

    def new_id(self) -> str:
        email_id = f"id{len(self.begun_ms)}"
        self.begun_ms[email_id] = self.now_ms
        return email_id

    def append(self, email_id: str, payload: bytes, *, keyed: bool = False) -> None:
        position = Position("requested", 0, len(self.log))
        self.log.append(Record(position, email_id, payload, self.now_ms, keyed))

    def request(self, payload: bytes, fate: str) -> None:
        wanted = Take(KEY, payload, (self.new_id(),), KEEP_MS)
        taken, self.claims[KEY] = take(self.claims.get(KEY), wanted, self.now_ms)
        if isinstance(taken, Answered):
            self.promised.append((self.now_ms, payload, taken.email_ids))
        if not isinstance(taken, Append) or fate == "died before append":
            return
        if fate == "refused":
            self.claims[KEY] = give_up(self.claims[KEY], GiveUp(KEY, taken.email_ids))
            return
        self.append(taken.email_ids[0], payload)
        if fate == "answered":
            self.claims[KEY] = finish(self.claims[KEY], Finish(KEY, taken.email_ids, None))
            self.promised.append((self.now_ms, payload, taken.email_ids))

    def render(self, *, dies: bool) -> None:
        if self.settled == len(self.log):
            return
        record = self.log[self.settled]
        fate = self.fate_of(record)
        if dies:
            return
        if isinstance(fate, Render):
            self.rendered.setdefault(fate.email_id, set()).add(record.position)
            self.mails.append(record.position)
        elif isinstance(fate, Duplicate):
            assert fate.of in self.mails  # the log is read in order
            # Mostly it has that id. A producer's record that met the API's claim, was not rendered
            # for a day and then found the key with a later request has its own.
            self.rendered.setdefault(fate.email_id, set()).add(fate.of)
        self.settled += 1

    def fate_of(self, record: Record) -> Render | Duplicate | OtherPayload:
        fate: object = Adopt(record.email_id)
        if record.keyed:
            fate = self.claim(KEY, record.payload, record.email_id, record, KEEP_MS)
        if isinstance(fate, Adopt):
            name = email_claim(fate.email_id)
            fate = self.claim(name, b"", fate.email_id, record, RENDER_KEEP_MS)
        assert isinstance(fate, Render | Duplicate | OtherPayload)
        return fate

    def claim(
        self, name: str, payload: bytes, email_id: str, record: Record, keep_ms: int
    ) -> object:
        stamp_ms = max(record.stamp_ms, self.begun_ms[email_id])
        wanted = TakeForRecord(name, payload, email_id, record.position, stamp_ms, keep_ms)
        fate, self.claims[name] = take_for_record(self.claims.get(name), wanted)
        return fate

    def sweep(self) -> None:
        """Deletes what expired before everything that is settled was appended."""
        passed_ms = (
            self.now_ms if self.settled == len(self.log) else self.log[self.settled].stamp_ms
        )
        for name, claim in list(self.claims.items()):
            if claim is not None and claim.expires_at_ms < passed_ms:
                del self.claims[name]


def played(moves: list[tuple[str, int, str]]) -> World:
    world = World()
    for what, number, fate in moves:
        world.now_ms += 1
        match what:
            case "request":
                world.request(b"%d" % number, fate)
            case "produce":
                world.append(world.new_id(), b"%d" % number, keyed=True)
            case "render":
                world.render(dies=bool(number))
            case _:
                world.now_ms += number
        world.sweep()
    while world.settled < len(world.log):
        world.render(dies=False)
    return world


@given(moves=steps)
def test_what_was_promised_is_rendered_once(moves):
    world = played(moves)
    for _, _, ids in world.promised:
        assert len(world.rendered.get(ids[0], ())) == 1
    assert all(len(positions) == 1 for positions in world.rendered.values())
    assert len(world.mails) == len(set(world.mails))


@given(moves=steps)
def test_two_emails_of_one_key_are_a_claims_life_apart_and_an_email_has_one_payload(moves):
    world = played(moves)
    for _, payload, ids in world.promised:
        for _, other, other_ids in world.promised:
            if other_ids == ids:
                assert other == payload
            else:
                apart_ms = abs(world.begun_ms[ids[0]] - world.begun_ms[other_ids[0]])
                assert apart_ms >= KEEP_MS


@given(moves=steps)
def test_a_producers_record_is_rendered_unless_its_key_was_used_within_its_life(moves):
    world = played([move for move in moves if move[0] != "request"])
    owner_ms = -KEEP_MS
    for record in world.log:
        fresh = record.stamp_ms >= owner_ms + KEEP_MS
        assert (record.position in world.mails) == fresh
        owner_ms = record.stamp_ms if fresh else owner_ms


@given(st.integers(-9_999, 9_999))
def test_who_claims_within_ten_seconds_is_told_so_whichever_clock_was_read_first(later_ms):
    taken = Take(KEY, b"", ("a",), KEEP_MS)
    now_ms = 1_700_000_000_000
    _, claim = take(None, taken, now_ms)
    assert take(claim, taken, now_ms + later_ms) == (Concurrent(), claim)
