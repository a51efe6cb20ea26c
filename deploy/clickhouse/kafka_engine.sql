-- Another way into ClickHouse: its own Kafka engine reads the topics that carry rows of events.
--
-- For who wants rows in a ClickHouse without `flows.analytics`, or in a second one beside it. The
-- engine delivers at least once. So rows go into a table that keeps one of each (topic, partition,
-- offset), and everything is counted from that: `events` and `stats_hourly` here answer the API's
-- and Grafana's queries as the tables of sealwax do (CLICKHOUSE_URL=http://.../sealwax_kafka for
-- the API).
--
--   clickhouse-client --queries-file deploy/clickhouse/kafka_engine.sql
--
-- Put your brokers into kafka_broker_list. The group is `clickhouse`; what deletes records does not
-- know it, so it must not fall behind by SEALWAX_EVENTS_KEPT (8 days). A record that is no row is
-- skipped here; `flows.analytics` would put it into email.dead.
--
-- A process that lost its partitions may append a little more, too late, and nobody takes it for
-- true: each owner begins with a fence, a record that names it, and each record names its writer.
-- So fences are kept too, and what an older owner wrote behind one is left out of all that is read.

CREATE DATABASE IF NOT EXISTS sealwax_kafka ENGINE = Atomic;

-- Messages as they are. Nobody selects from it: reading takes them away.
CREATE TABLE IF NOT EXISTS sealwax_kafka.queue (value String)
ENGINE = Kafka
SETTINGS kafka_broker_list = 'kafka:29092',
  kafka_topic_list = 'email.events,email.dead,email.retry.transactional.10s,email.retry.transactional.1m,email.retry.transactional.5m,email.retry.transactional.15m,email.retry.transactional.1h,email.retry.marketing.10s,email.retry.marketing.1m,email.retry.marketing.5m,email.retry.marketing.15m,email.retry.marketing.1h',
  kafka_group_name = 'clickhouse',
  kafka_format = 'RawBLOB',
  kafka_num_consumers = 1,
  kafka_max_block_size = 65536;

-- A record that comes twice is the same bytes, so it has the same key, and the same partition.
CREATE TABLE IF NOT EXISTS sealwax_kafka.received (
  tenant LowCardinality(String),
  email_id UUID,
  at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
  accepted_at DateTime64(3, 'UTC') MATERIALIZED UUIDv7ToDateTime(email_id, 'UTC') CODEC(Delta, ZSTD(1)),
  kind LowCardinality(String),
  stream LowCardinality(String) DEFAULT 'transactional',
  rcpt String CODEC(ZSTD(1)),
  rcpt_hash UInt64 MATERIALIZED sipHash64(lower(rcpt)) CODEC(ZSTD(1)),
  rcpt_index UInt16,
  rcpts UInt16,
  rcpt_domain LowCardinality(String),
  site LowCardinality(String),
  provider LowCardinality(String),
  pool LowCardinality(String),
  source_ip LowCardinality(String),
  mx_host LowCardinality(String),
  template LowCardinality(String),
  tags Map(LowCardinality(String), String) CODEC(ZSTD(1)),
  attempt UInt8,
  command LowCardinality(String),
  code UInt16 CODEC(ZSTD(1)),
  status LowCardinality(String),
  class LowCardinality(String),
  reply String CODEC(ZSTD(1)),
  rule LowCardinality(String),
  rule_version UInt16,
  recipient_fate LowCardinality(String),
  path_fate LowCardinality(String),
  alert Bool,
  in_doubt Bool,
  dkim_domain LowCardinality(String),
  tls LowCardinality(String),
  waits Nested(cause LowCardinality(String), rule LowCardinality(String), ms UInt32),
  limits Map(LowCardinality(String), String) CODEC(ZSTD(1)),
  elapsed_ms UInt32 CODEC(ZSTD(1)),
  smtp_ms UInt32 CODEC(ZSTD(1)),
  connect_ms UInt32 CODEC(ZSTD(1)),
  dot_ms UInt32 CODEC(ZSTD(1)),
  size UInt32 CODEC(ZSTD(1)),
  detail String CODEC(ZSTD(1)),
  machine UInt8,
  url String CODEC(ZSTD(1)),
  agent LowCardinality(String),
  trace_id String CODEC(ZSTD(1)),
  request_topic LowCardinality(String),
  request_partition UInt16,
  request_offset UInt64 CODEC(ZSTD(1)),
  _topic LowCardinality(String),
  _partition UInt16,
  _offset UInt64 CODEC(Delta, ZSTD(1)),
  writer LowCardinality(String),
  incarnation UInt64 CODEC(ZSTD(1)),
  stored_at DateTime('UTC') DEFAULT now(),
  INDEX ix_rcpt rcpt_hash TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX ix_at at TYPE minmax GRANULARITY 1,
  INDEX ix_stored stored_at TYPE minmax GRANULARITY 1
) ENGINE = ReplacingMergeTree PARTITION BY toMonday(at)
ORDER BY (tenant, accepted_at, email_id, at, _topic, _partition, _offset)
TTL toDateTime(at) + INTERVAL 90 DAY DELETE
SETTINGS ttl_only_drop_parts = 1;

