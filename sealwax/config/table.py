"""Every setting, declared once.

The variables that are read, the flags of `sealwax up` and docs/settings.md come of it.
"""

from sealwax.config import kinds
from sealwax.config.services import SERVICES
from sealwax.config.setting import Setting
from sealwax.policy.topic_layout import MOST_PARTITIONS

SETTINGS = (
    Setting(
        "SEALWAX_DATA_DIR",
        kinds.PATH,
        "./sealwax-data",
        "Folder of everything that is kept: log, keys, accounts, analytics.",
    ),
    Setting(
        "SEALWAX_HTTP",
        kinds.ADDRESS,
        "127.0.0.1:8025",
        "Where the HTTP API listens, and where commands on this machine look for it.",
    ),
    Setting(
        "SEALWAX_SMTP_ROUTES",
        kinds.ROUTES,
        "",
        "Where mail goes instead of the MX hosts of its domain; the first match wins. The pattern "
        "`*` is a smart host for everything.",
        computed="MX look-up for every domain",
    ),
    Setting(
        "SEALWAX_BLOCKED_MX",
        kinds.BLOCKED,
        "",
        "MX hosts that nothing is sent to. Mail whose hosts are all blocked bounces with status "
        "5.7.1; routes are not looked at.",
        computed="none is blocked",
    ),
    Setting(
        "SEALWAX_RETRY_DELAYS",
        kinds.durations("1s", "7d"),
        "1m,5m,15m,1h",
        "Wait after the first, second, ... failed attempt; the last one repeats.",
    ),
    Setting(
        "SEALWAX_GIVE_UP_TRANSACTIONAL",
        kinds.duration("1m", "7d"),
        "24h",
        "How long transactional mail is tried, where the send does not say `give_up_after`.",
    ),
    Setting(
        "SEALWAX_GIVE_UP_MARKETING",
        kinds.duration("1m", "7d"),
        "24h",
        "How long marketing mail is tried, where the send does not say `give_up_after`.",
    ),
    Setting(
        "SEALWAX_IDEMPOTENCY_KEYS_KEPT",
        kinds.duration("1m", "30d"),
        "24h",
        "How long an Idempotency-Key is kept: a request that is repeated within it is sent once.",
    ),
    Setting(
        "SEALWAX_TRUST_TENANT_HEADER",
        kinds.SWITCH,
        "off",
        "Whether records of producers may name their tenant in the header `tenant` in place of an "
        "API key. Only where the ACLs of the topics say who may produce.",
    ),
    Setting(
        "SEALWAX_CONNECTIONS_PER_SITE",
        kinds.whole(1, 1000, optional=True),
        "",
        "Connections open at a time to one site, where no rule for its provider, the site or the "
        "domain says otherwise: docs/shaping.md.",
        computed="as the rules say: 10, and 20 where the domain is routed",
    ),
    Setting(
        "SEALWAX_RATE_PER_SITE",
        kinds.RATE,
        "",
        "Messages over time to one site, where no rule says otherwise.",
        computed="as the rules say: 100/s, and no limit where the domain is routed",
    ),
    Setting(
        "SEALWAX_SHAPING",
        kinds.FILE,
        "",
        "File with your own limits for providers, sites and domains: docs/shaping.md.",
        computed="the rules that come with sealwax alone",
    ),
    Setting(
        "SEALWAX_LARGE_DOMAINS",
        kinds.LARGE_DOMAINS,
        "",
        "Domains whose mail is spread over so many keys, and so over partitions and over the "
        "processes that dispatch. Their limits stay one.",
        computed="each domain has one key",
    ),
    Setting(
        "SEALWAX_EHLO_NAME",
        kinds.HOST,
        "",
        "What this machine calls itself in EHLO; should be the name that its address resolves to.",
        computed="the machine's full host name",
    ),
    Setting(
        "SEALWAX_SENDING_HOST",
        kinds.HOST,
        "",
        "Host whose addresses send the mail; named in the SPF record that `domains add` prints.",
        computed="the record names the domain's own A and MX hosts",
    ),
    Setting(
        "SEALWAX_SMTP_PORT",
        kinds.whole(1, 65_535),
        "25",
        "Port of MX hosts; routes bring their own.",
    ),
    Setting(
        "SEALWAX_NAMESERVER",
        kinds.OPTIONAL_ADDRESS,
        "",
        "DNS resolver for MX hosts and their addresses.",
        computed="those of the system",
    ),
    Setting(
        "SEALWAX_DNS_TIMEOUT",
        kinds.duration("1s", "2m"),
        "10s",
        "Longest wait for DNS, repeats included. Then the mail is deferred and tried again.",
    ),
    Setting(
        "SEALWAX_SMTP_ROOM_TIMEOUT",
        kinds.duration("1s", "10m"),
        "1m",
        "Longest wait for one of the 1,000 connections of a process where all are in use. Then the "
        "mail is deferred.",
    ),
    Setting(
        "SEALWAX_SMTP_CONNECT_TIMEOUT",
        kinds.duration("1s", "10m"),
        "30s",
        "Longest wait for a TCP connection, per address. Then the next address is tried; after "
        "the last one the mail is deferred.",
    ),
    Setting(
        "SEALWAX_SMTP_BANNER_TIMEOUT",
        kinds.duration("1s", "1h"),
        "5m",
        "Longest wait for the greeting (RFC 5321 4.5.3.2: 5 minutes). Then as for a connection.",
    ),
    Setting(
        "SEALWAX_SMTP_TLS_TIMEOUT",
        kinds.duration("1s", "1h"),
        "2m",
        "Longest wait for the reply to STARTTLS, and again for the handshake. Then the host gets "
        "clear text for ten minutes.",
    ),
    Setting(
        "SEALWAX_SMTP_COMMAND_TIMEOUT",
        kinds.duration("1s", "1h"),
        "5m",
        "Longest wait for the replies to EHLO, MAIL, RCPT and RSET (RFC 5321 4.5.3.2: 5 minutes). "
        "Then the session is cut and the mail deferred.",
    ),
    Setting(
        "SEALWAX_SMTP_DATA_TIMEOUT",
        kinds.duration("1s", "1h"),
        "2m",
        "Longest wait for the reply to DATA (RFC 5321 4.5.3.2: 2 minutes). Then the session is cut "
        "and the mail deferred.",
    ),
    Setting(
        "SEALWAX_SMTP_BLOCK_TIMEOUT",
        kinds.duration("1s", "1h"),
        "3m",
        "Longest wait for 64 KB of a message to leave (RFC 5321 4.5.3.2: 3 minutes). Then the "
        "session is cut and the mail deferred.",
    ),
    Setting(
        "SEALWAX_SMTP_DOT_TIMEOUT",
        kinds.duration("1s", "1h"),
        "10m",
        "Longest wait for the reply to the final dot (RFC 5321 4.5.3.2: 10 minutes). Then the mail "
        "is deferred as `in_doubt`: it may arrive twice. A short one doubles mail.",
    ),
    Setting(
        "SEALWAX_SMTP_QUIT_TIMEOUT",
        kinds.duration("1s", "1m"),
        "2s",
        "How long a peer has to close after QUIT. Then the connection is cut; no mail waits.",
    ),
    Setting(
        "SEALWAX_SMTP_IDLE_TIMEOUT",
        kinds.duration("1s", "10m"),
        "10s",
        "A session without work is closed after it.",
    ),
    Setting(
        "SEALWAX_LOG_TIMEOUT",
        kinds.duration("1s", "10m"),
        "30s",
        "How long an append or a commit waits for another process that holds the topic, or for "
        "Kafka. When another process holds it for longer, nothing is stored: the API answers 503 "
        "`log-away`, a flow tries again without end. When Kafka does not answer, or the disk "
        "itself for 10 s more, the API does not know it: it answers 504 `not-confirmed`, a flow "
        "waits.",
    ),
    Setting(
        "SEALWAX_DATABASE_TIMEOUT",
        kinds.duration("1s", "10m"),
        "15s",
        "How long a call waits for the lock of the database. Then the API answers 503 "
        "`store-away`, a command fails, and render asks again each second; at its start it ends "
        "and is started again.",
    ),
    Setting(
        "SEALWAX_REDIS_TIMEOUT",
        kinds.duration("1s", "5s"),
        "1s",
        "How long a call to Redis may take, and connecting to it. Then dispatch goes on with its "
        "own part of the limits, and tries again twice a second.",
    ),
    Setting(
        "SEALWAX_REDIS_PREFIX",
        kinds.NAME,
        "sealwax",
        "What the keys in Redis begin with. Processes with the same prefix share their limits.",
    ),
    Setting(
        "SEALWAX_ANALYTICS_TIMEOUT",
        kinds.duration("1s", "10m"),
        "15s",
        "How long the API waits for the analytics process, or for the ClickHouse server. Then it "
        "answers 503 `events-away`.",
    ),
    Setting(
        "SEALWAX_ANALYTICS_QUERY_TIMEOUT",
        kinds.duration("1s", "10m"),
        "10s",
        "How long ClickHouse works on a question of the API. Then it stops, and the API answers "
        "503 `events-away`. As long may it wait for others before it. Should be below "
        "`SEALWAX_ANALYTICS_TIMEOUT`.",
    ),
    Setting(
        "SEALWAX_ANALYTICS_INSERT_TIMEOUT",
        kinds.duration("1s", "1h"),
        "5m",
        "How long an insert into ClickHouse may take. Then the analytics process starts anew and "
        "adds what is missing; with a server it only tries again.",
    ),
    Setting(
        "SEALWAX_ANALYTICS_REPAIR_TIMEOUT",
        kinds.duration("1m", "1d"),
        "30m",
        "How long a start of the analytics process may open ClickHouse, and then compare its last "
        "inserts with the log. Then it starts anew. With a server each call has the time of an "
        "insert instead.",
    ),
    Setting(
        "SEALWAX_HTTP_HEADER_TIMEOUT",
        kinds.duration("1s", "10m"),
        "30s",
        "How long the API waits for the header of a request. Then it closes the connection.",
    ),
    Setting(
        "SEALWAX_HTTP_BODY_TIMEOUT",
        kinds.duration("1s", "10m"),
        "60s",
        "How long the API waits for the body of a request. Then it answers 408; nothing was "
        "accepted.",
    ),
    Setting(
        "SEALWAX_CLIENT_TIMEOUT",
        kinds.duration("1s", "10m"),
        "30s",
        "How long `send`, `trace` and `stats` wait for the API. Then they fail; a `send` may have "
        "been accepted.",
        of_up=False,
    ),
    Setting(
        "SEALWAX_DRAIN",
        kinds.duration("1s", "1h"),
        "60s",
        "How long a stop waits for replies to mail that is on the wire; `up` adds 15 s to it.",
    ),
    Setting(
        "SEALWAX_LEASE_AFTER",
        kinds.duration("1s", "10m"),
        "30s",
        "After it a record of its own stands for an attempt that has no result yet, so that "
        "nothing waits for it; after a crash such mail is sent again some minutes later.",
    ),
    Setting(
        "SEALWAX_BODIES_KEPT",
        kinds.duration("1m", "365d"),
        "3d",
        "How long the log keeps requests that are rendered, from when they were accepted: subject, "
        "html and text of an email in the API. Shorter where the disk of the embedded log gets "
        "full.",
    ),
    Setting(
        "SEALWAX_EVENTS_KEPT",
        kinds.duration("8d", "365d"),
        "8d",
        "How long events stay in the log after they are stored in ClickHouse, to store them anew. "
        "Never shorter than mail may be tried, and a day.",
    ),
    Setting(
        "SEALWAX_DEAD_KEPT",
        kinds.duration("1d", "365d"),
        "30d",
        "How long `email.dead` keeps records that could not be processed.",
    ),
    Setting(
        "SEALWAX_PARTITIONS",
        kinds.whole(1, MOST_PARTITIONS, optional=True),
        "",
        "Partitions of each topic; counts when the topics are made, at the first start.",
        computed="4, and 12 on Kafka",
    ),
    Setting(
        "SEALWAX_SEGMENT_BYTES",
        kinds.size("64KB"),
        "128MB",
        "Size of a segment of the embedded log; deletion frees whole segments.",
    ),
    Setting(
        "SEALWAX_MIN_FREE",
        kinds.size("0B", optional=True),
        "",
        "Room on the disk below which the API takes no more mail (503).",
        computed="256 MB or 5 % of the disk, whichever is more",
    ),
    Setting(
        "SEALWAX_METRICS",
        kinds.OPTIONAL_ADDRESS,
        "",
        "Where dispatch serves its figures to Prometheus. Each process needs an address of its "
        "own.",
        computed="not served",
    ),
    Setting(
        "SEALWAX_API_KEY",
        kinds.TEXT,
        "",
        "Key that `send`, `trace` and `stats` use.",
        computed="the one in `operator.key` in the data directory",
        secret=True,
        of_up=False,
    ),
    Setting(
        "SEALWAX_LOG_LEVEL",
        kinds.word("debug", "info", "warning", "error"),
        "info",
        "Which lines are logged.",
    ),
    Setting(
        "SEALWAX_LOG_FORMAT",
        kinds.word("text", "json"),
        "text",
        "`text` for people, `json` for programs; one line per event on standard error.",
    ),
    *SERVICES,
)
