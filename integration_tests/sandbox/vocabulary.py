"""What every generated workspace has, whatever its size: the words that the emulated community works with."""

from __future__ import annotations

COMMUNITY_ID = "q4m7zt2kd"
APP = f"https://app.commonroom.io/community/{COMMUNITY_ID}"

ACTIVITY_TYPES = (
    ("tweet", "Tweet"),
    ("pr_comment", "Pull request comment"),
    ("github_star", "GitHub ⭐"),
    ("slack_message", "Slack message"),
    ("meeting", "Treffen / 会議"),
    ("website_visit", ""),
    ("newsletter_open", "Newsletter opened"),
    ("7", "A type whose id is a digit"),
)
# Labels share the numbers of tags: those of tags begin higher.
ACTIVITY_CATEGORIES = (
    ("l_2", "Bug 🐛", "bug"),
    ("l_3", "Wunsch", "feature_request"),
    ("l_5", "質問", "question"),
    ("l_8", "", "praise"),
    ("l_10", "Praise", "praise"),
)
ACTIVITY_SENTIMENT = (("l_11", "positive"), ("l_12", "neutral"), ("l_14", "negative"))
SENTIMENTS = (*(name for _, name in ACTIVITY_SENTIMENT), None)

PROVIDERS = (
    ("sig_1", "GitHub", "github"),
    ("sig_22", "Slack", "slack"),
    ("sig_23", None, "slack"),
    ("sig_1007", "Сообщество", "discourse"),
    ("sig_410", "", "hubspot"),
)
IDLE_PROVIDERS = (("sig_31", "CRM (EU) ☁️", "salesforce"), ("sig_999", "CRM (EU) ☁️", "salesforce"))
"""Those without activities."""

LEAD_SCORES = (
    ("ls_1", "Fit", True, "contact", True),
    ("ls_2", "Intent 🔥", True, "contact", False),
    ("ls_5", "Старая оценка", False, "contact", False),
    ("ls_9", "Fit", True, "organization", True),
    ("ls_10", "", True, "organization", False),
    ("ls_1010", "Health", True, "object", True),
)

OBJECT_TYPES = (
    ("cot_31", "Deal 💰"),
    ("cot_32", "Subscription"),
    ("cot_1007", "Deal 💰"),
    ("cot_4", "🛠"),
    ("cot_55", "Заявка"),
)
OBJECT_TYPES_IN_USE = tuple(type_id for type_id, _ in OBJECT_TYPES[:4])
"""The last one has no objects, and the last two have no custom fields."""

STATUSES = ("New", "In progress", "Won 🏆", "Done", "Отложено", "")

WORLD_REGIONS = {
    "United States": "North America",
    "Brazil": "South America",
    "United Kingdom": "Europe",
    "Germany": "Europe",
    "France": "Europe",
    "日本": "Asia",
    "Россия": "Europe",
    "ישראל": "Asia",
    "مصر": "Africa",
    "Côte d'Ivoire": "Africa",
    "Singapore": "Asia",
}
LOCATION_TYPES = ("city", "country", "country_region", "world_region")

SENIORITIES = ("c_level", "vp", "manager", "entry", "")
ROLES = ("engineering", "sales", "Vertrieb & Marketing", "")
SKILLS = ("Python", "SQL", "C++", "交渉", "negotiation, tough")
TECHNOLOGIES = ("PostgreSQL", "Kafka", "React", "Kubernetes", "Яндекс Метрика")
GOODS = (
    "Dairy",
    "Timber",
    "Glass",
    "Software",
    "Textile",
    "Freight",
    "Solar",
    "Seafood",
    "Paper",
    "Steel",
    "Toy",
    "Optical",
    "Cement",
    "Café & Bäckerei",
)
TRADES = (
    "Manufacturing",
    "Wholesalers",
    "Retailers",
    "Repair",
    "Testing",
    "Rental",
    "Consulting",
    "Publishing",
    "Research",
    "Training",
    "Storage",
    "Inspection",
    "Brokerage",
    "Recycling",
    "Design",
)
