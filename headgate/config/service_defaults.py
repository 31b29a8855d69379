"""`service_defaults`: what every service says that does not say otherwise.

Laws: done on the merged tree, so that defaults of a preset reach the services of a user's file. Mappings merge, lists
of named things merge by name, anything else the service says wins; `{service}` in a text is the service's name.
"""

from __future__ import annotations

from headgate.config.merge import merge, name_of
from headgate.config.shape import Shape
from headgate.config.tree import shape_below
from headgate.config.yaml_nodes import Map, Node, Scalar, Seq

KEY = "service_defaults"
SWITCH = "use_defaults"
_PLACE = "{service}"


def with_defaults(root: Map, shape: Shape) -> Map:
    """Return the tree with the defaults laid under each of its services."""
    defaults, services = root.items.get(KEY), root.items.get("services")
    if not isinstance(defaults, Map) or not isinstance(services, Seq):
        return root
    listed = shape_below(shape, "services")
    items = [_with(defaults, each, listed.item if listed is not None else None) for each in services.items]
    return Map({**root.items, "services": Seq(items, services.at)}, root.keys, root.at)


def _with(defaults: Map, service: Node, shape: Shape | None) -> Node:
    name = name_of(service)
    if not isinstance(service, Map) or name is None:
        return service
    switch = service.items.get(SWITCH)
    if isinstance(switch, Scalar) and switch.value is False:
        return service
    made = _named(defaults, name)
    assert isinstance(made, Map)
    items = {key: node for key, node in made.items.items() if key != "name" and not _hidden(key, service)}
    merged = merge(Map(items, {key: made.keys[key] for key in items}, service.at), service, shape)
    if isinstance(merged, Map):
        merged.damaged = service.damaged
    return merged


def _hidden(key: str, service: Map) -> bool:
    """Tell whether the service says where it runs by other words than the defaults do."""
    places = ("url", "endpoints", "discovery")
    return key in places and any(each in service.items for each in places if each != key)


def _named(node: Node, name: str) -> Node:
    if isinstance(node, Map):
        return Map({key: _named(each, name) for key, each in node.items.items()}, node.keys, node.at)
    if isinstance(node, Seq):
        return Seq([_named(each, name) for each in node.items], node.at)
    if _PLACE not in node.text or node.env:
        return node
    text = node.text.replace(_PLACE, name)
    return Scalar(text, text, node.at, node.env)
