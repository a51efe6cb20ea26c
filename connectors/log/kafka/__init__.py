"""The adapter of the log port for Apache Kafka."""
