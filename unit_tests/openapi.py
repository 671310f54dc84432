"""What the API documents: the type of each property that an endpoint answers, as the OpenAPI files of v2 and v1 say.

Facts, read in August 2026, in a notation of our own. A path goes down from the body: ``[]`` is every entry of a list,
``.*`` every value of a map whose keys the workspace makes. Behind it stand the type and the format, and a bar between
several. Lists and objects have no lines, but for what they hold. Any property may be null or absent; only of
``meta.nextCursor`` it says whether it is required, because the last page may lack it otherwise.
"""

import re


def within(path: str, properties: dict[str, str]) -> dict[str, str]:
    """Put properties below a path."""
    return {f"{path}.{name}": kind for name, kind in properties.items()}


LOCATION = {
    "city": "string",
    "region": "string",
    "country": "string",
}

CUSTOM_FIELD_VALUE = {
    "type": "string",
    "value": "boolean | integer | number | string | string date-time | string uri",
}

LEAD_SCORE = {
    "scoreId": "integer",
    "score": "number",
    "percentile": "number",
}

NAMED = {
    "id": "string",
    "name": "string",
}

ACTIVITY = {
    "id": "string",
    "type": "string",
    "activityTime": "string date-time",
    "contactId": "string",
    "content": "string",
    "isUserInitiated": "boolean",
    "participantCount": "integer",
    "providerId": "string",
    "providerName": "string",
    "replyCount": "integer",
    "sentiment": "string",
    "subSourceNames[]": "string",
    "url": "string uri",
}

CONTACT = {
    "id": "string",
    "name": "string",
    "avatarUrl": "string uri",
    "fullName": "string",
    **within("location", LOCATION),
    "primaryEmail": "string",
    "phoneNumbers[].type": "string",
    "phoneNumbers[].value": "string",
    "title": "string",
    "companyName": "string",
    "companyWebsite": "string",
    "connectedCustomObjects[].id": "string",
    "connectedCustomObjects[].name": "string",
    "connectedCustomObjects[].objectType": "string",
    **within("customFields.*", CUSTOM_FIELD_VALUE),
    "profiles[].type": "string",
    "profiles[].value": "string",
    "jobHistory[].company": "string",
    "jobHistory[].title": "string",
    "jobHistory[].startDate": "string",
    "jobHistory[].endDate": "string",
    **within("leadScores[]", LEAD_SCORE),
    **within("segments[]", NAMED),
    "recentWebPages[].url": "string",
    "recentWebPages[].numVisits": "integer",
    "recentWebVisitsNumber": "integer",
    **within("recentActivities[]", ACTIVITY),
    "activateMessage.title": "string",
    "activateMessage.message": "string",
    "sparkSummary": "string",
    "recentSparkSummaries[]": "string",
    "tags[]": "string",
    "url": "string uri",
}

ORGANIZATION = {
    "id": "string",
    "name": "string",
    "primaryDomain": "string",
    "about": "string",
    "contactsCount": "integer",
    "employees": "integer",
    "linkedInUrl": "string",
    "profiles[].name": "string",
    "profiles[].type": "string",
    "profiles[].url": "string uri",
    "revenueRangeMax": "integer",
    "revenueRangeMin": "integer",
    "subIndustry": "string",
    **within("location", LOCATION),
    **within("customFields.*", CUSTOM_FIELD_VALUE),
    **within("leadScores[]", LEAD_SCORE),
    "researchResults[].promptId": "string",
    "researchResults[].answer": "string",
    "researchResults[].isPrimaryPrompt": "boolean",
    "recentJobOpenings[].jobTitle": "string",
    "recentJobOpenings[].jobDescription": "string",
    "recentJobOpenings[].url": "string uri",
    "recentJobOpenings[].firstSeenAt": "string",
    "recentJobOpenings[].isClosed": "boolean",
    "recentJobOpenings[].location": "string",
    "recentNews[].title": "string",
    "recentNews[].url": "string uri",
    "recentNews[].publishedAt": "string",
    "recentNews[].category": "string",
    "recentNews[].articleSentence": "string",
    "surgingTopics[]": "string",
    "tags[]": "string",
    **within("topContacts[]", CONTACT),
    "url": "string uri",
}

