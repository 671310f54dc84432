"""Pools of realistic texts, filled by Faker once and sampled from: Faker takes 20 µs and more for a name."""

from __future__ import annotations

from dataclasses import dataclass

from faker import Faker

# Latin with accents, Japanese, Cyrillic, and two scripts that run right to left.
# Each with its country, and regions of it.
LOCALES = {
    "en_US": ("United States", ("Washington", "Texas", "New York")),
    "en_GB": ("United Kingdom", ("Scotland", "Wales", "England")),
    "de_DE": ("Germany", ("Bayern", "Hessen", "Thüringen")),
    "fr_FR": ("France", ("Bretagne", "Auvergne-Rhône-Alpes")),
    "pt_BR": ("Brazil", ("SP", "Bahia", "Ceará")),
    "ja_JP": ("日本", ("東京都", "北海道")),
    "ru_RU": ("Россия", ("Новосибирская область", "Татарстан")),
    "ar_AA": ("مصر", ("القاهرة", "الجيزة")),
    "he_IL": ("ישראל", ("מחוז תל אביב", "מחוז הצפון")),
}
LATIN_LOCALES = ("en_US", "de_DE", "fr_FR")
CITIES_PER_LOCALE = 30

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
    """Names, companies, job titles, short texts (a line) and long ones (up to 20 kB), words, and places."""

    names: list[str]
    handles: list[str]
    companies: list[str]
    titles: list[str]
    lines: list[str]
    texts: list[str]
    words: list[str]
    cities: list[dict[str, str]]

    @property
    def locations(self) -> tuple[dict[str, str] | None, ...]:
        """The places of people and companies, a quarter of them awkward."""
        return (*LOCATIONS * (len(self.cities) // len(LOCATIONS) // 3), *self.cities)

    @classmethod
    def fill(cls, seed: int) -> Pools:
        """Fill the pools, the same way for the same seed (and release of Faker)."""
        pools = cls(names=[], handles=[], companies=[], titles=[], lines=[], texts=[], words=[], cities=[])
        for locale, (country, regions) in LOCALES.items():
            fake = Faker(locale)
            fake.seed_instance(seed)
            pools.names.extend(fake.name() for _ in range(120))
            pools.companies.extend(fake.company() for _ in range(40))
            pools.titles.extend(fake.job() for _ in range(20))
            pools.lines.extend(fake.sentence() for _ in range(20))
            pools.texts.extend("\n\n".join(fake.paragraphs(length)) for length in (1, 1, 1, 1, 1, 1, 1, 2, 2, 3) * 2)
            pools.words.extend(fake.word() for _ in range(30))
            pools.cities.extend(
                {"city": fake.city(), "region": regions[place % len(regions)], "country": country}
                for place in range(CITIES_PER_LOCALE)
            )
            if locale in LATIN_LOCALES:
                pools.handles.extend(fake.user_name() for _ in range(80))
        pools.names.extend(("🦊", "Null", 'O\'Brien, "Bo"'))
        pools.lines.extend(AWKWARD_TEXTS)
        pools.texts.extend(AWKWARD_TEXTS)
        pools.texts.append(("\n\n".join(filter(str.strip, pools.texts)))[:LONG_TEXT_LENGTH])
        return pools
