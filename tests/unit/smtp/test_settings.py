"""Settings that no session could work with are refused by name."""

from datetime import timedelta

import pytest

from sealwax.errors import ConfigurationError
from sealwax.smtp.settings import SmtpSettings


@pytest.mark.parametrize(
    ("field", "value"),
    [("dot_timeout", timedelta()), ("open_sessions", 0), ("messages_per_session", -1), ("port", 0)],
)
def test_value_out_of_bounds_is_named(field, value):
    with pytest.raises(ConfigurationError, match=field):
        SmtpSettings(ehlo_name="client.test", **{field: value})


@pytest.mark.parametrize("name", ["", "two words", "line\r\nMAIL", "jörg.test"])
def test_name_that_cannot_be_said_is_refused(name):
    with pytest.raises(ConfigurationError, match="EHLO"):
        SmtpSettings(ehlo_name=name)


def test_defaults_are_those_of_the_standard():
    settings = SmtpSettings(ehlo_name="client.test")
    assert settings.dot_timeout == timedelta(minutes=10)
    assert settings.command_timeout == timedelta(minutes=5)
