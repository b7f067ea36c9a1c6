"""Values at paths of JSON that is not decoded."""

import msgspec

members_of = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
"""The members of a JSON object, undecoded. Of repeated keys, the last counts."""

_elements_of = msgspec.json.Decoder(list[msgspec.Raw]).decode


def raw_at(body: bytes | msgspec.Raw, path: str) -> bytes | msgspec.Raw | None:
    """The value at a path of names and indices with dots between them; None if there is none."""
    found: bytes | msgspec.Raw = body
    for name in path.split(".") if path else ():
        try:
            found = _elements_of(found)[int(name)] if name.isdecimal() and is_array(found) else members_of(found)[name]
        except (msgspec.ValidationError, LookupError):
            return None
    return found


def value_at(body: bytes | msgspec.Raw, path: str) -> object:
    """The value at a path, decoded; None if there is none."""
    raw = raw_at(body, path)
    return None if raw is None else msgspec.json.decode(raw)


def with_raw(row: msgspec.Raw, name: str, value: bytes) -> msgspec.Raw:
    """An object with another value of a member. Raises `msgspec.ValidationError` if it is no object."""
    members = members_of(row)
    if name in members or not members:
        return msgspec.Raw(msgspec.json.encode({**members, name: msgspec.Raw(value)}))
    return msgspec.Raw(bytes(row).rstrip().removesuffix(b"}") + b",%s:%s}" % (msgspec.json.encode(name), value))


def is_array(text: bytes | msgspec.Raw) -> bool:
    """Whether a JSON value is an array."""
    return bytes(memoryview(text)[:64]).lstrip().startswith(b"[")
