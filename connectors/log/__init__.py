"""The log port, its adapters, and what every flow shares."""
