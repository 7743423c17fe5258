"""From the profile of a class to settings of pasting: what each should be so that pasted regions are like real ones."""

import math
from typing import Any, NamedTuple

from marsgen.masks.config import NO_PERSPECTIVE, PasteConfig, PasteSettings
from marsgen.masks.profiles.profile import SIGNIFICANT, ClassProfile

_LEAST_WIDTH_PX = 0.5
_WIDEST_FEATHER_PX = 2.5  # a wider edge is a blur at any size
_MOST_PER_SCENE = 4  # more in one scene take time and bring no other scene
_LEAST_BELOW = 0.05  # of the labelled pixels below the regions
_MORE_BELOW = 4.0  # times the share above
_MOST_BELOW = 0.5
_UPRIGHT_TURN = 6.0  # degrees: what stands or hangs does not lie tilted, whatever the axes of small regions say
_SEAM_SHARE = 0.05  # of the pixels beside the regions: fewer come from other gaps in the labels


class Inferred(NamedTuple):
    """A proposed value and why, in words that fit behind a colon."""

    value: Any
    reason: str


def infer_paste_settings(profile: ClassProfile) -> dict[str, Inferred]:
    """Settings of the `paste` block for one class, in order of the block.

    A setting that the profile says nothing about is not in the result: it keeps its default. Values in yaml win over
    all of this; that is up to the caller.

    Returns:
        name of the setting -> (value, reason); empty for a class without a region.
    """
    if not profile.regions:
        return {}
    found: dict[str, Inferred] = {}
    found |= _cutting(profile)
    # crumbs are not pasted, so they do not count
    counts = [(1 - profile.size.small_share) * number for number in (profile.per_scene.q10, profile.per_scene.q90)]
    fewest, most = (min(_MOST_PER_SCENE, max(1, round(count))) for count in counts)
    found["regions_per_scene"] = Inferred(
        (fewest, most),
        f"real scenes have {max(counts[0], 1):.0f} to {max(counts[1], 1):.0f} of that size (10 % to 90 %)"
        + (f", at most {_MOST_PER_SCENE} are pasted" if counts[1] > _MOST_PER_SCENE else ""),
    )
    found |= _size_and_turn(profile)
    found |= _edge(profile)
    found |= _place(profile)
    return found


def resolve_settings(config: PasteConfig, profile: ClassProfile) -> tuple[PasteSettings, str]:
    """The settings of one class: those of yaml, else what its profile says, else the defaults of `PasteSettings`.

    Returns:
        the settings; and one line that names what was inferred and what yaml gave.
    """
    given = {key: value for key, value in config if value is not None}
    inferred = {key: value for key, (value, _) in infer_paste_settings(profile).items() if key not in given}
    settings = PasteSettings(**inferred | given)
    if "min_visible_px" not in given:
        settings = settings.model_copy(update={"min_visible_px": settings.min_region_px})
    by_hand = {key: value for key, value in given.items() if value != PasteConfig.model_fields[key].default}
    parts = [
        f"{word} {', '.join(f'{key}={value_text(value)}' for key, value in values.items())}"
        for word, values in (("inferred", inferred), ("given", by_hand))
        if values
    ]
    return settings, f"paste {profile.name}: {'; '.join(parts)}"


def value_text(value: Any) -> str:
    """A value as `--set` reads it."""
    if isinstance(value, tuple):
        return f"[{','.join(map(str, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _cutting(profile: ClassProfile) -> dict[str, Inferred]:
    """What may be cut out: whatever is like the bulk of the class."""
    size, shape = profile.size, profile.shape
    found = {
        "min_region_px": Inferred(
            max(1, math.floor(size.small_px)),
            f"smaller regions are {size.small_share:.0%} of the regions, and at most 3 % of the pixels",
        ),
        "max_region_fraction": Inferred(
            min(1.0, _round_up(size.scene_fraction.most)),
            f"the largest real region fills {size.scene_fraction.most:.0%} of its scene",
        ),
    }
    if not math.isnan(shape.solidity.q10):
        found["min_solidity"] = Inferred(
            _round_down(shape.solidity.q10), f"90 % of the real regions have at least {shape.solidity.q10:.2f}"
        )
        found["min_thickness"] = Inferred(
            min(_round_down(shape.thickness.q10), 0.6),
            f"90 % of the real regions have at least {shape.thickness.q10:.2f}",
        )
    return found


