"""The chain of constants, derived link by link from the model's file (D1 to D6, R2 to R4, N1).

A chain is written as a list of elements: a bound from one metric to another, or branches side by
side, each a chain of its own.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from stablerank.checker import fields
from stablerank.checker.claims import ClaimError, NotChecked
from stablerank.checker.diagrams import diagram_dimensions
from stablerank.checker.linear_images import inner_of, matrix_of, norm_up
from stablerank.checker.model_file import Stage
from stablerank.checker.network import Affine, Kinks, Network
from stablerank.checker.rounding import inverse_root_up, root_up, sum_up, times_up
from stablerank.checker.threats import Space
from stablerank.checker.vectors import VECTORIZERS, homology_dimensions, slopes

Element: TypeAlias = dict[str, Any]

_LINF: Space = {"kind": "vector", "metric": "linf"}
ORDERED: Space = {"kind": "diagram", "metric": "ordered deaths"}
BOTTLENECK: Space = {"kind": "diagram", "metric": "bottleneck"}
_COARSER = {"frobenius": "per-point", "per-coordinate": "per-point", "per-point": "hausdorff"}
_ROUNDED = 2.0**-40  # by how much two roundings of one constant may differ


def links_to_vectors(
    stages: tuple[Stage, ...], space: Space, behind: dict[int, Space] | None = None
) -> list[Element]:
    """From the metric of the adversary to the vectors in ℓ∞.

    Parameters
    ----------
    stages : tuple of Stage
        Up to the vectors.
    space : dict
        The metric of the adversary.
    behind : dict of int to dict, optional
        Where the stages stand behind a filtration the metric of each homology dimension; by default
        diagrams move in `space` itself.

    Raises
    ------
    NotChecked
        If a stage has no constant that is known here.
    """
    elements: list[Element] = []
    for stage in stages:
        if stage.kind == "union":
            branches = {name: links_to_vectors(own, space, behind) for name, own in stage.branches}
            elements.append({"branches": branches, "joined": True})
        elif stage.kind in VECTORIZERS:
            elements.append(_vectorizer(stage, space, behind))
        elif stage.kind in fields.KINDS:
            elements += field_links(stage, space)
        else:
            *conversions, own = filtration_links(stage, space)
            elements += [*conversions, own]
            behind = {int(h[1:]): branch[0]["target"] for h, branch in own["branches"].items()}
    return elements


def filtration_links(stage: Stage, space: Space) -> list[Element]:
    """From the metric of the adversary to the diagrams, by way of coarser metrics where need be.

    Raises
    ------
    NotChecked
        If no constant from there is known here.
    """
    conversions, space = _conversions(stage, space, set(_direct(stage)))
    constant, ordered = _direct(stage)[space["metric"]], _has_ordered_deaths(stage)
    branches = {}
    for k in diagram_dimensions(stage):
        target = ORDERED if ordered and k == 0 else BOTTLENECK
        branches[f"H{k}"] = [_link(space, target, constant, stage.kind)]
    return [*conversions, {"branches": branches, "joined": False}]


def field_links(stage: Stage, space: Space) -> list[Element]:
    """From the metric of the adversary to the vectors of a field, likewise."""
    direct = fields.constants(stage)
    conversions, space = _conversions(stage, space, set(direct))
    each = direct[space["metric"]]
    own = _link(space, _LINF, max(each), stage.kind)
    return [*conversions, {**own, "constants": each, "coordinatewise": False}]


def _conversions(stage: Stage, space: Space, known: set[str]) -> tuple[list[Element], Space]:
    """To the first metric that is known, each no finer than that before; √d from coordinates."""
    conversions: list[Element] = []
    while space["metric"] not in known:
        metric = _COARSER.get(space["metric"])
        if metric is None or space["kind"] != "points":
            raise NotChecked("stage", f"{stage.kind!r} has no constant from {space['metric']!r}")
        by_coordinate = space["metric"] == "per-coordinate"
        costs = root_up(float(stage.fitted["dimension_"])) if by_coordinate else 1.0
        coarser = {"kind": "points", "metric": metric}
        conversions.append(_link(space, coarser, costs, "conversion"))
        space = coarser
    return conversions, space


def links_to_logits(network: Network) -> list[Element]:
    """From the vectors to the logits, in ℓ∞: products of the largest ℓ1 norms of rows (N1)."""
    spread = {"constants": network.factor.tolist(), "coordinatewise": True}
    first = _link(_LINF, _LINF, float(network.factor.max(initial=0.0)), "standardize")
    elements = [{**first, **spread}]
    for layer in (*network.layers, network.head):
        norm = 1.0
        if isinstance(layer, Affine):
            norm = max(sum_up(np.abs(row)) for row in layer.weight)
        name = layer.name if isinstance(layer, Kinks) else type(layer).__name__
        elements.append(_link(_LINF, _LINF, norm, name))
    return elements


def check_links(stated: Any, derived: list[Element], where: str = "") -> None:
    """Every link that a file states goes between the metrics that it should, and is no smaller.

    Raises
    ------
    ClaimError
        Naming the first that is not so.
    """
    if not isinstance(stated, list) or len(stated) != len(derived):
        raise ClaimError("link", f"{where or 'the chain'} does not have {len(derived)} links")
    for own, link in zip(stated, derived, strict=True):
        if "branches" in link:
            branches = own.get("branches") if isinstance(own, dict) else None
            if not isinstance(branches, dict) or list(branches) != list(link["branches"]):
                names = ", ".join(link["branches"])
                raise ClaimError("link", f"{where or 'the chain'} has no branches {names} here")
            if own["joined"] is not link["joined"]:
                raise ClaimError("link", f"{where or 'the chain'} joins other branches")
            for name, branch in link["branches"].items():
                check_links(branches[name], branch, f"{where}{name} · ")
            continue
        name = f"{where}{link['stage']}"
        if not isinstance(own, dict) or "branches" in own:
            raise ClaimError("link", f"{name} is missing")
        for key in ("source", "target"):
            if own[key] != link[key]:
                raise ClaimError(
                    "link",
                    f"{name} has another {key}",
                    claimed=str(own[key]),
                    derived=str(link[key]),
                )
        _check_constants(own, link, name)


def _check_constants(own: Element, link: Element, name: str) -> None:
    stated = np.array(own.get("constants") or [own["constant"]], dtype=np.float64)
    least = np.array(link.get("constants") or [link["constant"]], dtype=np.float64)
    if ("constants" in own) != ("constants" in link) or stated.shape != least.shape:
        raise ClaimError("link", f"{name} has not one constant a coordinate")
    if bool(own.get("coordinatewise")) != bool(link.get("coordinatewise")):
        raise ClaimError("link", f"{name} belongs to other coordinates")
    low = np.flatnonzero(~(stated >= least * (1 - _ROUNDED)))
    if low.size:
        raise ClaimError(
            "link",
            f"the constant of {name} is larger",
            claimed=repr(float(stated[low[0]])),
            derived=repr(float(least[low[0]])),
        )


def _vectorizer(stage: Stage, space: Space, behind: dict[int, Space] | None) -> Element:
    branches = {}
    for k in homology_dimensions(stage):
        if behind is not None and k not in behind:
            raise ClaimError("stage", f"no diagrams of H{k} stand before {stage.kind!r}")
        metric = space if behind is None else behind[k]
        each = slopes(stage, k, metric)
        link = _link(metric, _LINF, float(each.max(initial=0.0)), stage.kind)
        branches[f"H{k}"] = [{**link, "constants": each.tolist(), "coordinatewise": False}]
    return {"branches": branches, "joined": True}


def _direct(stage: Stage) -> dict[str, float]:
    """The metrics from which a filtration has a constant of its own, rounded up (D1 to D6)."""
    if stage.kind == "alpha":
        return {"hausdorff": 1.0, "frobenius": root_up(0.5)}
    if stage.kind == "rips" and stage.parameters["metric"] == "euclidean":
        return {"hausdorff": 2.0, "frobenius": root_up(2.0)}
    if stage.kind in ("cubical", "rips"):
        return {"sup": 1.0}
    if stage.kind == "distance to measure":
        return {"per-point": 1.0, "frobenius": inverse_root_up(stage.parameters["k"])}
    if stage.kind == "anisotropic":
        stretch, inner = norm_up(matrix_of(stage)), _direct(inner_of(stage))
        known = ("hausdorff", "per-point", "frobenius")
        return {name: float(times_up(inner[name], stretch)) for name in known if name in inner}
    return {}


def _has_ordered_deaths(stage: Stage) -> bool:
    """Whether births of H0 are 0, and deaths move in order (D3)."""
    if stage.kind == "anisotropic":
        return _has_ordered_deaths(inner_of(stage))
    return stage.kind in ("alpha", "rips")


def _link(source: Space, target: Space, constant: float, stage: str) -> Element:
    return {"source": source, "target": target, "constant": constant, "stage": stage}
