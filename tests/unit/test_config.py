"""Settings: what is read, what is refused, and that their page says the same."""

import shutil
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest

from connectors.log import LogSettings
from sealwax.config import Address, child_environment, load
from sealwax.config.environment import warnings_of
from sealwax.config.manual import manual
from sealwax.config.table import SETTINGS
from sealwax.errors import ConfigurationError
from sealwax.model.topics import Stream
from sealwax.policy.shaping.builtin import builtin
from sealwax.smtp.route import Route

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch):
    for setting in SETTINGS:
        monkeypatch.delenv(setting.name, raising=False)


def test_without_any_variable_the_documented_defaults_hold():
    settings = load()
    assert settings.data_dir == Path.cwd() / "sealwax-data"
    assert settings.http == Address("127.0.0.1", 8025)
    assert settings.routes.route("example.com") is None
    assert settings.retry.delays_ms == (60_000, 300_000, 900_000, 3_600_000)
    assert settings.give_up_after_ms(Stream.MARKETING) == 24 * 3_600_000
    assert settings.idempotency_keys_kept_ms == 24 * 3_600_000
    assert settings.shaping is builtin()
    assert settings.smtp.dot_timeout == timedelta(minutes=10)
    assert settings.smtp.ehlo_name
    assert isinstance(settings.log, LogSettings)
    assert settings.log.partitions == 4
    assert settings.log.segment_bytes == 128 << 20
    assert settings.relational.url.endswith("sealwax-data/sealwax.db")
    assert settings.redis is None
    assert settings.large_domains == {}
    assert settings.unknown == ()


def test_every_default_is_within_its_own_bounds():
    for setting in SETTINGS:
        setting.kind.parse(setting.default)


def test_flags_win_over_variables_and_empty_ones_count_as_not_set(monkeypatch):
    monkeypatch.setenv("SEALWAX_HTTP", "0.0.0.0:80")
    monkeypatch.setenv("SEALWAX_RETRY_DELAYS", "")
    settings = load({"SEALWAX_HTTP": "[::1]:8080"})
    assert settings.http == Address("::1", 8080)
    assert settings.http.url == "http://[::1]:8080"
    assert len(settings.retry.delays_ms) == 4


def test_an_api_that_listens_everywhere_is_reached_on_loopback():
    assert load({"SEALWAX_HTTP": "0.0.0.0:80"}).http.url == "http://127.0.0.1:80"


def test_routes_rates_and_sizes_are_read():
    settings = load(
        {
            "SEALWAX_SMTP_ROUTES": "a.test=127.0.0.1:2525,*.b.test=[::1]:26",
            "SEALWAX_CONNECTIONS_PER_SITE": "7",
            "SEALWAX_RATE_PER_SITE": "100/s",
            "SEALWAX_MIN_FREE": "2GB",
        }
    )
    assert settings.routes.route("x.b.test") == Route("::1", 26)
    shape = settings.shaping.of_routed("a.test")
    assert shape.named() == (("connections", "7"), ("rate", "100/s"))
    log, accepting = settings.log, settings.accepting_log
    assert isinstance(log, LogSettings)
    assert isinstance(accepting, LogSettings)
    assert accepting.min_free_bytes == 2 << 30
    assert log.min_free_bytes is None


def test_shared_limits_keep_no_session_for_long_whose_permit_another_process_may_want():
    alone, shared = load(), load({"REDIS_URL": "redis://:secret@h:6379/1"})
    assert alone.smtp.idle_timeout == timedelta(seconds=10)
    assert shared.smtp.idle_timeout == timedelta(seconds=1)
    assert shared.redis is not None
    assert (shared.redis.timeout, shared.redis.prefix) == (timedelta(seconds=1), "sealwax")


def test_large_domains_are_read_as_recipients_have_them():
    settings = load({"SEALWAX_LARGE_DOMAINS": "Gmail.com=8, b.test=2"})
    assert settings.large_domains == {"gmail.com": 8, "b.test": 2}


@pytest.mark.parametrize(
    ("free_mb", "is_low", "give_way"),
    [(999, True, True), (1_000, False, True), (1_255, False, True), (1_256, False, False)],
)
def test_bodies_give_way_before_mail_is_refused(monkeypatch, free_mb, is_low, give_way):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=free_mb << 20))
    settings = load({"SEALWAX_MIN_FREE": "1000MB"})
    assert (settings.disk_is_low(), settings.bodies_give_way()) == (is_low, give_way)


