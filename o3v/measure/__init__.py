"""What a training step costs, held against the least that it can cost, and against another trainer's step."""
