"""What a run will cost before it starts: memory a device by part, operations a step, and what to change."""
