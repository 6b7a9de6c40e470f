"""The two errors of the checker: a claim that does not hold, and one that nobody can check here."""

from __future__ import annotations


class ClaimError(Exception):
    """A claim that does not hold.

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


class NotChecked(ClaimError):
    """A claim that may hold, and whose derivation is not known here: it is not accepted either."""
