"""Events into ClickHouse, each exactly once (R10)."""