# The frames of v2: everything at once; in pages; in pages of which the last may say nothing of a next one. COUNTED
# stands beside the frame if the API can count the records.
WHOLE = {"success": "boolean"}
PAGED = {**WHOLE, "meta.nextCursor": "required string"}
PAGED_OPEN = {**WHOLE, "meta.nextCursor": "string"}
COUNTED = {"meta.recordCount": "integer"}

ENDPOINTS = {
    "/v2/contacts": {**PAGED, **COUNTED, **within("data[]", CONTACT)},
    "/v2/organizations": {**PAGED, **COUNTED, **within("data[]", ORGANIZATION)},
    "/v2/activities": {**PAGED, **COUNTED, **within("data[]", ACTIVITY)},
    "/v2/segments": {
        **PAGED_OPEN,
        **COUNTED,
        "data[].id": "string",
        "data[].name": "string",
        "data[].entityType": "string",
        "data[].entityCount": "integer",
        "data[].url": "string uri",
    },
    "/v2/tags": {
        **PAGED,
        "data[].id": "string",
        "data[].name": "string",
        "data[].description": "string",
        "data[].entityTypes[]": "string",
    },
    "/v2/custom-fields": {
        **WHOLE,
        "data[].id": "string",
        "data[].name": "string",
        "data[].entityTypes[]": "string",
        "data[].keyField": "boolean",
        "data[].valueType": "string",
        **within("data[].sampleValues[]", CUSTOM_FIELD_VALUE),
        "data[].description": "string",
        "data[].targetSubTypes[]": "string",
        "data[].providedBy": "string",
        "data[].objectTypeId": "string",
    },
    "/v2/activity-types": {
        **WHOLE,
        "data[].id": "string",
        "data[].displayName": "string",
    },
    "/v2/activity-categories": {
        **WHOLE,
        "data[].id": "string",
        "data[].name": "string",
        "data[].value": "string",
    },
    "/v2/activity-sentiment": {**WHOLE, **within("data[]", NAMED)},
    "/v2/lead-scores": {
        **WHOLE,
        "data[].id": "string",
        "data[].name": "string",
        "data[].enabled": "boolean",
        "data[].entityType": "string",
        "data[].isPrimaryScore": "boolean",
    },
    "/v2/locations": {
        **PAGED_OPEN,
        **COUNTED,
        "data[].id": "string",
        "data[].name": "string",
        "data[].type": "string",
        **within("data[]", LOCATION),
    },
    "/v2/topics": {**PAGED_OPEN, **COUNTED, **within("data[]", NAMED)},
    "/v2/providers": {
        **PAGED,
        "data[].id": "string",
        "data[].name": "string",
        "data[].serviceName": "string",
    },
    "/v2/object-types": {
        **WHOLE,
        "data[].id": "string",
        "data[].name": "string",
        "data[].assocs[].objectAssocType": "string",
        "data[].assocs[].targetEntity": "string",
        "data[].assocs[].targetObjectTypeId": "string",
    },
    "/v2/objects": {
        **PAGED_OPEN,
        **COUNTED,
        "data[].id": "string",
        "data[].name": "string",
        "data[].recordKey": "string",
        **within("data[].customFields.*", CUSTOM_FIELD_VALUE),
    },
    "/v2/website-visits": {
        **PAGED_OPEN,
        **COUNTED,
        "data[].id": "string",
        "data[].visitTime": "string date-time",
        "data[].url": "string uri",
        "data[].contactId": "string",
        "data[].organizationId": "string",
    },
    "/v2/prospector-contacts": {
        **PAGED_OPEN,
        **COUNTED,
        "data[].id": "string",
        "data[].name": "string",
        "data[].avatarUrl": "string uri",
        "data[].companyName": "string",
        "data[].companyWebsite": "string uri",
        "data[].fullName": "string",
        "data[].linkedInFollowerCount": "number",
        "data[].linkedInHandle": "string",
        **within("data[].location", LOCATION),
        "data[].role": "string",
        "data[].seniority": "string",
        "data[].skills[]": "string",
        "data[].title": "string",
    },
    "/v2/prospector-companies": {
        **PAGED_OPEN,
        **COUNTED,
        "data[].id": "string",
        "data[].name": "string",
        "data[].description": "string",
        "data[].employees": "number",
        "data[].linkedInHandles[]": "string",
        "data[].location.address": "string",
        "data[].location.city": "string",
        "data[].location.state": "string",
        "data[].location.country": "string",
        "data[].location.countryCode": "string",
        "data[].logoUrl": "string uri",
        "data[].primaryWebsite": "string",
        "data[].raised": "number",
        "data[].revenueRange.min": "number",
        "data[].revenueRange.max": "number",
        "data[].subIndustry": "string",
        "data[].technologies[]": "string",
    },
    "/v2/industries": {
        **PAGED,
        "data[].id": "string",
        "data[].code": "integer",
        "data[].name": "string",
    },
    "/v2/tech-stack-products": {
        **PAGED,
        "data[].id": "string",
        "data[].product": "string",
        "data[].vendor": "string",
    },
    "/v2/me": {
        **WHOLE,
        "data.id": "string",
        "data.communityId": "string",
        "data.name": "string",
        "data.title": "string",
        "data.role": "string",
        "data.loginEmail": "string",
        "data.profiles[].type": "string",
        "data.profiles[].handle": "string",
        **within("data.segments[]", NAMED),
        **within("data.personas[]", NAMED),
        "data.company.name": "string",
        "data.company.domains[]": "string",
        "data.company.summary": "string",
    },
    "/v2/api-token-status": {
        "jti": "string",
        "communityName": "string",
        "communityId": "string",
    },
    "/v1/members/customFields": {
        "[].id": "number",
        "[].name": "string",
        "[].type": "string",
        "[].multivalue": "boolean",
        "[].values[]": "string",
    },
    "/v1/segments/{id}/status": {
        "[].id": "number",
        "[].name": "string",
    },
    "/v1/tags": {
        "labels[].id": "string",
        "labels[].name": "string",
        "labels[].description": "string",
        "labels[].entityTypes[]": "string",
        "labels[].createdAt": "string date-time",
        "labels[].deletedAt": "string date-time",
    },
}

