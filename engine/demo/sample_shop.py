"""A realistic sample shop: Halm & Faden, clothes and homeware, on four channels in three languages and two currencies.

Everything is derived from the seed: the same seed gives the same shop and the same events. The events here are correct
and in order; `faults` makes them arrive otherwise.
"""

import itertools
import random
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import NamedTuple, TypeAlias
from urllib.parse import quote

from pagefold.engine.demo.reference_model import Document
from pagefold.engine.demo.sample_config import sample_config

Text: TypeAlias = dict[str, str]

WAREHOUSES = ("wms-berlin", "wms-reno")

OPENING = datetime(2026, 1, 12, 6, 0, tzinfo=UTC)
"""When the day of changes begins. The catalog was sent the night before."""

LAUNCH = OPENING + timedelta(hours=12)
"""When the new products are introduced."""

CLOCKS = {"wms-berlin": timezone(timedelta(hours=1)), "wms-reno": timezone(timedelta(hours=-8))}
"""Each warehouse writes local time with its offset; the other sources write UTC."""

DOLLARS_PER_EURO = 1.17
SAFETY_STOCK_MAX_CENTS = 50_00
"""Warehouses keep a safety stock of three of each product that costs fewer cents than this."""

MARKETPLACE_SHARE = 0.25
MARKETPLACE_FEE = 1.08


class Family(NamedTuple):
    """A product family, such as shirts or mugs. `euros` are the lowest and highest price."""

    code: str
    name: Text
    category: str
    sizes: tuple[str, ...]
    materials: tuple[str, ...]
    euros: tuple[int, int]

    @property
    def by_the_dozen(self) -> bool:
        """Whether it has prices for six and for twelve."""
        return self.category == "home/kitchen"


class Product(NamedTuple):
    """One SKU. The first variant of a model is the parent of the others and has none itself."""

    sku: str
    parent: str | None
    family: Family
    model: str
    colour: str
    size: str
    material: str
    cents: int


LETTERS = ("XS", "S", "M", "L", "XL", "XXL")
WAISTS = ("28", "30", "32", "34", "36")
SHOES = ("37", "38", "39", "40", "41", "42", "43", "44")
ONE = ("ONE",)


def text(de: str, en: str, fr: str) -> Text:
    """A text in the shop's three languages."""
    return {"de": de, "en": en, "fr": fr}


FAMILIES = (
    Family("TSHIRT", text("T-Shirt", "T-shirt", "T-shirt"), "women/tops", LETTERS, ("cotton", "linen"), (15, 45)),
    Family("HEMD", text("Hemd", "Shirt", "Chemise"), "men/shirts", LETTERS, ("cotton", "linen"), (40, 110)),
    Family("DRESS", text("Kleid", "Dress", "Robe"), "women/dresses", LETTERS[:5], ("linen", "silk"), (60, 220)),
    Family("JEANS", text("Jeans", "Jeans", "Jean"), "men/trousers", WAISTS, ("denim",), (60, 140)),
    Family("PULLI", text("Pullover", "Sweater", "Pull"), "women/knitwear", LETTERS, ("wool", "cotton"), (50, 160)),
    Family("MANTEL", text("Mantel", "Coat", "Manteau"), "men/coats", LETTERS[1:], ("wool",), (150, 420)),
    Family("SNEAKER", text("Sneaker", "Sneaker", "Basket"), "shoes", SHOES, ("leather", "canvas"), (70, 150)),
    Family("SCHAL", text("Schal", "Scarf", "Écharpe"), "accessories", ONE, ("wool", "silk"), (20, 90)),
    Family("KISSEN", text("Kissen", "Cushion", "Coussin"), "home/textiles", ("40/40", "40/60"), ("linen",), (20, 60)),
    Family("LÄUFER", text("Läufer", "Runner", "Chemin de table"), "home/textiles", ("40/140",), ("linen",), (18, 50)),
    Family("PLAID", text("Wolldecke", "Throw", "Plaid"), "home/textiles", ("130/170",), ("wool",), (60, 180)),
    Family("CAFÉ", text("Becher", "Mug", "Tasse"), "home/kitchen", ("250ML", "350ML"), ("stoneware",), (9, 22)),
    Family("TELLER", text("Teller", "Plate", "Assiette"), "home/kitchen", ("21CM", "27CM"), ("stoneware",), (8, 24)),
    Family("KERZE", text("Kerze", "Candle", "Bougie"), "home/decoration", ("20CM", "30CM"), ("beeswax",), (4, 19)),
    Family("VASE", text("Vase", "Vase", "Vase"), "home/decoration", ("S", "L"), ("glass", "stoneware"), (25, 120)),
    Family("LAMPE", text("Lampe", "Table lamp", "Lampe de table"), "home/lighting", ONE, ("glass",), (60, 240)),
)