def _size_and_turn(profile: ClassProfile) -> dict[str, Inferred]:
    rows, direction = profile.rows, profile.direction
    found = {}
    if rows.perspective and not math.isnan(rows.horizon):
        horizon = max(-10.0, min(rows.horizon, 0.95))
        found["horizon"] = Inferred(
            round(horizon, 2), f"size follows the row (rank correlation {rows.correlation:.2f}, p {rows.p:.2g})"
        )
    elif not math.isnan(rows.p):
        found["horizon"] = Inferred(NO_PERSPECTIVE, f"size does not follow the row (p {rows.p:.2g}): no perspective")
    if not math.isnan(direction.left_right_p):
        same = direction.left_right_p >= SIGNIFICANT
        found["flip"] = Inferred(
            0.5 if same else 0.0,
            f"left and right {'do not ' if same else ''}differ (p {direction.left_right_p:.2g})",
        )
    if direction.isotropic and not rows.perspective:
        found["max_angle"] = Inferred(180.0, "no direction matters: axes, top and bottom are alike")
    elif direction.isotropic is False:
        found["max_angle"] = Inferred(*_allowed_turn(profile))
    return found


def _allowed_turn(profile: ClassProfile) -> tuple[float, str]:
    """A turn within the spread of the real axes; little where only top and bottom differ."""
    direction = profile.direction
    if direction.axis_p < SIGNIFICANT:
        # circular standard deviation of doubled angles, halved (Mardia and Jupp 2000, equation 2.3.14)
        spread = math.degrees(math.sqrt(-2 * math.log(min(max(direction.concentration, 1e-6), 1.0)))) / 2
        most = _UPRIGHT_TURN if direction.up_down_p < SIGNIFICANT else 45.0
        return abs(round(min(spread, most), 1)), f"real axes lie at {direction.mean_angle:.0f} +- {spread:.0f} degrees"
    return _UPRIGHT_TURN, f"top and bottom differ (p {direction.up_down_p:.1g})"


def _edge(profile: ClassProfile) -> dict[str, Inferred]:
    """A soft edge no wider than half of the region, and the labels along it."""
    width = profile.shape.width_px
    found = {}
    if not math.isnan(width.q25):
        found["feather_px"] = Inferred(
            round(max(_LEAST_WIDTH_PX, min(_WIDEST_FEATHER_PX, width.q25 / 2)), 1),
            f"no wider than half of a region; a quarter of the real ones are at most {width.q25:.0f} px wide",
        )
    seam = profile.seam
    if not math.isnan(seam.shares[0]):
        bare = seam.shares[0] >= _SEAM_SHARE and seam.width_px.most > 0
        found["seam"] = Inferred(bare, f"{seam.shares[0]:.0%} of the pixels within 2 px of real regions have no label")
    far = [share for share in seam.shares if not math.isnan(share)]
    if far:
        # what is beyond the seam shows how often there is no label at such places
        found["max_ignored_fraction"] = Inferred(
            round(min(1.0, max(0.02, far[-1])), 2), f"{far[-1]:.0%} of the pixels farther off have no label"
        )
    return found


def _place(profile: ClassProfile) -> dict[str, Inferred]:
    place = profile.place
    found = {
        "min_visible_fraction": Inferred(
            0.3 if place.cut_share > 0.3 else 0.5, f"the border cuts off {place.cut_share:.0%} of the real regions"
        ),
        "placement": Inferred("class", f"learned from {profile.regions} real regions"),
    }
    carrying = stands_on(profile)
    never = place.never_stood_on if carrying else place.never_touched
    # few regions cannot prove that they keep away from a class, so one that they have not met has to lie beside them
    # about as often as elsewhere; what no region has labels near is judged by that alone
    ground = carrying or tuple(
        name for name in place.available
        if name not in place.untouched
        and (place.touched.get(name, 0) > 0 or place.beside.get(name, 0) > place.available[name] / 2)
    )  # fmt: skip
    if ground:
        reason = "real regions stand on these" if carrying else "real regions lie next to these"
        found["ground_classes"] = Inferred(ground, f"{reason}; never {', '.join(never)}" if never else reason)
    if place.untouched:
        found["avoid_classes"] = Inferred(place.untouched, "next to no real region")
    return found


def stands_on(profile: ClassProfile) -> tuple[str, ...]:
    """Classes that carry the regions, where top and bottom differ; empty where regions do not stand on anything.

    What carries regions is seen straight below them far more often than above, and below most of them. A parked car
    that hides the feet of passers-by is not, nor is the pavement where most poles are seen without their foot.
    """
    place = profile.place
    if not profile.direction.up_down_p < SIGNIFICANT:
        return ()
    carrying = tuple(
        name for name, share in place.below.items()
        if name != profile.name and name not in place.never_stood_on
        and share >= max(_LEAST_BELOW, _MORE_BELOW * place.above.get(name, 0))
    )  # fmt: skip
    return carrying if sum(place.below[name] for name in carrying) >= _MOST_BELOW else ()


def _round_down(value: float) -> float:
    return math.floor(value * 100) / 100


def _round_up(value: float) -> float:
    return math.ceil(value * 100) / 100
