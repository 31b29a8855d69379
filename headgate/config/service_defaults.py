"""What is said of all services at once: `service_defaults` under them, `service_overrides` over them.

And with `unlisted_services: discover`, a service for each destination that names none. Laws: done on the merged tree,
so that what a preset says reaches the services of a user's file. Mappings merge, lists of named things merge by name,
of anything else the upper one wins; `{service}` in a text is the service's name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from headgate.config.merge import merge, name_of
from headgate.config.problems import Problem, printable
from headgate.config.shape import Shape
from headgate.config.tree import shape_below
from headgate.config.yaml_nodes import MAX_NODES, Map, Node, Scalar, Seq, size_of

KEY = "service_defaults"
OVERRIDES = "service_overrides"
SWITCH = "use_defaults"
_PLACE = "{service}"


def too_many(root: Map) -> Iterator[Problem]:
    """Find what would become more values, laid under or over each service, than any document may hold."""
    services = root.items.get("services")
    for key in (KEY, OVERRIDES):
        said = root.items.get(key)
        if said is not None and isinstance(services, Seq) and size_of(said) * len(services.items) > MAX_NODES:
            yield Problem(said.at, key, f"more than {MAX_NODES:,} values, for all services together")


def with_defaults(root: Map, shape: Shape) -> Map:
    """Return the tree with the defaults laid under each of its services."""
    return _each(root, root.items.get(KEY), shape, _over)


def with_overrides(root: Map, shape: Shape) -> Map:
    """Return the tree with the overrides laid over each of its services."""
    return _each(root, root.items.get(OVERRIDES), shape, _under)


def with_unlisted(root: Map, notices: list[Problem]) -> Map:
    """Return the tree with a service for each destination that names none, where that is wanted; say which."""
    wanted, services = root.items.get("unlisted_services"), root.items.get("services")
    if not isinstance(wanted, Scalar) or wanted.value != "discover" or not isinstance(services, Seq):
        return root
    known = {name for each in services.items if (name := name_of(each))}
    made: dict[str, Node] = {}
    for destination in _destinations(services):
        if destination.text and destination.text not in known and destination.text not in made:
            made[destination.text] = Map({"name": destination}, {"name": destination.at}, destination.at)
            message = f'no service is called "{printable(destination.text)}": it is looked for by discovery'
            notices.append(Problem(destination.at, "", message, severity="warning"))
    items = [*services.items, *made.values()]
    return Map({**root.items, "services": Seq(items, services.at, services.damaged)}, root.keys, root.at, root.damaged)


def _destinations(services: Seq) -> Iterator[Scalar]:
    """Yield the names of services that routes lead to."""
    for service in services.items:
        routes = service.items.get("routes") if isinstance(service, Map) else None
        for route in routes.items if isinstance(routes, Seq) else ():
            listed = route.items.get("destinations") if isinstance(route, Map) else None
            for each in listed.items if isinstance(listed, Seq) else ():
                name = each.items.get("service_name") if isinstance(each, Map) else None
                if isinstance(name, Scalar):
                    yield name


def _each(root: Map, said: Node | None, shape: Shape, lay: Callable[[Map, Map, Shape | None], Node]) -> Map:
    """Return the tree with each named service as `lay` makes it of itself and what is said of all."""
    services = root.items.get("services")
    if not isinstance(said, Map) or not isinstance(services, Seq):
        return root
    listed = shape_below(shape, "services")
    items = [_laid(said, each, listed.item if listed is not None else None, lay) for each in services.items]
    return Map({**root.items, "services": Seq(items, services.at, services.damaged)}, root.keys, root.at, root.damaged)


def _laid(said: Map, service: Node, shape: Shape | None, lay: Callable[[Map, Map, Shape | None], Node]) -> Node:
    name = name_of(service)
    if not isinstance(service, Map) or name is None:
        return service
    items = {key: _named(each, name) for key, each in said.items.items() if key != "name"}
    return lay(Map(items, said.keys, said.at), service, shape)


def _over(defaults: Map, service: Map, shape: Shape | None) -> Node:
    switch = service.items.get(SWITCH)
    if isinstance(switch, Scalar) and switch.value is False:
        return service
    items = {key: node for key, node in defaults.items.items() if not _hidden(key, service)}
    return merge(Map(items, defaults.keys, service.at), service, shape)


def _under(overrides: Map, service: Map, shape: Shape | None) -> Node:
    return merge(service, overrides, shape)


def _hidden(key: str, service: Map) -> bool:
    """Tell whether the service says where it runs by other words than the defaults do."""
    places = ("url", "endpoints", "discovery")
    return key in places and any(each in service.items for each in places if each != key)


def _named(node: Node, name: str) -> Node:
    if isinstance(node, Map):
        return Map({key: _named(each, name) for key, each in node.items.items()}, node.keys, node.at, node.damaged)
    if isinstance(node, Seq):
        return Seq([_named(each, name) for each in node.items], node.at, node.damaged)
    if _PLACE not in node.text:
        return node
    text = node.text.replace(_PLACE, name)
    return Scalar(text, text, node.at, node.env)
