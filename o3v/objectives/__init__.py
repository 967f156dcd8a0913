"""Losses over log-probabilities: SFT and the policy loss; they never see text or data."""