# What a body is, by where its records stand.
RECORDS_AT = {
    "paged": "data[].",
    "paged_open": "data[].",
    "list": "data[].",
    "object": "data.",
    "bare": "",
    "bare_list": "[].",
    "labels": "labels[].",
}


def matching(path: str) -> list[str]:
    """List the endpoints that a stream of ``unit_tests/streams.py`` reads, whose path is a regular expression."""
    found = [endpoint for endpoint in ENDPOINTS if path == endpoint or re.fullmatch(path, endpoint)]
    if not found:
        raise LookupError(f"unit_tests/openapi.py doesn't say what {path} answers")
    return found


def page_of(*endpoints: str) -> str:
    """Tell what kind of page some endpoints answer, by the names of the manifest; of several, what holds for all."""
    kinds = {_page_of(ENDPOINTS[endpoint]) for endpoint in endpoints}
    return "paged_open" if kinds == {"paged", "paged_open"} else kinds.pop()


def _page_of(properties: dict[str, str]) -> str:
    if cursor := properties.get("meta.nextCursor"):
        return "paged" if cursor.startswith("required ") else "paged_open"
    kinds = ("list", "object", "bare_list", "labels")
    return next((kind for kind in kinds if any(path.startswith(RECORDS_AT[kind]) for path in properties)), "bare")


def counts(*endpoints: str) -> bool:
    """Tell whether the API counts the records of some endpoints."""
    return all("meta.recordCount" in ENDPOINTS[endpoint] for endpoint in endpoints)
