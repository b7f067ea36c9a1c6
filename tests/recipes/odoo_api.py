"""An imitation of Odoo: `search_read` by JSON-2 and by JSON-RPC, with languages, archived records, and faults."""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import orjson

from tests.support.fake_endpoint import Asked, Reply

KEY = "0d00-k3y"
DATABASE = "shop"
USER = 2

MODELS = ("product.template", "product.product", "stock.quant")
OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "=": lambda value, given: (value or False) == given,
    "!=": lambda value, given: (value or False) != given,
    ">": lambda value, given: value > given,
    ">=": lambda value, given: value >= given,
}


class Odoo:
    """A database with products, their templates, and quants. `clock` is the time of writing; `fault` answers at times.

    `translated` has the German texts of a product. `between` is called after each answer.
    """

    def __init__(self) -> None:
        self.tables: dict[str, dict[int, dict[str, Any]]] = {
            "product.template": {},
            "product.product": {},
            "stock.quant": {},
        }
        self.translated: dict[int, dict[str, str]] = {}
        self.clock = datetime(2026, 3, 2, 9, 15, tzinfo=UTC)
        self.fault: Callable[[Asked], Reply | None] = lambda _: None
        self.between: Callable[[], None] = lambda: None

    # --- what people do in it ---

    def write(self, model: str, number: int, **values: Any) -> None:  # noqa: ANN401  # fields of any kind
        """Makes or changes a record; its write_date is now, in seconds."""
        record = self.tables[model].setdefault(number, {"id": number})
        record.update(values, write_date=self.clock.strftime("%Y-%m-%d %H:%M:%S"))

    def later(self, seconds: int = 60) -> None:
        """Time passes."""
        self.clock += timedelta(seconds=seconds)

    def product(self, number: int, code: str | None, name: str, price: float, **values: Any) -> None:  # noqa: ANN401  # likewise
        """Makes or changes a product with a template of its own."""
        if number not in self.tables["product.template"]:
            self.write("product.template", number)
        usual = {"description_sale": False, "currency_id": [1, "EUR"], "barcode": False, "weight": 0.0, "active": True}
        usual |= {"type": "consu", "is_storable": True, "categ_id": [12, "All / Furniture"]}
        known = self.tables["product.product"].get(number, {})
        named = {"default_code": code or False, "name": name, "lst_price": price, "product_tmpl_id": [number, name]}
        self.write("product.product", number, **usual | known | named | values)

    def quant(self, number: int, product: int, warehouse: int | None, quantity: float, reserved: float = 0.0) -> None:
        """Makes or changes a quant. Without a warehouse it is at a customer's or a supplier's place."""
        places = {"warehouse_id": [warehouse, f"Warehouse {warehouse}"] if warehouse else False}
        self.write(
            "stock.quant", number, product_id=[product, "…"], quantity=quantity, reserved_quantity=reserved, **places
        )

    # --- what is asked ---

    def __call__(self, asked: Asked) -> Reply:
        """The response to a request."""
        if (reply := self.fault(asked)) is not None:
            return reply
        body = orjson.loads(asked.body)
        assert asked.method == "POST"
        if asked.path == "/jsonrpc":
            return self._by_json_rpc(body)
        if asked.headers.get("authorization") != f"Bearer {KEY}" or asked.headers.get("x-odoo-database") != DATABASE:
            return error(401, "Invalid apikey")
        _, _, version, model, method = asked.path.split("/")
        assert (version, method) == ("2", "search_read")
        return Reply(orjson.dumps(self._search_read(model, body)))

    def _by_json_rpc(self, body: dict[str, Any]) -> Reply:
        assert (body["jsonrpc"], body["method"]) == ("2.0", "call")
        assert (body["params"]["service"], body["params"]["method"]) == ("object", "execute_kw")
        database, user, key, model, method, args, more = body["params"]["args"]
        assert method == "search_read"
        if (database, user, key) != (DATABASE, USER, KEY):
            return rpc_error("Access Denied")
        [domain] = args
        return Reply(
            orjson.dumps({"jsonrpc": "2.0", "id": None, "result": self._search_read(model, {"domain": domain, **more})})
        )

    def _search_read(self, model: str, given: Mapping[str, Any]) -> list[dict[str, Any]]:
        context = given.get("context", {})
        domain = given["domain"]
        if context.get("active_test", True) and model == "product.product":
            domain = [*domain, ["active", "=", True]]
        numbers = sorted(self.tables[model])
        if domain[0][:2] == ["id", ">"]:
            numbers = numbers[bisect_right(numbers, domain[0][2]) :]
        records = (record for record in map(self.tables[model].__getitem__, numbers) if self._matches(record, domain))
        found = islice(records, given.get("limit"))
        texts = self.translated if context.get("lang") == "de_DE" else {}
        page = [
            {name: texts.get(record["id"], {}).get(name, record.get(name, False)) for name in ("id", *given["fields"])}
            for record in found
        ]
        self.between()
        return page

    def _matches(self, record: Mapping[str, Any], domain: Sequence[Any]) -> bool:
        """Whether a record meets a domain in prefix notation: what has no operator before it must hold, too."""
        terms = list(domain)

        def term() -> bool:
            first = terms.pop(0)
            if first == "|":
                left, right = term(), term()
                return left or right
            name, operator, value = first
            return OPERATORS[operator](self._value(record, name), value)

        holds = True
        while terms:
            holds = term() and holds
        return holds

    def _value(self, record: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401  # of any kind
        if name == "location_id.usage":
            return "internal" if record["warehouse_id"] else "customer"
        if name == "product_variant_ids.write_date":
            return self.tables["product.product"].get(record["id"], record)["write_date"]
        if name == "product_tmpl_id.write_date":
            return self.tables["product.template"][record["product_tmpl_id"][0]]["write_date"]
        value = record.get(name)
        return value[0] if isinstance(value, list) else value


def error(status: int, message: str) -> Reply:
    """An error of JSON-2."""
    return Reply(
        orjson.dumps({"name": "werkzeug.exceptions", "message": message, "arguments": [], "debug": "…"}), status
    )


def rpc_error(message: str) -> Reply:
    """An error of JSON-RPC, whose status is 200."""
    failure = {"code": 200, "message": "Odoo Server Error", "data": {"name": "odoo.exceptions", "message": message}}
    return Reply(orjson.dumps({"jsonrpc": "2.0", "id": None, "error": failure}))