COLOURS = {
    "NAVY": text("Marineblau", "navy", "bleu marine"),
    "WHITE": text("Weiß", "white", "blanc"),
    "BLACK": text("Schwarz", "black", "noir"),
    "OLIVE": text("Olivgrün", "olive", "olive"),
    "RUST": text("Rostrot", "rust", "rouille"),
    "SAND": text("Sand", "sand", "sable"),
    "PLUM": text("Pflaume", "plum", "prune"),
    "SKY": text("Himmelblau", "sky blue", "bleu ciel"),
}

MATERIALS = {
    "cotton": text("Bio-Baumwolle", "organic cotton", "coton bio"),
    "linen": text("Leinen", "linen", "lin"),
    "silk": text("Seide", "silk", "soie"),
    "wool": text("Merinowolle", "merino wool", "laine mérinos"),
    "denim": text("Denim", "denim", "denim"),
    "leather": text("Leder", "leather", "cuir"),
    "canvas": text("Segeltuch", "canvas", "toile"),
    "stoneware": text("Steinzeug", "stoneware", "grès"),
    "glass": text("mundgeblasenem Glas", "mouth-blown glass", "verre soufflé"),
    "beeswax": text("Bienenwachs", "beeswax", "cire d'abeille"),
}

MODELS = (
    "Alma", "Bruno", "Clara", "Djamila", "Emil", "Frieda", "Gustav", "Hanna", "Ida", "Jonas", "Käthe", "Leon", "Mina",
    "Nils", "Olga", "Paul", "Quentin", "Rosa", "Søren", "Thea", "Ulla", "Vera", "Wanda", "Xaver", "Yara", "Zoé",
)  # fmt: skip

CLAIMS = (
    text("Ein Stück für jeden Tag.", "One for every day.", "Une pièce de tous les jours."),
    text("Von Hand gefertigt in Porto.", "Made by hand in Porto.", "Fait main à Porto."),
    text("Wird mit den Jahren schöner.", "Gets better with the years.", "S'embellit avec les années."),
    text("Für kalte Abende und lange Gespräche.", "For cold nights and long talks.", "Pour les longues soirées."),
)


class Shop:
    """The shop of a seed: `skus` products, their first events, and a day of changes.

    The last `launched` products are launched at the end of the day: `catalog` and `changes` do not have them.
    """

    def __init__(self, seed: int = 7, skus: int = 2000, launched: int = 0) -> None:
        self.seed = seed
        products = tuple(itertools.islice(_range(random.Random(f"{seed} range")), skus))
        self.products: Sequence[Product] = products[: skus - launched]
        self.launched: Sequence[Product] = products[skus - launched :]

    def config(self, url: str, snapshots: Path | None = None, *, requirements: bool = True) -> str:
        """The shop's configuration as TOML. With a folder of snapshots, every source has a file in it.

        What products must have is left out without `requirements`: it needs packages that may not be installed.
        """
        return sample_config(url, snapshots, requirements=requirements)

    def catalog(self) -> Iterator[Document]:
        """The first event of every stream, at version 1: about six events per SKU. The same at every call."""
        day = Day(self.seed, self.products, OPENING - timedelta(hours=8), version=0)
        for product in self.products:
            yield from day.first_events(product)

    def launches(self) -> Iterator[Document]:
        """The first event of every stream of the launched products. The same at every call."""
        day = Day(f"{self.seed} launch", self.launched, LAUNCH, version=0)
        for product in self.launched:
            yield from day.first_events(product)

    def changes(self, count: int) -> Iterator[Document]:
        """`count` changes after the catalog, with versions from 2. The same at every call.

        Popularity follows Zipf's law: the product at rank r has a share proportional to 1/r.
        """
        day = Day(self.seed, self.products, OPENING, version=1)
        rng = random.Random(f"{self.seed} changes")
        ranking = rng.sample(self.products, len(self.products))
        popularity = list(itertools.accumulate(1 / rank for rank in range(1, len(ranking) + 1)))
        likelihood = list(itertools.accumulate(CHANGES.values()))
        for _ in range(count):
            (change,) = rng.choices(tuple(CHANGES), cum_weights=likelihood)
            (product,) = rng.choices(ranking, cum_weights=popularity)
            yield change(day, product)


