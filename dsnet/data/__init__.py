"""Readers of CT and masks, synthetic CT, and the label store."""
