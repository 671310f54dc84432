"""Personal data: which fields of each stream contain it, and how it is hashed or dropped.

Why not YAML: transformations of YAML cost some 80 µs a record and field, and can't reach into lists.

``SHAPES`` says of every field of every stream whether it is personal. What it doesn't name is removed: a field that the
API adds could be anything. What it names and is of another type, such as an object in place of a text, becomes null.

- Personal: names, e-mail addresses, phone numbers, pictures, profiles, and jobs of people; texts by them or on them;
  names and keys of custom objects, which may stand for people; and custom fields, unless
  :func:`non_personal_fields` names them.
- Not personal: ids, which joins need; what the workspace's own people set up, such as segments, tags, and sources;
  what a company says of itself; title, employer, and place of a contact.
- An e-mail address is personal wherever it stands: a text that holds one is treated as personal. Of a visited page the
  query and the fragment are cut.

Texts are hashed. Links, lists, and objects that are personal are dropped even then, since a hash is none of these: the
schema is the same in all modes, and a hash stands in columns of plain text only.
"""

import hmac
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from enum import Enum, auto
from threading import Lock
from typing import Any, TypeAlias

from source_commonroom.config import Pii
from source_commonroom.records.columns import Column, words_of


class Rule(Enum):
    """What becomes of a value."""

    KEEP = auto()
    """Not personal, unless it is a text that holds an e-mail address."""
    TEXT = auto()
    """Hashed, or dropped."""
    DROP = auto()
    """Dropped even if texts are hashed."""
    PAGE = auto()
    """The address of a visited page: kept up to the path."""
    FIELDS = auto()
    """The map ``customFields``."""


Shape: TypeAlias = "Rule | Sequence[Shape] | Mapping[str, Shape]"
Fields: TypeAlias = Mapping[str, Shape]


def _keep(names: str) -> dict[str, Shape]:
    return dict.fromkeys(names.split(), Rule.KEEP)


_NAMED = [_keep("id name")]
_LOCATION = _keep("city region country")
_LEAD_SCORES = [_keep("scoreId score percentile")]
_TAG = _keep("id name description") | {"entityTypes": [Rule.KEEP]}

_ACTIVITY: Fields = {
    **_keep("id type activityTime contactId isUserInitiated participantCount"),
    **_keep("providerId providerName replyCount sentiment"),
    "subSourceNames": [Rule.KEEP],
    "content": Rule.TEXT,
    # Often that of a post, which names its author.
    "url": Rule.DROP,
}
_CONTACT: Fields = {
    **_keep("id title companyName companyWebsite recentWebVisitsNumber url"),
    "location": _LOCATION,
    "leadScores": _LEAD_SCORES,
    "segments": _NAMED,
    "tags": [Rule.KEEP],
    "name": Rule.TEXT,
    "fullName": Rule.TEXT,
    "primaryEmail": Rule.TEXT,
    "phoneNumbers": [{"type": Rule.KEEP, "value": Rule.TEXT}],
    "profiles": [{"type": Rule.KEEP, "value": Rule.TEXT}],
    "avatarUrl": Rule.DROP,
    "jobHistory": Rule.DROP,
    "connectedCustomObjects": [{"id": Rule.KEEP, "objectType": Rule.KEEP, "name": Rule.TEXT}],
    "recentWebPages": [{"url": Rule.PAGE, "numVisits": Rule.KEEP}],
    "recentActivities": [_ACTIVITY],
    "activateMessage": {"title": Rule.TEXT, "message": Rule.TEXT},
    "sparkSummary": Rule.TEXT,
    "recentSparkSummaries": [Rule.TEXT],
    "customFields": Rule.FIELDS,
}
_ORGANIZATION: Fields = {
    **_keep("id name primaryDomain about contactsCount employees linkedInUrl"),
    **_keep("revenueRangeMax revenueRangeMin subIndustry url"),
    "profiles": [_keep("name type url")],
    "location": _LOCATION,
    "leadScores": _LEAD_SCORES,
    "surgingTopics": [Rule.KEEP],
    "tags": [Rule.KEEP],
    # Texts on the company by others, which name whom they quote, ask for, or found.
    "researchResults": [{"promptId": Rule.KEEP, "isPrimaryPrompt": Rule.KEEP, "answer": Rule.TEXT}],
    "recentJobOpenings": [_keep("jobTitle url firstSeenAt isClosed location") | {"jobDescription": Rule.TEXT}],
    "recentNews": [
        {**_keep("publishedAt category"), "title": Rule.TEXT, "articleSentence": Rule.TEXT, "url": Rule.DROP}
    ],
    "topContacts": [_CONTACT],
    "customFields": Rule.FIELDS,
}
_OBJECT: Fields = {
    **_keep("id objectTypeId"),
    "name": Rule.TEXT,
    "recordKey": Rule.TEXT,
    "customFields": Rule.FIELDS,
}

