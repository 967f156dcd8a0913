"""The evidence grammar and its geometry: text to `Completion` and back, boxes, spans."""
