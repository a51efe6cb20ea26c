"""A rule that cannot be used."""

from typing_extensions import override

from sealwax.errors import ConfigurationError


class RuleError(ConfigurationError):
    """A rule or a provider is not written as it has to be.

    Attributes:
        rule: Its id, or its number where it has none.
        field: The field at fault; empty for the rule as a whole.
        problem: What is wrong with it.
    """

    def __init__(self, rule: str, field: str, problem: str) -> None:
        super().__init__(rule, field, problem)
        self.rule = rule
        self.field = field
        self.problem = problem

    @override
    def __str__(self) -> str:
        return f"{self.rule}: {self.field}{' ' if self.field else ''}{self.problem}"