# Of every stream; those of one type of objects have the shape of `objects`.
SHAPES: Mapping[str, Fields] = {
    "contacts": _CONTACT,
    "organizations": _ORGANIZATION,
    "activities": _ACTIVITY,
    "segments": _keep("id name entityType entityCount url"),
    "tags": _TAG,
    "custom_fields": {
        **_keep("id name keyField valueType description providedBy objectTypeId"),
        "entityTypes": [Rule.KEEP],
        "targetSubTypes": [Rule.KEEP],
        # Null if the field is personal.
        "sampleValues": [_keep("type value")],
    },
    "activity_types": _keep("id displayName"),
    "activity_categories": _keep("id name value"),
    "activity_sentiment": _keep("id name"),
    "lead_scores": _keep("id name enabled entityType isPrimaryScore"),
    "locations": _keep("id name type city region country"),
    "topics": _keep("id name"),
    "providers": _keep("id name serviceName"),
    "object_types": {
        **_keep("id name"),
        "assocs": [_keep("objectAssocType targetEntity targetObjectTypeId")],
    },
    "objects": _OBJECT,
    "website_visits": {**_keep("id visitTime contactId organizationId"), "url": Rule.PAGE},
    "prospector_contacts": {
        **_keep("id companyName companyWebsite linkedInFollowerCount role seniority title"),
        "location": _LOCATION,
        "skills": [Rule.KEEP],
        "name": Rule.TEXT,
        "fullName": Rule.TEXT,
        "linkedInHandle": Rule.TEXT,
        "avatarUrl": Rule.DROP,
    },
    "prospector_companies": {
        **_keep("id name description employees logoUrl primaryWebsite raised subIndustry"),
        "linkedInHandles": [Rule.KEEP],
        "location": _keep("address city state country countryCode"),
        "revenueRange": _keep("min max"),
        "technologies": [Rule.KEEP],
    },
    "industries": _keep("id code name"),
    "tech_stack_products": _keep("id product vendor"),
    "me": {
        **_keep("id communityId title role"),
        "segments": _NAMED,
        "personas": _NAMED,
        "company": {**_keep("name summary"), "domains": [Rule.KEEP]},
        "name": Rule.TEXT,
        "loginEmail": Rule.TEXT,
        "profiles": [{"type": Rule.KEEP, "handle": Rule.TEXT}],
    },
    "api_token_status": _keep("jti communityName communityId"),
    "segment_members": {**_keep("segmentId memberId memberType"), "memberName": Rule.TEXT},
    # `values` as sampleValues.
    "contact_custom_fields": {**_keep("id name type multivalue"), "values": [Rule.KEEP]},
    "segment_statuses": _keep("id name segmentId"),
    "user_defined_tags": _TAG | _keep("createdAt deletedAt"),
}

Clean: TypeAlias = Callable[[Any], Any]

# The streams whose records define custom fields, and the key of their sample values.
_DEFINITIONS = {"custom_fields": "sampleValues", "contact_custom_fields": "values"}
_FIELD_ID = re.compile(r"cf_[0-9]+")
# Values of these types are no texts, so that a hash can't stand for them.
_TYPED = ("int", "number", "date", "boolean")
_SCALARS = frozenset({str, int, float, bool, type(None)})
# Both linear in the length of the text.
_ADDRESS = re.compile(r"[^\s@]+@[^\s@]+")
_HOLDS_ADDRESS = re.compile(r"[\w.+%-]@[\w-]+\.\w")