class Day:
    """A day in the shop: the current stock, prices, versions and time.

    `version` is the version of every stream when the day begins.
    """

    def __init__(self, seed: int | str, products: Sequence[Product], begins: datetime, version: int) -> None:
        self._now = begins
        self._rng = random.Random(f"{seed} day")
        self._versions: defaultdict[tuple[str, str, str, str], int] = defaultdict(lambda: version)
        self._cents = {product.sku: product.cents for product in products}
        stock = random.Random(f"{seed} stock")
        self._stock = {(product.sku, place): stock.randint(0, 80) for product in products for place in WAREHOUSES}

    def first_events(self, product: Product) -> Iterator[Document]:
        """The first event of each stream of a product."""
        yield self._has_payload("pim", "catalog", product, "*", _description(product))
        yield self._has_payload("dam", "media", product, "*", _gallery(product, 2 + product.cents % 3))
        yield self._has_payload("erp", "pricing", product, "*", self._price(product, "EUR", 1))
        yield self._has_payload("erp", "pricing", product, "web-us", self._price(product, "USD", DOLLARS_PER_EURO))
        if _on_the_marketplace(product):
            yield self._has_payload(
                "erp", "pricing", product, "marketplace-de", self._price(product, "EUR", MARKETPLACE_FEE)
            )
        for place in WAREHOUSES:
            yield self._counts(place, product, 0)

    def sells(self, product: Product) -> Document:
        """One or two are sold. If none is left, the event has the time of the next restock."""
        sold = self._counts(self._rng.choice(WAREHOUSES), product, -self._rng.randint(1, 2))
        return sold | {"correlationId": f"order-{self._rng.randint(10_000, 99_999)}"}

    def restocks(self, product: Product) -> Document:
        """A warehouse receives stock."""
        return self._counts(self._rng.choice(WAREHOUSES), product, self._rng.randint(10, 60))

    def reprices(self, product: Product) -> Document:
        """The general price in euros changes a little."""
        self._cents[product.sku] = round(self._cents[product.sku] * self._rng.uniform(0.96, 1.045))
        return self._has_payload("erp", "pricing", product, "*", self._price(product, "EUR", 1))

    def reprices_in_dollars(self, product: Product) -> Document:
        """The price in dollars changes with the exchange rate."""
        rate = DOLLARS_PER_EURO * self._rng.uniform(0.98, 1.02)
        return self._has_payload("erp", "pricing", product, "web-us", self._price(product, "USD", rate))

    def plans_a_sale(self, product: Product) -> Document:
        """A lower price is scheduled for three days."""
        price = self._price(product, "EUR", 1)
        begin = _hour(self._now) + timedelta(days=self._rng.randint(1, 9))
        sale = {
            "amount": _money(self._cents[product.sku] * 0.8),
            "from": _format_timestamp(begin, CLOCKS["wms-berlin"]),
            "until": _format_timestamp(begin + timedelta(days=3), CLOCKS["wms-berlin"]),
        }
        crossed_out = {"compareAt": price["amount"], "scheduled": [sale]}
        return self._has_payload("erp", "pricing", product, "*", price | crossed_out)

    def prices_for_the_marketplace(self, product: Product) -> Document:
        """The marketplace gets a price that includes its fee."""
        fee = self._rng.choice((1.05, MARKETPLACE_FEE, 1.12))
        return self._has_payload("erp", "pricing", product, "marketplace-de", self._price(product, "EUR", fee))

    def drops_the_marketplace_price(self, product: Product) -> Document:
        """The marketplace's price is withdrawn: the general one applies again."""
        return self._has_payload("erp", "pricing", product, "marketplace-de", None)

    def rewrites(self, product: Product) -> Document:
        """The PIM adds a claim to the texts."""
        payload = _description(product)
        payload["localized"]["claim"] = self._rng.choice(CLAIMS)
        return self._has_payload("pim", "catalog", product, "*", payload)

    def shortens_for_the_marketplace(self, product: Product) -> Document:
        """The marketplace gets a short name: an event for that channel, which takes precedence over the general one."""
        payload = _description(product)
        payload["localized"] = {"name": {"de": f"{product.family.name['de']} {product.model}"}}
        return self._has_payload("pim", "catalog", product, "marketplace-de", payload)

    def takes_off_sale(self, product: Product) -> Document:
        """A product is disabled until its texts change."""
        return self._has_payload("pim", "catalog", product, "*", _description(product) | {"enabled": False})

    def photographs(self, product: Product) -> Document:
        """A product gets new pictures."""
        return self._has_payload("dam", "media", product, "*", _gallery(product, self._rng.randint(1, 5)))

    def _counts(self, place: str, product: Product, difference: int) -> Document:
        """A warehouse reports its stock. It is negative if a product was oversold."""
        available = self._stock[product.sku, place] = max(self._stock[product.sku, place] + difference, -2)
        count: Document = {"available": available}
        if product.cents < SAFETY_STOCK_MAX_CENTS:
            count["safetyStock"] = 3
        if available <= 0:
            count["backorderable"] = product.family.by_the_dozen
            count["restockAt"] = _format_timestamp(_hour(self._now) + timedelta(days=6), CLOCKS[place])
        return self._has_payload(place, "inventory", product, "*", count)

    def _price(self, product: Product, currency: str, factor: float) -> Document:
        """The price in a currency. Tax is included except in dollars; tableware has tiers."""
        cents = self._cents[product.sku] * factor
        price: Document = {
            "currency": currency,
            "amount": _money(cents),
            "taxIncluded": currency != "USD",
            "taxClass": "standard",
            "customerGroups": {"trade": _money(cents * 0.72), "staff": _money(cents * 0.6)},
        }
        if product.family.by_the_dozen:
            price["tiers"] = [
                {"minQuantity": 6, "amount": _money(cents * 0.95)},
                {"minQuantity": 12, "amount": _money(cents * 0.9)},
            ]
        return price

    def _has_payload(
        self, source: str, domain: str, product: Product, channel: str, payload: Document | None
    ) -> Document:
        """The next event of a stream, up to two seconds after the previous event of the day."""
        self._now += timedelta(milliseconds=self._rng.randint(1, 2000))
        stream = (product.sku, channel, domain, source)
        self._versions[stream] += 1
        return {
            "type": domain,
            "sku": unicodedata.normalize("NFD", product.sku) if source == "dam" else product.sku,  # as file names are
            "channel": channel,
            "source": source,
            "sourceVersion": self._versions[stream],
            "occurredAt": _format_timestamp(self._now, CLOCKS.get(source)),
            "payload": payload,
        }


