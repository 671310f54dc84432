"""Examples of what to build around the connector."""
