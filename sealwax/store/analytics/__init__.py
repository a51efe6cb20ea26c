"""Events in ClickHouse: schema, queries, and who answers them."""
