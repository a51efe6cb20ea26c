"""The dataflow graphs: one a file, each runnable by `python -m bytewax.run flows.NAME`."""
