"""Those that a limit has refused, in the order in which they came."""

from dataclasses import dataclass


@dataclass(slots=True)
class _Waiting:
    wanted: int
    missing: int
    asked_ms: float


class Waiters:
    """Who waits for a limit, so that each has its turn. Used under its owner's lock.

    Whoever was refused keeps its place until it is granted some, and stands behind all others then.
    Those who came later get only what those before them leave.

    Attributes:
        wanted: What all that asked want, also where it is free and they have not taken it.
        missing: What all were refused.
    """

    def __init__(self, forget_after_ms: float) -> None:
        """Takes after how long one that does not ask again is taken for gone."""
        self._forget_after_ms = forget_after_ms
        self._all: dict[str, _Waiting] = {}
        self.wanted = 0
        self.missing = 0

    def ask(self, who: str, wanted: int, free: int, now_ms: float) -> int:
        """How many of `wanted` are granted of those that are free; the rest is waited for."""
        granted = min(wanted, self.left(who, free, now_ms))
        if wanted:
            self._stay(who, wanted, granted, now_ms)
        else:
            self._leave(who)
        return granted

    def left(self, who: str, free: int, now_ms: float) -> int:
        """What those before it leave of what is free."""
        return max(0, free - self._before(who, free, now_ms))

    def besides(self, who: str) -> bool:
        """Whether anybody else was refused."""
        own = self._all.get(who)
        return self.missing > (own.missing if own else 0)

    def took(self, who: str, count: int) -> None:
        """That many of what was granted are in use now."""
        one = self._all.get(who)
        if one is None:
            return
        taken = min(count, one.wanted)
        one.wanted -= taken
        self.wanted -= taken
        if not one.wanted:
            self._leave(who)

    def first(self, free: int) -> list[str]:
        """Whose turn it is, where so many are free."""
        turn = []
        for who, one in self._all.items():
            if free <= 0:
                break
            if one.missing:
                turn.append(who)
                free -= one.missing
        return turn

    def place(self, who: str) -> int:
        """How many stand before it, at most: 0 for the first, all others for anyone else."""
        return 0 if next(iter(self._all), who) == who else len(self._all) - 1

    def forget(self, now_ms: float) -> None:
        """Drops those who have not asked for long; the oldest ask stands first where all ask."""
        for who in [
            who for who, one in self._all.items() if now_ms - one.asked_ms > self._forget_after_ms
        ]:
            self._leave(who)

    def _before(self, who: str, free: int, now_ms: float) -> int:
        """What those before it were refused; no further than it matters."""
        ahead, gone = 0, []
        for other, one in self._all.items():
            if other == who or ahead >= free:
                break
            if now_ms - one.asked_ms > self._forget_after_ms:
                gone.append(other)
            else:
                ahead += one.missing
        for other in gone:
            self._leave(other)
        return ahead

    def _stay(self, who: str, wanted: int, granted: int, now_ms: float) -> None:
        one = self._all.get(who)
        if one is None:
            one = self._all[who] = _Waiting(0, 0, now_ms)
        elif granted:
            self._all[who] = self._all.pop(who)
        missing = wanted - granted
        self.wanted += wanted - one.wanted
        self.missing += missing - one.missing
        one.wanted, one.missing, one.asked_ms = wanted, missing, now_ms

    def _leave(self, who: str) -> None:
        one = self._all.pop(who, None)
        if one is not None:
            self.wanted -= one.wanted
            self.missing -= one.missing
