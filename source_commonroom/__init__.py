"""Airbyte source connector for Common Room (https://www.commonroom.io)."""

import gc

# To look for garbage while airbyte-cdk is imported takes a tenth of the CPU of a start, and finds none.
_COLLECTS = gc.isenabled()
gc.disable()

from source_commonroom.source import SourceCommonroom  # noqa: E402

if _COLLECTS:
    gc.enable()

__all__ = ["SourceCommonroom"]
