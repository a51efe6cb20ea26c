"""The settings of services that take the place of what is in the data directory."""

from sealwax.config import kinds
from sealwax.config.setting import Setting

SERVICES = (
    Setting(
        "KAFKA_BOOTSTRAP_SERVERS",
        kinds.TEXT,
        "",
        "Kafka brokers, `host:port,host:port`: the topics are there.",
        computed="topics are in the data directory",
    ),
    Setting(
        "SEALWAX_KAFKA_CONFIG",
        kinds.FILE,
        "",
        "File of further properties for Kafka's clients, a `name=value` a line, as librdkafka "
        "names them: `security.protocol`, `sasl.mechanism`, `sasl.username`, `ssl.ca.location`, "
        "... What sealwax's promises depend on cannot be set.",
        computed="none",
    ),
    Setting(
        "SEALWAX_KAFKA_NAMESPACE",
        kinds.NAMESPACE,
        "",
        "Stands before the names of topics and groups, where installations share a cluster.",
        computed="none",
    ),
    Setting(
        "SEALWAX_KAFKA_COMPRESSION",
        kinds.word("lz4", "zstd"),
        "lz4",
        "How records are compressed on their way to Kafka and there.",
    ),
    Setting(
        "SEALWAX_KAFKA_REPLICATION",
        kinds.whole(1, 32, optional=True),
        "",
        "Copies that each topic has at least; a start refuses fewer.",
        computed="the cluster's `default.replication.factor`",
    ),
    Setting(
        "SEALWAX_KAFKA_SESSION_TIMEOUT",
        kinds.duration("6s", "5m"),
        "10s",
        "How long the others of a flow wait for a process that is silent before they take its "
        "partitions. It sends nothing from 3 s before.",
    ),
    Setting(
        "SEALWAX_MASTER_KEY_FILE",
        kinds.FILE,
        "",
        "File of the key that seals secrets; all processes of an installation need the same one. "
        "Made where it is missing.",
        computed="`master.key` in the data directory",
    ),
    Setting(
        "DATABASE_URL",
        kinds.TEXT,
        "",
        "Where accounts, keys, domains, templates and claims are: `sqlite:////path/to/file`, or "
        "`postgresql://user:password@host/database?sslmode=verify-full` with the parameters of "
        "libpq.",
        computed="`sealwax.db` in the data directory",
        secret=True,
    ),
    Setting(
        "CLICKHOUSE_URL",
        kinds.CLICKHOUSE_URL,
        "",
        "The ClickHouse server that keeps events, in the database named (`sealwax` without one). "
        "Parameters behind a `?` are those of clickhouse-connect, such as `ca_cert=/path`.",
        computed="ClickHouse inside the analytics process, in the data directory",
        secret=True,
    ),
    Setting(
        "REDIS_URL",
        kinds.REDIS_URL,
        "",
        "Redis or Valkey server that counts the limits of sites, for several processes that "
        "dispatch: `redis://user:password@host:6379/0`, or `rediss://` for TLS.",
        computed="the process counts for itself",
        secret=True,
    ),
)
