"""The check of a data set before any GPU hour: rows, media, spans, boxes, reasoning, duplicates, leaks, tokens."""
