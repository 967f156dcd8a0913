"""The LightningModule, its steps and callbacks."""
