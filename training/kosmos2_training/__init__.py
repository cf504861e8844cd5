"""Data and fine-tuning on grounded text."""
