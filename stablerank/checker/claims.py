"""The one error of the checker: a claim that does not hold, and which one it is."""

from __future__ import annotations


class ClaimError(Exception):
    """A claim that does not hold, or that cannot be checked.

    Parameters
    ----------
    claim : str
        What was claimed, in a word: ``"radius"``, ``"prediction"``, ``"digest of the model"``.
    reason : str
        Why it is not accepted.
    claimed, derived : str, optional
        What the file says, and what was found instead.
    cloud : int, optional
        Whose certificate it is; None for what concerns all.
    """

    def __init__(
        self,
        claim: str,
        reason: str,
        *,
        claimed: str | None = None,
        derived: str | None = None,
        cloud: int | None = None,
    ) -> None:
        super().__init__(f"{claim}: {reason}")
        self.claim, self.reason = claim, reason
        self.claimed, self.derived, self.cloud = claimed, derived, cloud
