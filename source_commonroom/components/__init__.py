"""The parts of the manifest that YAML cannot express, each with the reason why.

The manifest refers to them as ``source_declarative_manifest.components.X``, so that it runs unchanged in this package,
under ``source-declarative-manifest`` and in a manifest-only image. Two rules of the CDK's factory bind these modules:
no ``from __future__ import annotations`` (the factory reads real annotations), and only annotated class fields reach a
component's constructor.
"""

from source_commonroom.components.errors import PageErrorHandler
from source_commonroom.components.retries import PatientRequester
from source_commonroom.components.routers import ChosenSegments, EachOf, OneObjectType, SegmentMembers
from source_commonroom.components.shape import ColumnsSchemaLoader, CustomFieldDefinitions, RecordShape
from source_commonroom.components.walk import PageRetriever

__all__ = [
    "ChosenSegments",
    "ColumnsSchemaLoader",
    "CustomFieldDefinitions",
    "EachOf",
    "OneObjectType",
    "PageErrorHandler",
    "PageRetriever",
    "PatientRequester",
    "RecordShape",
    "SegmentMembers",
]
