"""How pages leave: partitions of streams, and the messages that are written."""
