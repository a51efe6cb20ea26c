ALTER TABLE events ADD COLUMN IF NOT EXISTS recipient_fate LowCardinality(String) AFTER rule_version, ADD COLUMN IF NOT EXISTS path_fate LowCardinality(String) AFTER recipient_fate;