CHANGES: dict[Callable[[Day, Product], Document], int] = {
    Day.sells: 62,
    Day.restocks: 8,
    Day.reprices: 9,
    Day.reprices_in_dollars: 4,
    Day.plans_a_sale: 3,
    Day.prices_for_the_marketplace: 3,
    Day.drops_the_marketplace_price: 1,
    Day.rewrites: 5,
    Day.shortens_for_the_marketplace: 1,
    Day.takes_off_sale: 1,
    Day.photographs: 3,
}
"""The kinds of changes, each with its share in percent."""


def _range(rng: random.Random) -> Iterator[Product]:
    """An endless range of models, each in some colours and all its sizes."""
    for edition in itertools.count(1):
        for name, family in itertools.product(MODELS, FAMILIES):
            model = name if edition == 1 else f"{name} {edition}"
            yield from _variants(family, model, rng)


def _variants(family: Family, model: str, rng: random.Random) -> Iterator[Product]:
    """One model in two to four colours and all sizes. SKUs of homeware have a slash, as they do in real shops."""
    material = rng.choice(family.materials)
    cents = 100 * rng.randint(*family.euros) - rng.choice((1, 5, 10, 100))
    parent = None
    for colour in rng.sample(tuple(COLOURS), rng.randint(2, 4)):
        for size in family.sizes:
            sku = f"{family.code}-{model.upper().replace(' ', '')}-{colour}-{size}"
            yield Product(sku, parent, family, model, colour, size, material, cents)
            parent = parent or sku


