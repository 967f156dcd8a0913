"""Rewards replayed without a model: saved rollouts, their scores under any mix, and how two mixes differ."""