-- A flow and a number of its partitions own `writer`; incarnations only rise.
CREATE TABLE IF NOT EXISTS sealwax_kafka.fences (
  _topic LowCardinality(String),
  _partition UInt16,
  writer LowCardinality(String),
  _offset UInt64,
  incarnation UInt64,
  stored_at DateTime('UTC') DEFAULT now()
) ENGINE = ReplacingMergeTree ORDER BY (_topic, _partition, writer, _offset)
TTL stored_at + INTERVAL 180 DAY DELETE;

CREATE MATERIALIZED VIEW IF NOT EXISTS sealwax_kafka.fences_mv TO sealwax_kafka.fences AS
WITH splitByChar('/', _headers.value[indexOf(_headers.name, 'fence')]) AS named
SELECT _topic, toUInt16(_partition) AS _partition, concat(named[1], '/', named[2]) AS writer,
  _offset, toUInt64OrZero(named[3]) AS incarnation
FROM sealwax_kafka.queue
WHERE value = '' AND _key = '' AND length(named) = 3;

-- Where the row is: the value of email.events itself; in email.retry.* behind a version byte (1) and
-- its length, a varint; in email.dead a header. A record without one has no row.
CREATE MATERIALIZED VIEW IF NOT EXISTS sealwax_kafka.received_mv TO sealwax_kafka.received AS
WITH
  reinterpretAsUInt8(substring(value, 2, 1)) AS low,
  reinterpretAsUInt8(substring(value, 3, 1)) AS middle,
  reinterpretAsUInt8(substring(value, 4, 1)) AS high,
  multiIf(low < 128, 1, middle < 128, 2, 3) AS width,
  bitAnd(low, 127) + if(width > 1, 128 * bitAnd(middle, 127), 0) + if(width > 2, 16384 * high, 0)
    AS length,
  multiIf(
    _topic = 'email.events', value,
    _topic = 'email.dead', _headers.value[indexOf(_headers.name, 'row')],
    startsWith(value, '\x01'), substring(value, 2 + width, length),
    ''
  ) AS json,
  JSONExtract(json, $$Tuple(
    tenant String, email_id UUID, at String, kind String, stream String, rcpt String, rcpt_index
    UInt16, rcpts UInt16, rcpt_domain String, site String, provider String, pool String, source_ip
    String, mx_host String, template String, tags Map(String, String), attempt UInt8, command
    String, code UInt16, status String, class String, reply String, rule String, rule_version
    UInt16, recipient_fate String, path_fate String, alert Bool, in_doubt Bool, dkim_domain String,
    tls String, `waits.cause` Array(String), `waits.rule` Array(String), `waits.ms` Array(UInt32),
    limits Map(String, String), elapsed_ms UInt32, smtp_ms UInt32, connect_ms UInt32, dot_ms UInt32, size UInt32, detail String, machine
    UInt8, url String, agent String, trace_id String, request_topic String, request_partition
    UInt16, request_offset UInt64
  )$$) AS row,
  splitByChar('/', _headers.value[indexOf(_headers.name, 'writer')]) AS named