def _description(product: Product) -> Document:
    """A product's catalog payload. A variant's has what is its own, its parent's also what they have in common.

    Some models have no French description, so the English one is used.
    """
    family, colour, material = product.family, COLOURS[product.colour], MATERIALS[product.material]
    praise = CLAIMS[product.cents % len(CLAIMS)]
    description = text(
        f"{family.name['de']} {product.model} aus {material['de']}. {praise['de']}",
        f"{product.model} {family.name['en']} in {material['en']}. {praise['en']}",
        f"{family.name['fr']} {product.model} en {material['fr']}. {praise['fr']}",
    )
    if len(product.model) % 2:
        del description["fr"]
    name = text(
        f"{family.name['de']} {product.model}, {colour['de']}",
        f"{product.model} {family.name['en']}, {colour['en']}",
        f"{family.name['fr']} {product.model}, {colour['fr']}",
    )
    own: Document = {"attributes": {"size": product.size}, "localized": {"name": name, "colour": colour}}
    if product.parent is not None:
        return own | {"parent": product.parent}
    shared = {
        "material": product.material,
        "newIn": product.cents % 4 == 0,
        "weight": {"value": (product.cents % 97 + 5) / 100, "unit": "kg"},
    }
    return {
        "family": family.code.lower(),
        "categories": [family.category, f"models/{product.model.lower()}"],
        "attributes": own["attributes"] | shared,
        "localized": own["localized"] | {"description": description},
    }


def _gallery(product: Product, pictures: int) -> Document:
    """A product's media payload: a main picture with an alternative text in every language, and details."""
    folder = f"https://media.example/{quote(f'{product.family.code}/{product.model}/{product.colour}'.lower())}"
    colour = COLOURS[product.colour]
    assets: list[Document] = [
        {"url": f"{folder}/{number}.webp", "role": "detail", "position": number, "width": 1600, "height": 2000}
        for number in range(pictures)
    ]
    alt = {language: f"{name} {product.model}, {colour[language]}" for language, name in product.family.name.items()}
    assets[0] |= {"role": "main", "mimeType": "image/webp", "alt": alt}
    return {"assets": assets}


def _on_the_marketplace(product: Product) -> bool:
    """Whether the marketplace has its own price from the start: `MARKETPLACE_SHARE` of the products do."""
    return random.Random(product.sku).random() < MARKETPLACE_SHARE


def _hour(at: datetime) -> datetime:
    """The full hour before a time."""
    return at.replace(minute=0, second=0, microsecond=0)


def _money(cents: float) -> str:
    """An amount in a payload: a decimal string, never a number."""
    whole, rest = divmod(round(cents), 100)
    return f"{whole}.{rest:02d}"


def _format_timestamp(at: datetime, clock: timezone | None = None) -> str:
    """An RFC 3339 text, in the writer's time zone."""
    return at.astimezone(clock or UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
