"""Sources and sinks of the flows, one system a file."""
