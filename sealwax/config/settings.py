"""All settings of a process, as values."""

import shutil
import socket
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connectors.log import KafkaSettings, LogSettings
from sealwax.config.kinds import Address
from sealwax.config.properties import read_properties
from sealwax.model.topics import Stream
from sealwax.policy.retry import RetrySettings
from sealwax.policy.shaping.shape import Scope, What
from sealwax.policy.sharing import UNUSED_MS
from sealwax.smtp.route import Routes
from sealwax.smtp.settings import SmtpSettings
from sealwax.store.analytics.opening import AnalyticsSettings

if TYPE_CHECKING:
    from sealwax.policy.shaping.rules import ShapingRules
    from sealwax.store.limits.redis import RedisSettings
    from sealwax.store.relational import RelationalSettings

_LEAST_FREE_BYTES = 256 << 20
_LEAST_FREE_SHARE = 0.05
# What all appends may take until retention has looked again, and more.
_BEFORE_REFUSING_BYTES = 256 << 20
_PARTITIONS = 4
_DNS_PORT = 53
_PARTITIONS_OF_KAFKA = 12
# How much longer than for the lock of the log the API waits for the disk to answer.
_FOR_THE_DISK = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Settings:
    """What operators set.

    Attributes:
        values: Every setting of the table by its key, read.
        unknown: Variables that look like ours and are not.
    """

    values: dict[str, Any]
    unknown: tuple[str, ...] = ()

    @property
    def data_dir(self) -> Path:
        """The data directory, absolute."""
        path: Path = self.values["data_dir"]
        return path

    @property
    def http(self) -> Address:
        """Where the API listens."""
        address: Address = self.values["http"]
        return address

    @property
    def metrics(self) -> tuple[str, int] | None:
        """Host and port where dispatch serves its figures to Prometheus."""
        address: Address | None = self.values["metrics"]
        return (address.host, address.port) if address else None

    @property
    def routes(self) -> Routes:
        """Where mail goes instead of to MX hosts."""
        routes: Routes = self.values["smtp_routes"]
        return routes

    @property
    def retry(self) -> RetrySettings:
        """The retry schedule."""
        return RetrySettings(tuple(_ms(delay) for delay in self.values["retry_delays"]))

    def give_up_after_ms(self, stream: Stream) -> int:
        """How long mail of a stream is tried where its send says nothing."""
        return _ms(self.values[f"give_up_{stream}"])

    @property
    def idempotency_keys_kept_ms(self) -> int:
        """How long an Idempotency-Key is kept."""
        return _ms(self.values["idempotency_keys_kept"])

    @property
    def trust_tenant_header(self) -> bool:
        """Whether records of producers may name their tenant without an API key."""
        return bool(self.values["trust_tenant_header"])

    @property
    def bodies_kept_ms(self) -> int:
        """How long requests stay in the log at least, while there is room."""
        return _ms(self.values["bodies_kept"])

    @property
    def events_kept_ms(self) -> int:
        """How long events stay in the log at least."""
        return _ms(self.values["events_kept"])

    @property
    def dead_kept_ms(self) -> int:
        """How long dead records stay in the log at least."""
        return _ms(self.values["dead_kept"])

    @property
    def shaping_file(self) -> Path | None:
        """The operator's file with limits."""
        file: Path | None = self.values["shaping"]
        return file

    @property
    def shaping(self) -> "ShapingRules":
        """The limits of sites, providers and domains.

        Raises:
            RuleError: The operator's file is not as it has to be.
        """
        # Imported when asked for: only dispatch and commands read the files.
        from sealwax.policy.shaping.builtin import shaping  # noqa: PLC0415
        from sealwax.policy.shaping.rule import Figure  # noqa: PLC0415

        source = "settings of this installation"
        set_here = [
            Figure(Scope.SITE, what, False, self.values[name], source)
            for what, name in (
                (What.CONNECTIONS, "connections_per_site"),
                (What.RATE, "rate_per_site"),
            )
            if self.values[name]
        ]
        return shaping(self.shaping_file, set_here)

    @property
    def large_domains(self) -> Mapping[str, int]:
        """How many keys the mail of a domain has, where it has more than one."""
        keys: Mapping[str, int] = self.values["large_domains"]
        return keys

    @property
    def redis(self) -> "RedisSettings | None":
        """Where limits are shared; None where this process keeps them for itself."""
        if not self.values["redis_url"]:
            return None
        # Imported when asked for: only dispatch needs it.
        from sealwax.store.limits.redis import RedisSettings  # noqa: PLC0415

        return RedisSettings(
            url=self.values["redis_url"],
            timeout=self.values["redis_timeout"],
            prefix=self.values["redis_prefix"],
        )

    @property
    def smtp(self) -> SmtpSettings:
        """The SMTP client. Asks the system for the host's name where none is set.

        Where limits are shared no session is kept for long without a message: it holds a permit,
        and what other processes wait for is not known here.
        """
        idle_timeout = self._duration("smtp_idle_timeout")
        if self.redis is not None:
            idle_timeout = min(idle_timeout, timedelta(milliseconds=UNUSED_MS))
        nameserver: Address | None = self.values["nameserver"]
        return SmtpSettings(
            nameservers=(nameserver.host,) if nameserver else (),
            nameserver_port=nameserver.port if nameserver else _DNS_PORT,
            ehlo_name=self.values["ehlo_name"] or socket.getfqdn(),
            port=self.values["smtp_port"],
            blocked=self.values["blocked_mx"],
            room_timeout=self.values["smtp_room_timeout"],
            connect_timeout=self.values["smtp_connect_timeout"],
            banner_timeout=self.values["smtp_banner_timeout"],
            tls_timeout=self.values["smtp_tls_timeout"],
            command_timeout=self.values["smtp_command_timeout"],
            data_timeout=self.values["smtp_data_timeout"],
            block_timeout=self.values["smtp_block_timeout"],
            dot_timeout=self.values["smtp_dot_timeout"],
            quit_timeout=self.values["smtp_quit_timeout"],
            idle_timeout=idle_timeout,
            drain=self.drain,
            dns_timeout=self.values["dns_timeout"],
            lease_after=self.values["lease_after"],
        )

    @property
    def drain(self) -> timedelta:
        """How long a stop waits for work in flight."""
        drain: timedelta = self.values["drain"]
        return drain

    @property
    def log(self) -> LogSettings | KafkaSettings:
        """The log as flows open it: they may use the last of the disk (R18), and wait for Kafka."""
        partitions: int | None = self.values["partitions"]
        bootstrap: str = self.values["kafka_bootstrap_servers"]
        if bootstrap:
            return KafkaSettings(
                bootstrap,
                self.values["kafka_namespace"],
                client=read_properties(self.values["kafka_config"]),
                partitions=partitions or _PARTITIONS_OF_KAFKA,
                replication=self.values["kafka_replication"],
                compression=self.values["kafka_compression"],
                timeout=self.values["log_timeout"],
            )
        return self.embedded_log

    @property
    def embedded_log(self) -> LogSettings:
        """The log of the data directory, whether it is the one in use or not."""
        return LogSettings(
            directory=self.data_dir / "log",
            partitions=self.values["partitions"] or _PARTITIONS,
            segment_bytes=self.values["segment_bytes"],
            lock_timeout=self.values["log_timeout"],
        )

    @property
    def accepting_log(self) -> LogSettings | KafkaSettings:
        """The log as the API opens it: it refuses mail while the disk is nearly full (R18)."""
        log = self.log
        if isinstance(log, KafkaSettings):
            return replace(log, gives_up=True)
        return replace(log, min_free_bytes=self.min_free_bytes)

    @property
    def has_log(self) -> bool:
        """Whether there is a log to look into: one on this machine is made by the first start."""
        log = self.log
        return isinstance(log, KafkaSettings) or log.directory.is_dir()

    @property
    def session(self) -> timedelta:
        """How long other processes of a flow wait for one that is silent."""
        return self._duration("kafka_session_timeout")

    @property
    def min_free_bytes(self) -> int:
        """Room on the disk of the data directory below which no mail is accepted."""
        least: int | None = self.values["min_free"]
        if least is not None:
            return least
        there = next(p for p in (self.data_dir, *self.data_dir.parents) if p.exists())
        return max(_LEAST_FREE_BYTES, int(shutil.disk_usage(there).total * _LEAST_FREE_SHARE))

    def disk_is_low(self) -> bool:
        """Whether no mail is accepted any more."""
        return shutil.disk_usage(self.data_dir).free < self.min_free_bytes

    def bodies_give_way(self) -> bool:
        """Whether requests that were rendered make room, before mail is refused.

        Never on Kafka: how full the disks of brokers are is not known here.
        """
        if isinstance(self.log, KafkaSettings):
            return False
        free = shutil.disk_usage(self.data_dir).free
        return free < self.min_free_bytes + _BEFORE_REFUSING_BYTES

    @property
    def relational(self) -> "RelationalSettings":
        """The relational store."""
        # Imported when asked for: it brings SQLAlchemy, which commands over HTTP do not need.
        from sealwax.store.relational import RelationalSettings, sqlite_url  # noqa: PLC0415

        return RelationalSettings(
            url=self.values["database_url"] or sqlite_url(self.data_dir / "sealwax.db"),
            master_key_file=self.values["master_key_file"] or self.data_dir / "master.key",
            sending_host=self.values["sending_host"],
            timeout=self.values["database_timeout"],
        )

    @property
    def operator_key_file(self) -> Path:
        """Where `up` keeps the key that local commands use."""
        return self.data_dir / "operator.key"

    @property
    def api_key(self) -> str | None:
        """The key that commands use, or None where it is not set and `up` never ran."""
        if self.values["api_key"]:
            return str(self.values["api_key"])
        try:
            return self.operator_key_file.read_text().strip() or None
        except FileNotFoundError:
            return None

    @property
    def analytics(self) -> AnalyticsSettings:
        """Where events are stored."""
        return AnalyticsSettings(
            url=self.values["clickhouse_url"],
            directory=self.data_dir / "clickhouse",
            socket=self.data_dir / "run" / "analytics.sock",
            timeout=self.values["analytics_timeout"],
            query_timeout=self.values["analytics_query_timeout"],
            insert_timeout=self.values["analytics_insert_timeout"],
            repair_timeout=self.values["analytics_repair_timeout"],
        )

    @property
    def append_timeout(self) -> timedelta:
        """How long the API waits for an append: longer than the log itself for its lock."""
        return self._duration("log_timeout") + _FOR_THE_DISK

    @property
    def http_header_timeout(self) -> timedelta:
        """How long the header of a request may take to arrive."""
        return self._duration("http_header_timeout")

    @property
    def http_body_timeout(self) -> timedelta:
        """How long the body of a request may take to arrive."""
        return self._duration("http_body_timeout")

    @property
    def client_timeout(self) -> timedelta:
        """How long commands wait for the API."""
        return self._duration("client_timeout")

    @property
    def log_level(self) -> str:
        """Lowest level that is logged."""
        return str(self.values["log_level"])

    @property
    def log_format(self) -> str:
        """`text` or `json`."""
        return str(self.values["log_format"])

    def _duration(self, key: str) -> timedelta:
        value: timedelta = self.values[key]
        return value


def _ms(duration: timedelta) -> int:
    return duration // timedelta(milliseconds=1)
