"""Policy adapted to Bytewax state, one operator a file."""