def test_bodies_in_kafka_do_not_give_way_to_the_disk_of_this_machine(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    settings = load({"SEALWAX_MIN_FREE": "1000MB", "KAFKA_BOOTSTRAP_SERVERS": "k:9092"})
    assert not settings.bodies_give_way()


def test_the_reserve_is_the_larger_of_a_size_and_a_share(tmp_path):
    assert load({"SEALWAX_DATA_DIR": str(tmp_path / "not" / "there")}).min_free_bytes >= 256 << 20


@pytest.mark.parametrize(
    ("name", "text", "form"),
    [
        ("SEALWAX_DATA_DIR", "/srv/what?", "without ? and &"),
        ("SEALWAX_DATA_DIR", "a&b", "without ? and &"),
        ("SEALWAX_HTTP", "8025", "host:port"),
        ("SEALWAX_HTTP", "::1:8025", "host:port"),
        ("SEALWAX_HTTP", "localhost:99999", "host:port"),
        ("SEALWAX_SMTP_ROUTES", "example.test", "pattern=host:port"),
        ("SEALWAX_RETRY_DELAYS", "1m,,5m", "1m,5m,1h"),
        ("SEALWAX_DRAIN", "60", "a duration from 1s to 1h"),
        ("SEALWAX_GIVE_UP_MARKETING", "8d", "from 1m to 7d"),
        ("SEALWAX_CONNECTIONS_PER_SITE", "0", "from 1 to 1000"),
        ("SEALWAX_RATE_PER_SITE", "0/s", "100/s or 5/m"),
        ("SEALWAX_LARGE_DOMAINS", "gmail.com", "example.com=8"),
        ("SEALWAX_LARGE_DOMAINS", "gmail.com=1", "2 to 500"),
        ("SEALWAX_LARGE_DOMAINS", "a#b.test=2", "example.com=8"),
        ("SEALWAX_REDIS_PREFIX", "a b", "letters"),
        ("SEALWAX_REDIS_TIMEOUT", "6s", "from 1s to 5s"),
        ("SEALWAX_SEGMENT_BYTES", "128", "128MB"),
        ("SEALWAX_EHLO_NAME", "mail example", "host name"),
        ("SEALWAX_LOG_FORMAT", "xml", "text, json"),
    ],
)
def test_a_bad_value_is_refused_with_its_name_itself_and_the_form(name, text, form):
    with pytest.raises(ConfigurationError) as refused:
        load({name: text})
    assert name in str(refused.value)
    assert repr(text) in str(refused.value)
    assert form in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "clickhouse://u:geheim@host/sealwax",
        "http://u:geheim@:8123/sealwax",
        "http://u:geheim@host:high/sealwax",
        "https://u:geheim@host/a/b",
        "https://u:geheim@host/a%60b",
    ],
)
def test_a_url_of_clickhouse_that_cannot_be_is_refused_and_not_shown(url):
    with pytest.raises(ConfigurationError, match="CLICKHOUSE_URL") as refused:
        load({"CLICKHOUSE_URL": url})
    assert "geheim" not in str(refused.value)


@pytest.mark.parametrize(
    "url", ["", "http://host", "https://u:p%40@host:8443/events?ca_cert=/etc/ssl/ca.pem"]
)
def test_a_url_of_clickhouse_is_taken_as_it_is(url):
    assert load({"CLICKHOUSE_URL": url}).analytics.url == url


def test_an_unknown_variable_is_a_warning_that_names_the_nearest(monkeypatch):
    monkeypatch.setenv("SEALWAX_RETRY_DELAY", "1m")
    settings = load()
    (warning,) = warnings_of(settings)
    assert "SEALWAX_RETRY_DELAY " in warning
    assert "SEALWAX_RETRY_DELAYS" in warning


def test_children_get_the_same_settings_and_no_second_warning(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SEALWAX_RETRY_DELAY", "1m")
    given = {"SEALWAX_SMTP_PORT": "2525"}
    environment = child_environment(given, load(given))
    assert environment["SEALWAX_SMTP_PORT"] == "2525"
    assert environment["SEALWAX_DATA_DIR"] == str(tmp_path / "sealwax-data")
    assert "SEALWAX_RETRY_DELAY" not in environment


def test_the_key_of_commands_is_the_operators_unless_one_is_set(tmp_path):
    folder = {"SEALWAX_DATA_DIR": str(tmp_path)}
    assert load(folder).api_key is None
    (tmp_path / "operator.key").write_text("sw_a_b\n")
    assert load(folder).api_key == "sw_a_b"
    assert load({**folder, "SEALWAX_API_KEY": "sw_c_d"}).api_key == "sw_c_d"


def test_the_settings_page_is_current():
    assert (ROOT / "docs" / "settings.md").read_text() == manual()
