-- The tables of sealwax on a ClickHouse cluster, replicated and sharded.
--
-- Made from sealwax/store/analytics/schema by `make docs`. The first time run all of it. Before a
-- new version of sealwax, which refuses tables that lack something, run what stands below the last
-- name that schema_version has.
--
--   clickhouse-client --queries-file deploy/clickhouse/cluster.sql
--
-- Each node needs the macros {cluster}, {shard} and {replica}, a cluster of the name {cluster} in
-- remote_servers with internal_replication, and Keeper. Another database than `sealwax` is put in
-- its place here. CLICKHOUSE_URL names one node, or a balancer before all of them.
--
-- The rows of an email are on one shard, by its id: a timeline is whole on it. The roll-up is on
-- the shard of the events that it counts, and replicated with them.

CREATE DATABASE IF NOT EXISTS sealwax ON CLUSTER '{cluster}' ENGINE = Atomic;

CREATE TABLE IF NOT EXISTS sealwax.schema_version ON CLUSTER '{cluster}' (version UInt32, name String, applied_at DateTime DEFAULT now()) ENGINE = ReplicatedMergeTree('/clickhouse/tables/{cluster}/all/{database}/{table}', '{shard}-{replica}') ORDER BY version;

CREATE TABLE IF NOT EXISTS sealwax.events_local ON CLUSTER '{cluster}' (
  tenant LowCardinality(String),
  email_id UUID,
  at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
  accepted_at DateTime64(3, 'UTC') MATERIALIZED UUIDv7ToDateTime(email_id, 'UTC') CODEC(Delta, ZSTD(1)),
  kind Enum8('accepted' = 1, 'rendered' = 2, 'waited' = 3, 'attempted' = 4, 'deferred' = 5, 'delivered' = 6, 'bounced' = 7, 'expired' = 8, 'suppressed' = 9, 'opened' = 10, 'clicked' = 11, 'complained' = 12, 'unsubscribed' = 13, 'rejected' = 14, 'scheduled' = 15, 'canceled' = 16, 'deduplicated' = 17),
  stream Enum8('transactional' = 1, 'marketing' = 2) DEFAULT 'transactional',
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
  INDEX ix_rcpt rcpt_hash TYPE bloom_filter(0.01) GRANULARITY 1,
  INDEX ix_at at TYPE minmax GRANULARITY 1,
  INDEX ix_off _offset TYPE minmax GRANULARITY 1,
  CONSTRAINT at_sane CHECK at > now() - INTERVAL 89 DAY AND at < '2100-01-01',
  CONSTRAINT has_place CHECK _topic != ''
) ENGINE = ReplicatedMergeTree('/clickhouse/tables/{cluster}/{shard}/{database}/{table}', '{replica}') PARTITION BY toMonday(at) ORDER BY (tenant, accepted_at, email_id, at)
TTL toDateTime(at) + INTERVAL 90 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, min_age_to_force_merge_seconds = 3600, min_age_to_force_merge_on_partition_only = 1, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS sealwax.events ON CLUSTER '{cluster}' AS sealwax.events_local
ENGINE = Distributed('{cluster}', 'sealwax', 'events_local', cityHash64(email_id));

CREATE TABLE IF NOT EXISTS sealwax.stats_hourly_local ON CLUSTER '{cluster}' (
  tenant LowCardinality(String),
  hour DateTime('UTC') CODEC(Delta, ZSTD(1)),
  stream Enum8('transactional' = 1, 'marketing' = 2),
  provider LowCardinality(String),
  kind LowCardinality(String),
  machine UInt8,
  n SimpleAggregateFunction(sum, UInt64) CODEC(ZSTD(1)),
  emails AggregateFunction(uniqCombined64(12), UUID),
  latency AggregateFunction(quantilesTDigest(0.5, 0.95, 0.99), UInt32)
) ENGINE = ReplicatedAggregatingMergeTree('/clickhouse/tables/{cluster}/{shard}/{database}/{table}', '{replica}') PARTITION BY toMonday(hour) ORDER BY (tenant, hour, stream, provider, kind, machine)
TTL hour + INTERVAL 400 DAY DELETE
SETTINGS ttl_only_drop_parts = 1, fsync_after_insert = 1, fsync_part_directory = 1;

CREATE TABLE IF NOT EXISTS sealwax.stats_hourly ON CLUSTER '{cluster}' AS sealwax.stats_hourly_local
ENGINE = Distributed('{cluster}', 'sealwax', 'stats_hourly_local', rand());

CREATE MATERIALIZED VIEW IF NOT EXISTS sealwax.stats_hourly_mv ON CLUSTER '{cluster}' TO sealwax.stats_hourly_local AS
SELECT tenant, toStartOfHour(at) AS hour, stream, provider, kind, machine, count() AS n,
  uniqCombined64IfState(12)(email_id, kind IN ('opened', 'clicked')) AS emails,
  quantilesTDigestIfState(0.5, 0.95, 0.99)(elapsed_ms, kind = 'delivered') AS latency
FROM sealwax.events_local GROUP BY tenant, hour, stream, provider, kind, machine;

-- With this, 0001_events.sql is there.
INSERT INTO sealwax.schema_version (version, name) SELECT 1, '0001_events.sql'
WHERE 1 NOT IN (SELECT version FROM sealwax.schema_version);

ALTER TABLE sealwax.events_local ON CLUSTER '{cluster}' MODIFY COLUMN kind Enum8('accepted' = 1, 'rendered' = 2, 'waited' = 3, 'attempted' = 4, 'deferred' = 5, 'delivered' = 6, 'bounced' = 7, 'expired' = 8, 'suppressed' = 9, 'opened' = 10, 'clicked' = 11, 'complained' = 12, 'unsubscribed' = 13, 'rejected' = 14, 'scheduled' = 15, 'canceled' = 16, 'deduplicated' = 17, 'failed' = 18);

ALTER TABLE sealwax.events ON CLUSTER '{cluster}' MODIFY COLUMN kind Enum8('accepted' = 1, 'rendered' = 2, 'waited' = 3, 'attempted' = 4, 'deferred' = 5, 'delivered' = 6, 'bounced' = 7, 'expired' = 8, 'suppressed' = 9, 'opened' = 10, 'clicked' = 11, 'complained' = 12, 'unsubscribed' = 13, 'rejected' = 14, 'scheduled' = 15, 'canceled' = 16, 'deduplicated' = 17, 'failed' = 18);

-- With this, 0002_failed.sql is there.
INSERT INTO sealwax.schema_version (version, name) SELECT 2, '0002_failed.sql'
WHERE 2 NOT IN (SELECT version FROM sealwax.schema_version);

ALTER TABLE sealwax.events_local ON CLUSTER '{cluster}' ADD COLUMN IF NOT EXISTS recipient_fate LowCardinality(String) AFTER rule_version, ADD COLUMN IF NOT EXISTS path_fate LowCardinality(String) AFTER recipient_fate;

ALTER TABLE sealwax.events ON CLUSTER '{cluster}' ADD COLUMN IF NOT EXISTS recipient_fate LowCardinality(String) AFTER rule_version, ADD COLUMN IF NOT EXISTS path_fate LowCardinality(String) AFTER recipient_fate;

-- With this, 0003_reply_fates.sql is there.
INSERT INTO sealwax.schema_version (version, name) SELECT 3, '0003_reply_fates.sql'
WHERE 3 NOT IN (SELECT version FROM sealwax.schema_version);