SELECT
  row.tenant AS tenant, row.email_id AS email_id,
  assumeNotNull(parseDateTime64BestEffortOrNull(row.at, 3, 'UTC')) AS at, row.kind AS kind,
  if(row.stream = '', 'transactional', row.stream) AS stream, row.rcpt AS rcpt, row.rcpt_index AS
  rcpt_index, row.rcpts AS rcpts, row.rcpt_domain AS rcpt_domain, row.site AS site, row.provider AS
  provider, row.pool AS pool, row.source_ip AS source_ip, row.mx_host AS mx_host, row.template AS
  template, row.tags AS tags, row.attempt AS attempt, row.command AS command, row.code AS code,
  row.status AS status, row.class AS class, row.reply AS reply, row.rule AS rule, row.rule_version
  AS rule_version, row.recipient_fate AS recipient_fate, row.path_fate AS path_fate, row.alert AS
  alert, row.in_doubt AS in_doubt, row.dkim_domain AS dkim_domain, row.tls AS tls, tupleElement(row, 'waits.cause') AS `waits.cause`, tupleElement(row, 'waits.rule')
  AS `waits.rule`, tupleElement(row, 'waits.ms') AS `waits.ms`, row.limits AS limits, row.elapsed_ms
  AS elapsed_ms, row.smtp_ms AS smtp_ms, row.connect_ms AS connect_ms, row.dot_ms AS dot_ms,
  row.size AS size, row.detail AS detail, row.machine AS machine, row.url AS url, row.agent AS
  agent, row.trace_id AS trace_id, row.request_topic AS request_topic, row.request_partition AS
  request_partition, row.request_offset AS request_offset,
  _topic, toUInt16(_partition) AS _partition, _offset,
  if(length(named) = 3, concat(named[1], '/', named[2]), '') AS writer,
  toUInt64OrZero(named[3]) AS incarnation
FROM sealwax_kafka.queue
WHERE isValidJSON(json) AND row.tenant != '' AND at > '2020-01-01';

-- Each record once, also before a merge has removed the others, and none that came too late.
CREATE VIEW IF NOT EXISTS sealwax_kafka.events AS
SELECT r.* EXCEPT (stored_at, writer, incarnation)
FROM (SELECT *, accepted_at, rcpt_hash FROM sealwax_kafka.received FINAL) AS r
ASOF LEFT JOIN (
  SELECT _topic, _partition, writer, _offset, max(incarnation) OVER (
    PARTITION BY _topic, _partition, writer ORDER BY _offset
  ) AS newest
  FROM sealwax_kafka.fences FINAL
) AS f ON f._topic = r._topic AND f._partition = r._partition AND f.writer = r.writer
  AND f._offset < r._offset
WHERE f.newest <= r.incarnation;

-- The roll-up is computed from whole hours, anew for every hour that got rows: sums of what arrives
-- would count a record that comes twice. An hour has the count that was computed last.
CREATE TABLE IF NOT EXISTS sealwax_kafka.computed (
  tenant LowCardinality(String),
  hour DateTime('UTC'),
  stream LowCardinality(String),
  provider LowCardinality(String),
  kind LowCardinality(String),
  machine UInt8,
  n UInt64,
  emails AggregateFunction(uniqCombined64(12), UUID),
  latency AggregateFunction(quantilesTDigest(0.5, 0.95, 0.99), UInt32),
  computed_at DateTime64(3, 'UTC')
) ENGINE = ReplacingMergeTree(computed_at) PARTITION BY toMonday(hour)
ORDER BY (tenant, hour, stream, provider, kind, machine)
TTL hour + INTERVAL 400 DAY DELETE
SETTINGS ttl_only_drop_parts = 1;

CREATE MATERIALIZED VIEW IF NOT EXISTS sealwax_kafka.computed_mv REFRESH EVERY 1 MINUTE APPEND
TO sealwax_kafka.computed AS
SELECT tenant, toStartOfHour(at) AS hour, stream, provider, kind, machine, count() AS n,
  uniqCombined64IfState(12)(email_id, kind IN ('opened', 'clicked')) AS emails,
  quantilesTDigestIfState(0.5, 0.95, 0.99)(elapsed_ms, kind = 'delivered') AS latency,
  now64(3) AS computed_at
FROM sealwax_kafka.events
WHERE toStartOfHour(at) IN (
  -- Refreshes may fail for an hour, and the next one makes up for it.
  SELECT DISTINCT toStartOfHour(at) FROM sealwax_kafka.received
  WHERE stored_at > now() - INTERVAL 1 HOUR
)
GROUP BY tenant, hour, stream, provider, kind, machine;

CREATE VIEW IF NOT EXISTS sealwax_kafka.stats_hourly AS
SELECT * EXCEPT (computed_at) FROM sealwax_kafka.computed FINAL;
