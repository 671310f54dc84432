"""Airbyte source connector for Common Room (https://www.commonroom.io)."""

from source_commonroom.source import SourceCommonroom

__all__ = ["SourceCommonroom"]
