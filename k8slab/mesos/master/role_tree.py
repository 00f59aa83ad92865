"""Roles as the tree their names spell: whose turn it is, by dominant share over weight at every level of it.

Amounts are thousandths by resource name, as ``Resources.totals`` gives them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

DEFAULT_WEIGHT = 1.0


@dataclass(eq=False)
class _Node:
    """``held`` is what the role and all below it hold, ``own`` what its own frameworks hold."""

    role: str
    parent: _Node | None
    members: int = 0
    held: dict[str, int] = field(default_factory=dict)
    own: dict[str, int] = field(default_factory=dict)
    children: dict[str, _Node] = field(default_factory=dict)
    # (node, whether only its own frameworks are meant), kept for as long as nothing below changes: each agent of a
    # cycle asks for it, and a grant changes one path.
    order: list[tuple[_Node, bool]] | None = None


class RoleTree:
    """``totals`` is what all agents have together; whoever changes it calls ``forget_orders``."""

    def __init__(self, totals: Mapping[str, int]) -> None:
        self._totals = totals
        self._root = _Node(role="", parent=None)
        self._nodes: dict[str, _Node] = {}
        self._weights: dict[str, float] = {}

    def set_weight(self, role: str, weight: float) -> None:
        self._weights[role] = weight
        self.forget_orders()

    def enter(self, role: str) -> None:
        """A framework subscribes to ``role``."""
        self._node(role).members += 1

    def leave(self, role: str) -> None:
        node = self._nodes[role]
        node.members -= 1
        self._prune(node)

    def add(self, role: str, amounts: Mapping[str, int], sign: int) -> None:
        """``role`` holds that much more with ``sign`` 1, less with -1."""
        node = self._node(role)
        add_amounts(node.own, amounts, sign)
        step: _Node | None = node
        while step is not None:
            add_amounts(step.held, amounts, sign)
            step.order = None
            step = step.parent
        if sign < 0:
            self._prune(node)

    def forget_orders(self) -> None:
        self._root.order = None
        for node in self._nodes.values():
            node.order = None

    def in_turn(self, wanted: Collection[str]) -> Iterator[str]:
        """The roles among ``wanted``, the least served first."""
        path = [iter(self._order(self._root))]
        while path:
            node, own = next(path[-1], (None, False))
            if node is None:
                path.pop()
            elif own or not node.children:
                if node.role in wanted:
                    yield node.role
            else:
                path.append(iter(self._order(node)))

    def dominant_share(self, amounts: Mapping[str, int]) -> float:
        """The largest part taken of any one resource."""
        totals = self._totals
        return max((amount / totals[name] for name, amount in amounts.items() if totals.get(name)), default=0.0)

    def _order(self, node: _Node) -> list[tuple[_Node, bool]]:
        """The children, and the node's own frameworks among them as one child that weighs 1."""
        if node.order is None:
            weighed = [
                (
                    self.dominant_share(child.held) / self._weights.get(child.role, DEFAULT_WEIGHT),
                    child.role,
                    child,
                    False,
                )
                for child in node.children.values()
            ]
            if node.members or any(node.own.values()):
                weighed.append((self.dominant_share(node.own), node.role, node, True))
            weighed.sort(key=lambda item: item[:2])
            node.order = [(child, own) for _, _, child, own in weighed]
        return node.order

    def _weighed_share(self, node: _Node) -> float:
        return self.dominant_share(node.held) / self._weights.get(node.role, DEFAULT_WEIGHT)

    def _node(self, role: str) -> _Node:
        node = self._nodes.get(role)
        if node is not None:
            return node
        node, path = self._root, ""
        for part in role.split("/"):
            path = f"{path}/{part}" if path else part
            below = self._nodes.get(path)
            if below is None:
                below = self._nodes[path] = node.children[part] = _Node(role=path, parent=node)
                node.order = None
            node = below
        return node

    def _prune(self, node: _Node) -> None:
        """Roles that nobody has or uses any more would be passed by for ever."""
        while node.parent is not None and not (node.children or node.members or any(node.held.values())):
            del self._nodes[node.role]
            del node.parent.children[node.role.rpartition("/")[2]]
            node.parent.order = None
            node = node.parent


def add_amounts(amounts: dict[str, int], more: Mapping[str, int], sign: int) -> None:
    for name, amount in more.items():
        amounts[name] = amounts.get(name, 0) + sign * amount
