"""Constants, from the points to the logits: what is Lipschitz, between which metrics, and why.

A :class:`Bound` says that one stage is Lipschitz from one :class:`Space` to another; a
:class:`StabilityChain` composes bounds and refuses to compose what does not fit. Nothing here
has a default constant: a stage that cannot name its own raises :class:`StabilityError`.

All products and sums of constants are rounded up, so a chain's constant is an upper bound in
floating point too.
"""

from __future__ import annotations

import html
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray


class StabilityError(ValueError):
    """A stage has no proven constant for what it was asked, or two bounds do not fit."""


@dataclass(frozen=True)
class Space:
    """A kind of object together with the metric in which distances are measured.

    Parameters
    ----------
    kind : str
        ``"points"``, ``"matrix"``, ``"series"``, ``"diagram"``, ``"vector"``, or ``"product"`` for
        objects side by side.
    metric : str
        For points ``"hausdorff"``, ``"per-point"`` (largest ℓ2 displacement of a point),
        ``"per-coordinate"`` or ``"frobenius"``; for matrices, images and series ``"sup"`` (largest
        change of an entry); for diagrams ``"bottleneck"``, ``"wasserstein"`` or
        ``"ordered deaths"`` (largest difference between k-th largest deaths, all births being 0,
        fact D3) or ``"ordered deaths l2"`` (root of the sum of the squares of these differences,
        fact D7); for vectors ``"linf"`` or ``"l2"``.
    p, q : float, optional
        Exponent and ground norm of a Wasserstein metric; given for ``"wasserstein"`` only.
    parts : tuple of (str, Space), optional
        The named components of a product.

    Examples
    --------
    >>> print(Space("diagram", "wasserstein", p=2.0, q=float("inf")))
    diagram[wasserstein p=2 q=inf]
    """

    kind: str
    metric: str = ""
    p: float | None = None
    q: float | None = None
    parts: tuple[tuple[str, Space], ...] = ()

    def __post_init__(self) -> None:
        named = [exponent is not None for exponent in (self.p, self.q)]
        if not all(named) if self.metric == "wasserstein" else any(named):
            raise ValueError(
                f"Space({self.kind!r}, {self.metric!r}): a Wasserstein metric, and no other, names "
                f"its exponent p and its ground norm q; got p={self.p!r}, q={self.q!r}."
            )
        for name, exponent in (("p", self.p), ("q", self.q)):
            if exponent is None:
                continue
            if not exponent >= 1:  # NaN fails this too
                raise ValueError(
                    f"{name}={exponent!r} is not the exponent of a norm: expected >= 1."
                )
            object.__setattr__(self, name, float(exponent))

    @classmethod
    def product(cls, parts: Mapping[str, Space]) -> Space:
        """Objects side by side, by name; a distance is one number for each name."""
        return cls("product", parts=tuple(parts.items()))

    def __str__(self) -> str:
        if self.parts:
            return " × ".join(f"{name}:{space}" for name, space in self.parts)
        exponents = f" p={self.p:g} q={self.q:g}" if self.p is not None else ""
        return f"{self.kind}[{self.metric}{exponents}]"

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; exponents as strings, since JSON has no infinity."""
        data: dict[str, Any] = {"kind": self.kind}
        if self.metric:
            data["metric"] = self.metric
        if self.p is not None:
            data["p"], data["q"] = str(self.p), str(self.q)
        if self.parts:
            data["parts"] = [[name, space.to_dict()] for name, space in self.parts]
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Space:
        """The inverse of :meth:`to_dict`."""
        return cls(
            data["kind"],
            data.get("metric", ""),
            float(data["p"]) if "p" in data else None,
            float(data["q"]) if "q" in data else None,
            tuple((name, cls.from_dict(space)) for name, space in data.get("parts", [])),
        )


HAUSDORFF = Space("points", "hausdorff")
SUP = Space("matrix", "sup")
SERIES_SUP = Space("series", "sup")
PER_POINT = Space("points", "per-point")
PER_COORDINATE = Space("points", "per-coordinate")
FROBENIUS = Space("points", "frobenius")
BOTTLENECK = Space("diagram", "bottleneck")
ORDERED_DEATHS = Space("diagram", "ordered deaths")
ORDERED_DEATHS_L2 = Space("diagram", "ordered deaths l2")
LINF = Space("vector", "linf")
L2 = Space("vector", "l2")


@dataclass(frozen=True)
class Bound:
    """One stage is Lipschitz: ``d_target(f(x), f(x')) <= constant * d_source(x, x')``.

    Parameters
    ----------
    source, target : Space
        From which metric to which.
    constant : float
        The proven upper bound; finite and not negative. With `constants` into ℓ∞, or of a
        coordinatewise bound, it is their maximum.
    theorem : str
        What it rests on.
    stage : str, default=""
        The name of the stage, for tables.
    constants : tuple of float, optional
        One constant for each coordinate of a stage that ends in ℓ∞ or ℓ2: coordinate i moves by at
        most ``constants[i] * d_source``. In ℓ2 all together move by at most `constant`, which may
        be far below the root of the sum of squares, and is not below any of them.
    coordinatewise : bool, default=False
        Coordinate i of the output depends on coordinate i of the input alone, with constant
        ``constants[i]``; so constants of an earlier stage multiply coordinate by coordinate.

    Raises
    ------
    StabilityError
        If a constant is NaN, infinite or negative, or `constants` do not fit the rest.
    """

    source: Space
    target: Space
    constant: float
    theorem: str
    stage: str = ""
    constants: tuple[float, ...] | None = None
    coordinatewise: bool = False

    def __post_init__(self) -> None:
        stage = self.stage or "a stage"
        # Adding 0.0 turns -0.0 into 0.0: equal bounds have equal JSON.
        object.__setattr__(self, "constant", float(self.constant) + 0.0)
        if self.constants is not None:
            values = tuple(float(value) + 0.0 for value in self.constants)
            object.__setattr__(self, "constants", values)
        for i, value in enumerate((self.constant, *(self.constants or ()))):
            if not (math.isfinite(value) and value >= 0):
                coordinate = f" for coordinate {i - 1}" if i else ""
                raise StabilityError(
                    f"{stage}: a Lipschitz constant must be finite and not negative, got {value!r}"
                    f"{coordinate} from {self.source} to {self.target}."
                )
        if self.constants is not None:
            if self.target not in (LINF, L2):
                raise StabilityError(
                    f"{stage}: constants of single coordinates need the target {LINF} or {L2}, got "
                    f"{self.target}."
                )
            largest = max(self.constants, default=0.0)
            exactly = self.target == LINF or self.coordinatewise
            if self.constant != largest if exactly else self.constant < largest:
                raise StabilityError(
                    f"{stage}: constant {self.constant!r} is not the largest of its coordinates' "
                    f"constants, {largest!r}."
                )
        if self.coordinatewise and (self.constants is None or self.source != self.target):
            raise StabilityError(
                "A coordinatewise bound needs constants and one space on both sides."
            )

    @classmethod
    def by_coordinate(
        cls,
        source: Space,
        constants: NDArray[np.float64] | Sequence[float],
        theorem: str,
        *,
        stage: str = "",
        coordinatewise: bool = False,
    ) -> Bound:
        """A bound into ℓ∞ that knows the constant of each coordinate; into ℓ2 if it starts there.

        From ℓ2 into ℓ2 it is coordinatewise.
        """
        values = tuple(float(value) for value in constants)
        target = L2 if source == L2 and coordinatewise else LINF
        return cls(source, target, max(values, default=0.0), theorem, stage, values, coordinatewise)

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        data: dict[str, Any] = {
            "source": self.source.to_dict(),
            "target": self.target.to_dict(),
            "constant": self.constant,
            "theorem": self.theorem,
            "stage": self.stage,
        }
        if self.constants is not None:
            data["constants"] = list(self.constants)
            data["coordinatewise"] = self.coordinatewise
        return data


@dataclass(frozen=True)
class Parallel:
    """Bounds side by side, one a branch: the homology dimensions, or several filtrations.

    Parameters
    ----------
    branches : dict of str to Bound or StabilityChain
        All start either from one common space, or from the parts of a product of the same names.
    joined : bool, default=False
        Whether the branches end in one concatenated vector (all in the same norm) rather than in
        a product.
    """

    branches: Mapping[str, Bound | StabilityChain]
    joined: bool = False

    def __post_init__(self) -> None:
        if not self.branches:
            raise StabilityError("Parallel needs at least one branch.")
        object.__setattr__(self, "branches", dict(self.branches))  # nobody changes it behind us
        if self.joined:
            targets = {branch.target for branch in self.branches.values()}
            if len(targets) > 1 or next(iter(targets)).kind != "vector":
                raise StabilityError(
                    "Only vectors in one norm can be joined, got "
                    + ", ".join(f"{n}: {b.target}" for n, b in self.branches.items())
                    + ". Convert them explicitly."
                )

    def source_fits(self, space: Space) -> bool:
        """Whether the branches can start from `space`."""
        if all(branch.source == space for branch in self.branches.values()):
            return True
        return dict(space.parts) == {n: b.source for n, b in self.branches.items()}

    @property
    def source(self) -> Space:
        """The common space, or the product of the branches' spaces."""
        sources = {name: branch.source for name, branch in self.branches.items()}
        first = next(iter(sources.values()))
        if all(space == first for space in sources.values()) and first.kind != "diagram":
            return first  # equal diagram spaces are those of several homology dimensions
        return Space.product(sources)

    @property
    def target(self) -> Space:
        """The joined vector, or the product of the branches' spaces."""
        if self.joined:
            return next(iter(self.branches.values())).target
        return Space.product({name: branch.target for name, branch in self.branches.items()})

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "branches": {
                name: (
                    branch if isinstance(branch, StabilityChain) else StabilityChain(branch)
                ).to_list()
                for name, branch in self.branches.items()
            },
            "joined": self.joined,
        }