def make_cleaner(
    stream: str,
    mode: Pii,
    salt: str = "",
    non_personal: Collection[str] = (),
    columns: Iterable[Column] = (),
    removed: Counter[str] | None = None,
) -> Callable[[dict[str, Any]], object] | None:
    """Return what cleans a record in place, or None if ``mode`` keeps all. It never raises, whatever the record.

    :param stream: a name of ``SHAPES``, or that of a stream of one type of objects, ``object_…``
    :param mode: that of ``pii`` in the configuration
    :param salt: that of ``pii``, the key of the hashes
    :param non_personal: the ids of the custom fields that are known not to be personal
    :param columns: the typed columns of custom fields; they are filled before
    :param removed: counts fields that ``SHAPES`` doesn't name, by stream; any thread may clean
    :raises LookupError: if the stream isn't known
    :raises ValueError: if there is no salt to hash with
    """
    if mode == "keep":
        return None
    if mode == "hash" and not salt:
        raise ValueError("hashes without a salt could be reversed by trying names and addresses")
    shape = dict(_OBJECT if stream.startswith("object_") and stream not in SHAPES else SHAPES[stream])
    for column in columns:
        hashed = Rule.TEXT if column.type in {"string", "json"} else Rule.DROP
        shape[column.name] = Rule.KEEP if column.field in non_personal else hashed
    text = _hasher(salt) if mode == "hash" else _drop
    clean = _Compiler(stream, text, frozenset(non_personal), Counter() if removed is None else removed).compile(shape)
    if stream not in _DEFINITIONS:
        return clean
    values = _DEFINITIONS[stream]

    def clean_definition(record: dict[str, Any]) -> None:
        if values in record and is_personal_definition(record):
            record[values] = None
        clean(record)

    return clean_definition


class _Compiler:
    """Makes of a shape nested functions, each of which returns what becomes of a value."""

    def __init__(self, stream: str, text: Clean, non_personal: Collection[str], removed: Counter[str]) -> None:
        self._stream = stream
        self._text = text
        self._impersonal = non_personal
        self._removed = removed
        self._lock = Lock()
        self._rules: Mapping[Rule, Clean] = {
            Rule.KEEP: self._keep,
            Rule.TEXT: text,
            Rule.DROP: _drop,
            Rule.PAGE: _page,
        }

    def compile(self, shape: Shape) -> Clean:
        if isinstance(shape, Mapping):
            return self._object({name: self.compile(part) for name, part in shape.items()})
        if isinstance(shape, Sequence):
            return _list(self.compile(shape[0]))
        return self._custom_fields() if shape is Rule.FIELDS else self._rules[shape]

    def _keep(self, value: Any) -> Any:
        kind = type(value)
        if kind is str and "@" in value and _HOLDS_ADDRESS.search(value):
            return None if "://" in value else self._text(value)
        return value if kind in _SCALARS else None

    def _object(self, parts: Mapping[str, Clean]) -> Clean:
        find, keep = parts.get, self._rules[Rule.KEEP]

        def clean(value: Any) -> Any:
            if type(value) is not dict:
                return None
            unknown = []
            for name, part in value.items():
                clean_part = find(name)
                if clean_part is keep and type(part) is str and "@" not in part:
                    continue  # as most are; a call would cost twice as much
                if clean_part is None:
                    unknown.append(name)
                else:
                    value[name] = clean_part(part)
            if unknown:
                self._remove(value, unknown)
            return value

        return clean

    def _custom_fields(self) -> Clean:
        non_personal = self._impersonal
        keep, text = _one_or_many(self._keep), _one_or_many(self._text)
        keep_entry = self._object({"type": self._rules[Rule.KEEP], "value": keep})

        def clean_entry(entry: Any) -> Any:
            if type(entry) is not dict:
                return None
            kind = self._keep(entry.get("type"))
            return {"type": kind, "value": None if kind in _TYPED else text(entry.get("value"))}

        def clean(value: Any) -> Any:
            if type(value) is not dict:
                return None
            unknown = []
            for field_id, entry in value.items():
                if field_id in non_personal:
                    value[field_id] = keep_entry(entry)
                elif _FIELD_ID.fullmatch(field_id):
                    value[field_id] = clean_entry(entry)
                else:
                    unknown.append(field_id)
            if unknown:
                self._remove(value, unknown)
            return value

        return clean

    def _remove(self, value: dict[str, Any], unknown: Collection[str]) -> None:
        for name in unknown:
            del value[name]
        with self._lock:
            self._removed[self._stream] += len(unknown)


def _list(clean: Clean) -> Clean:
    if clean is _drop:
        return _drop
    return lambda value: [clean(part) for part in value] if type(value) is list else None


def _one_or_many(clean: Clean) -> Clean:
    many = _list(clean)
    return lambda value: many(value) if type(value) is list else clean(value)


