"""Pools of realistic texts, filled by Faker once and sampled from: Faker takes 20 µs and more for a name."""

from __future__ import annotations

from dataclasses import dataclass

from faker import Faker

# Latin with accents, Japanese, Cyrillic, and two scripts that run right to left.
LOCALES = ("en_US", "en_GB", "de_DE", "fr_FR", "pt_BR", "ja_JP", "ru_RU", "ar_AA", "he_IL")

LOCATIONS: tuple[dict[str, str] | None, ...] = (
    {"city": "Seattle", "region": "Washington", "country": "United States"},
    {"city": "München", "region": "Bayern", "country": "Germany"},
    {"city": "Saint-Étienne", "region": "Auvergne-Rhône-Alpes", "country": "France"},
    {"city": "東京", "region": "東京都", "country": "日本"},
    {"city": "Новосибирск", "country": "Россия"},
    {"city": "São Paulo", "region": "SP", "country": "Brazil"},
    {"city": "תל אביב", "country": "ישראל"},
    {"region": "Bavaria", "country": "Germany"},
    {"country": "Côte d'Ivoire"},
    {"city": "", "region": "", "country": "Singapore"},
    {},
    None,
)

# What breaks a careless reader of texts: emptiness, blanks, quotes, separators, markup, templates, digits that
# are no number, joined emoji, a combining accent, line ends of all sorts, a byte order mark, a NUL.
AWKWARD_TEXTS = (
    "",
    " ",
    "null",
    "007",
    "1e5",
    "{{ now_utc() }}",
    '"quoted", and; semicolons\tand tabs\\n',
    "<p>Hello &amp; <b>welcome</b></p>",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🇺🇳",
    "cafe\u0301 and café",
    "one\ntwo\r\nthree\u2028four",
    "\ufeffwith a byte order mark",
    "before\u0000after",
)

LONG_TEXT_LENGTH = 20_000


@dataclass(frozen=True)
class Pools:
    """Names, companies, job titles, short texts (a line) and long ones (up to 20 kB)."""

    names: list[str]
    companies: list[str]
    titles: list[str]
    lines: list[str]
    texts: list[str]

    @classmethod
    def fill(cls, seed: int) -> Pools:
        """Fill the pools, the same way for the same seed (and release of Faker)."""
        pools = cls(names=[], companies=[], titles=[], lines=[], texts=[])
        for locale in LOCALES:
            fake = Faker(locale)
            fake.seed_instance(seed)
            pools.names.extend(fake.name() for _ in range(120))
            pools.companies.extend(fake.company() for _ in range(40))
            pools.titles.extend(fake.job() for _ in range(20))
            pools.lines.extend(fake.sentence() for _ in range(20))
            pools.texts.extend("\n\n".join(fake.paragraphs(length)) for length in (1, 1, 1, 1, 1, 1, 1, 2, 2, 3) * 2)
        pools.names.extend(("🦊", "Null", 'O\'Brien, "Bo"'))
        pools.lines.extend(AWKWARD_TEXTS)
        pools.texts.extend(AWKWARD_TEXTS)
        pools.texts.append(("\n\n".join(filter(str.strip, pools.texts)))[:LONG_TEXT_LENGTH])
        return pools
