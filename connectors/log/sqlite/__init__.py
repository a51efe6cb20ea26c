"""The embedded log (R17): a topic is a folder of SQLite segments, written by group commit."""