Element: TypeAlias = Bound | Parallel


@dataclass(frozen=True)
class Block:
    """Some coordinates of a vector in ℓ2: how far they move together, and how far each of them.

    Parameters
    ----------
    together : float
        A bound of the ℓ2 norm of their change.
    each : ndarray of shape (n_coordinates,)
        A bound of the change of each of them.
    """

    together: float
    each: NDArray[np.float64]

    def scaled(self, factors: NDArray[np.float64]) -> Block:
        """The coordinates times numbers >= 0: ‖f Δ‖₂ <= max f ‖Δ‖₂, and <= ‖(f_i Δ_i)‖₂."""
        each = multiply_exact_or_up(self.each, factors)
        together = float(multiply_exact_or_up(self.together, factors.max(initial=0.0)))
        return Block(min(together, root_sum_squares_up(each)), each)


_Reach: TypeAlias = float | NDArray[np.float64] | list[Block] | dict[str, Any]


class StabilityChain:
    """Bounds one after the other: the end-to-end constant and what each part of it rests on.

    Parameters
    ----------
    *elements : Bound, Parallel or StabilityChain
        In the order of the flow; chains are flattened.

    Raises
    ------
    StabilityError
        If the target of an element is not the source of the next; both are named.

    Examples
    --------
    >>> chain = StabilityChain(
    ...     Bound(HAUSDORFF, BOTTLENECK, 1.0, "D1", "alpha"),
    ...     Bound(BOTTLENECK, LINF, 2.0, "R3", "sorted lengths"),
    ... )
    >>> chain.constant
    2.0
    """

    def __init__(self, *elements: Bound | Parallel | StabilityChain) -> None:
        flat: list[Element] = []
        for element in elements:
            flat.extend(element.elements if isinstance(element, StabilityChain) else [element])
        for before, after in itertools.pairwise(flat):
            fits = (
                after.source_fits(before.target)
                if isinstance(after, Parallel)
                else after.source == before.target
            )
            if not fits:
                raise StabilityError(
                    f"Cannot compose: {_stage_name(before)} ends in {before.target}, but "
                    f"{_stage_name(after)} starts from {after.source}. Insert an explicit "
                    f"conversion between the two, if there is one."
                )
        self.elements: tuple[Element, ...] = tuple(flat)

    @property
    def source(self) -> Space:
        """Where the chain starts."""
        return self._nonempty()[0].source

    @property
    def target(self) -> Space:
        """Where the chain ends."""
        return self._nonempty()[-1].target

    @property
    def constant(self) -> float:
        """The end-to-end constant, rounded up; of a vector the largest over its coordinates.

        Infinite if the product of the constants is beyond float64: still an upper bound.
        """
        return _largest(self._reach())

    @property
    def constants(self) -> NDArray[np.float64] | None:
        """The constant of each output coordinate, when the last stages know them; else None."""
        reach = self._reach()
        if isinstance(reach, list):
            return np.concatenate([block.each for block in reach])
        return reach.copy() if isinstance(reach, np.ndarray) else None

    @property
    def blocks(self) -> list[Block] | None:
        """The blocks of coordinates of a vector in ℓ2, in order, when they are known; else None."""
        reach = self._reach()
        return list(reach) if isinstance(reach, list) else None

    def then(self, *elements: Bound | Parallel | StabilityChain) -> StabilityChain:
        """This chain followed by `elements`."""
        return StabilityChain(*self.elements, *elements)

    def __len__(self) -> int:
        return len(self.elements)

    def __iter__(self) -> Iterator[Element]:
        return iter(self.elements)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, StabilityChain) and self.to_list() == other.to_list()

    def __hash__(self) -> int:
        return hash(self.to_json())

    def to_list(self) -> list[dict[str, Any]]:
        """Plain data for JSON."""
        return [element.to_dict() for element in self.elements]

    def to_json(self) -> str:
        """The chain as JSON text; floats round-trip exactly."""
        return json.dumps(self.to_list(), allow_nan=False)

    @classmethod
    def from_json(cls, text: str) -> StabilityChain:
        """The inverse of :meth:`to_json`; every check of the constructors runs again.

        Raises
        ------
        StabilityError
            If the text is anything else.
        """
        try:
            return cls._from_list(json.loads(text))
        except StabilityError:
            raise
        except (LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise StabilityError(f"This is not the JSON of a stability chain: {error!r}") from error

    @classmethod
    def _from_list(cls, data: Sequence[Mapping[str, Any]]) -> StabilityChain:
        return cls(*(_element_from_dict(entry) for entry in data))

    def __str__(self) -> str:
        if not self.elements:
            return "StabilityChain()"
        rows = [("stage", "from", "to", "constant", "rests on"), *self._rows()]
        widths = [max(len(row[i]) for row in rows) for i in range(4)]
        lines = [
            "  ".join([*(c.ljust(w) for c, w in zip(r[:4], widths, strict=True)), r[4]])
            for r in rows
        ]
        lines.insert(1, "  ".join("─" * w for w in [*widths, 40]))
        return "\n".join([*lines, f"end to end: {self.constant:.6g}"])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        if not self.elements:
            return "<p>StabilityChain()</p>"
        head = "".join(f"<th>{n}</th>" for n in ("stage", "from", "to", "constant", "rests on"))
        body = "".join(
            "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in self._rows()
        )
        return (
            f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody><tfoot><tr>"
            f'<td colspan="3">end to end</td><td>{self.constant:.6g}</td><td></td>'
            "</tr></tfoot></table>"
        )

    def _rows(self, prefix: str = "") -> list[tuple[str, str, str, str, str]]:
        rows = []
        for element in self.elements:
            if isinstance(element, Parallel):
                for name, branch in element.branches.items():
                    chain = branch if isinstance(branch, StabilityChain) else StabilityChain(branch)
                    rows.extend(chain._rows(f"{prefix}{name} · "))
            else:
                constant = f"{element.constant:.6g}"
                if element.constants and min(element.constants) < element.constant:
                    constant = f"{min(element.constants):.6g} … {constant}"
                rows.append(
                    (
                        prefix + (element.stage or "bound"),
                        str(element.source),
                        str(element.target),
                        constant,
                        element.theorem,
                    )
                )
        return rows

    def _reach(self, start: _Reach = 1.0) -> _Reach:
        self._nonempty()
        for element in self.elements:
            start = _push(start, element)
        return start

    def _nonempty(self) -> tuple[Element, ...]:
        if not self.elements:
            raise StabilityError("An empty chain has no space and no constant.")
        return self.elements


def conversion(source: Space, target: Space, *, dimension: int | None = None) -> Bound:
    """The explicit bound between two metrics on the same kind of object.

    Parameters
    ----------
    source, target : Space
        ``per-coordinate -> per-point`` costs √d in R^d (D6); ``per-point -> hausdorff`` and
        ``frobenius -> per-point`` cost 1; ``wasserstein -> bottleneck`` costs 1;
        ``linf -> l2`` costs √k on k coordinates; ``l2 -> linf`` costs 1.
    dimension : int, optional
        The d or k above, where it is needed.

    Returns
    -------
    Bound

    Raises
    ------
    StabilityError
        If no conversion between the two is known, or its dimension is missing.
    """
    key = (source.kind, source.metric, target.kind, target.metric)
    if key in _FREE_CONVERSIONS:
        return Bound(source, target, 1.0, _FREE_CONVERSIONS[key], "conversion")
    if key in _ROOT_CONVERSIONS:
        if dimension is None or not dimension >= 1:
            raise StabilityError(
                f"The conversion from {source} to {target} costs the root of the dimension: "
                "give it."
            )
        return Bound(source, target, sqrt_up(dimension), _ROOT_CONVERSIONS[key], "conversion")
    raise StabilityError(f"There is no conversion from {source} to {target}.")


_FREE_CONVERSIONS = {
    ("points", "per-point", "points", "hausdorff"): "each point has its moved self within ε",
    ("points", "frobenius", "points", "per-point"): "no point moves further than all do together",
    ("diagram", "wasserstein", "diagram", "bottleneck"): "ℓ∞ ≤ ℓq on bars, and on matchings",
    ("vector", "l2", "vector", "linf"): "ℓ∞ ≤ ℓ2",
}
_ROOT_CONVERSIONS = {
    ("points", "per-coordinate", "points", "per-point"): "D6: ℓ2 ≤ √d ℓ∞ in R^d",
    ("vector", "linf", "vector", "l2"): "ℓ2 ≤ √k ℓ∞ on k coordinates",
}


def multiply_up(a: Any, b: Any) -> Any:
    """``a * b`` for non-negative factors, rounded towards +inf (exact zeros stay zero)."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    with np.errstate(over="ignore", invalid="ignore"):  # inf is an upper bound; 0 * inf is 0 here
        above = np.nextafter(np.multiply(a, b), np.inf)
    return np.where((a == 0) | (b == 0), 0.0, above)


def sqrt_up(value: float) -> float:
    """An upper bound of the square root; exact for perfect squares of integers."""
    root = math.sqrt(value)
    if root.is_integer() and int(root) ** 2 == value:  # in integers: root * root may round
        return root
    return math.nextafter(root, math.inf)


def inverse_root_up(k: int) -> float:
    """The smallest float that is at least 1/√k."""
    value = 1 / math.sqrt(k)
    while Fraction(value) ** 2 * int(k) < 1:
        value = math.nextafter(value, math.inf)
    return value


def _stage_name(element: Element) -> str:
    if isinstance(element, Bound):
        return element.stage or "a bound"
    return "parallel(" + ", ".join(element.branches) + ")"


def root_sum_squares_up(values: NDArray[np.float64] | Sequence[float]) -> float:
    """An upper bound of the ℓ2 norm of numbers >= 0; exact for a single one."""
    numbers = np.asarray(values, dtype=np.float64)
    largest = float(numbers.max(initial=0.0))
    if np.count_nonzero(numbers) <= 1 or not math.isfinite(largest):
        return largest
    # in units of the largest, so that no square overflows, and none that is lost counts
    squares = np.square(numbers / largest)
    sum_of_squares = math.fsum(squares.tolist()) * (1 + 8 * 2.0**-53) + numbers.size * 1e-300
    return float(multiply_up(largest, math.nextafter(math.sqrt(sum_of_squares), math.inf)))


def _largest(reach: _Reach) -> float:
    """How far the whole moves: of a product, and in ℓ∞, the largest of its parts."""
    if isinstance(reach, dict):
        return max(_largest(part) for part in reach.values())
    if isinstance(reach, list):
        return root_sum_squares_up([block.together for block in reach])
    return float(np.max(reach, initial=0.0))


def _push(reach: _Reach, element: Element) -> _Reach:
    if isinstance(element, Parallel):
        parts = {
            # a branch that starts from a product itself takes the whole of it
            name: _push_branch(
                reach[name] if isinstance(reach, dict) and not branch.source.parts else reach,
                branch,
            )
            for name, branch in element.branches.items()
        }
        return _join(parts, element.target) if element.joined else parts
    if element.coordinatewise and (element.target == LINF or isinstance(reach, list)):
        return _push_each(reach, element)
    incoming = _largest(reach)
    together = float(multiply_exact_or_up(incoming, element.constant))
    if element.constants is None or element.coordinatewise:
        return together
    each = np.asarray(multiply_exact_or_up(incoming, np.asarray(element.constants)))
    return each if element.target == LINF else [Block(together, each)]


def _push_each(reach: _Reach, element: Bound) -> _Reach:
    constants = np.asarray(element.constants)
    parts: list[NDArray[np.float64]] = []
    if isinstance(reach, list):
        parts = [block.each for block in reach]
    elif isinstance(reach, np.ndarray):
        parts = [reach]
    ends = np.cumsum([part.size for part in parts])
    if parts and ends[-1] != constants.size:
        raise StabilityError(
            f"{_stage_name(element)} acts on {constants.size} coordinates, but the stages before "
            f"it give {ends[-1]}."
        )
    if isinstance(reach, list):
        factors = np.split(constants, ends[:-1])
        return [block.scaled(own) for block, own in zip(reach, factors, strict=True)]
    return np.asarray(multiply_exact_or_up(reach, constants))


def multiply_exact_or_up(a: Any, b: Any) -> Any:
    """Like :func:`multiply_up`, but exact where a factor is 1 (so chains of ones stay at 1)."""
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return np.where(a == 1.0, b, np.where(b == 1.0, a, multiply_up(a, b)))


def _push_branch(reach: _Reach, branch: Bound | StabilityChain) -> _Reach:
    return branch._reach(reach) if isinstance(branch, StabilityChain) else _push(reach, branch)


def _join(parts: dict[str, _Reach], target: Space) -> _Reach:
    if target == LINF:
        if all(isinstance(part, np.ndarray) for part in parts.values()):
            return np.concatenate([np.asarray(part) for part in parts.values()])
        return max(_largest(part) for part in parts.values())
    blocks = [part for part in parts.values() if isinstance(part, list)]
    if len(blocks) == len(parts):
        return list(itertools.chain.from_iterable(blocks))
    return root_sum_squares_up([_largest(part) for part in parts.values()])


def _element_from_dict(data: Mapping[str, Any]) -> Element:
    if "branches" in data:
        return Parallel(
            {name: StabilityChain._from_list(branch) for name, branch in data["branches"].items()},
            bool(data["joined"]),
        )
    constants = data.get("constants")
    return Bound(
        Space.from_dict(data["source"]),
        Space.from_dict(data["target"]),
        float(data["constant"]),
        str(data["theorem"]),
        str(data.get("stage", "")),
        None if constants is None else tuple(float(value) for value in constants),
        bool(data.get("coordinatewise", False)),
    )
