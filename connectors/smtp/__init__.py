"""The SMTP engine as a sink, and its replies as a source."""
