"""The process that sources run in, as tests need it: nothing asks it to stop before they do."""


class Running:
    """Runs until `stop`; everything is quiet from then on."""

    def __init__(self) -> None:
        self.stopping = False

    def stop(self) -> None:
        self.stopping = True

    def running(self) -> None:
        pass

    def draining(self) -> bool:
        return self.stopping

    def quiet(self, seconds: float) -> bool:
        return self.stopping and seconds >= 0