def _drop(_value: Any) -> None:
    return None


def _page(value: Any) -> str | None:
    if type(value) is not str:
        return None
    page = re.split("[?#]", value, maxsplit=1)[0]
    return None if "@" in page or "%40" in page else page


def _hasher(salt: str) -> Clean:
    """Return what hashes a text: HMAC-SHA-256 in hex, blanks around it apart, and an e-mail address in lower case.

    So the hashes of an address are equal wherever it stands. A blank text becomes null, since equal hashes of nothing
    would join what has nothing in common.
    """
    keyed = hmac.new(salt.encode(), digestmod="sha256")

    def text(value: Any) -> str | None:
        value = value.strip() if type(value) is str else ""
        if not value:
            return None
        if "@" in value and _ADDRESS.fullmatch(value):
            value = value.lower()
        hashed = keyed.copy()
        hashed.update(value.encode("utf-8", "surrogatepass"))
        return hashed.hexdigest()

    return text


def non_personal_fields(definitions: Iterable[Any]) -> frozenset[str]:
    """Return the ids of the custom fields that are known not to be personal; all others count as personal."""
    found: dict[str, bool] = {}
    for definition in definitions:
        if isinstance(definition, dict) and isinstance(definition.get("id"), str):
            field_id = definition["id"]
            found[field_id] = found.get(field_id, False) or is_personal_definition(definition)
    return frozenset(field_id for field_id, personal in found.items() if not personal)


# Looked for in words as `words_of` writes them, with `_` before and after, in some ten languages.
_EMAIL = r"mail|correo|courriel|pocht[aiuy]_|メール|邮箱|郵箱|邮件|이메일"
_NAME = (
    r"(name|nombre|nome|naam)[sn]?_|_(noms?|imya|fio)_|prenom|apellido|cognome|famil[iy]+a_|initials|名|姓|氏|이름|성명"
)
_PHONE = (
    r"phone|telef|_tel_|_mobiles?_|_mobile_n|_movil|_cell|celular|_handy|_fax|whatsapp|電話|电话|手机|携帯|전화|휴대폰"
)
_NUMBER = rf"{_PHONE}|_ssn_|social_security|passport|national_id|tax_id"
_BIRTH = r"birth|_dob_|geburt|naissance|nacimiento|nascimento|nascita|geboorte|rozhdeniya|誕生|生日|出生|생일"
# Roles, accounts, and free texts: in a label they mean a person, while any description may have such a word.
_PERSON = (
    r"_(owner|manager|champion|assignee|csm|rep|author|person|contact|referrer|referred_by|created_by|spouse)s?_"
    r"|handle|linkedin|twitter|_x_|github|gitlab|facebook|instagram|mastodon|slack|discord|telegram|skype|profile"
    r"|avatar|photo|picture|_bio_|biography|_about|_notes?_|comment|message|feedback|transcript|signature"
    r"|address|street|_ip_"
)
# By `valueType`, what a value can be, so that a number of e-mails isn't taken for an address; any other is a text.
_SAYS = {"date": re.compile(_BIRTH), "int": re.compile(_NUMBER), "number": re.compile(_NUMBER)}
_TEXT_SAYS = re.compile(f"{_EMAIL}|{_NAME}|{_NUMBER}|{_BIRTH}")
_LABEL_SAYS = re.compile(_PERSON)


def is_personal_definition(definition: Mapping[str, Any]) -> bool:
    """Tell whether a custom field may contain personal data, by its label, its description, and its type.

    It can only go by words, so it errs on the side of personal: a "Plan name" is, too. A field without a label is
    personal, and one that is true or false is not.

    :param definition: of ``/v2/custom-fields`` or ``/v1/members/customFields``
    """
    kind = str(definition.get("valueType") or definition.get("type"))
    label, description = (_words(definition.get(key)) for key in ("name", "description"))
    if kind == "boolean":
        return False
    if not label:
        return True
    if kind in _SAYS:
        return bool(_SAYS[kind].search(label + description))
    return bool(_TEXT_SAYS.search(label + description) or _LABEL_SAYS.search(label))


def _words(text: Any) -> str:
    """Return the words of a text as the patterns have them: with camelCase parted and not, and as they stand."""
    if not isinstance(text, str) or not words_of(text):
        return ""
    parted = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)
    return f"_{words_of(parted)}_{words_of(text)}_{text}_"
