"""The vision-language models: the only package that knows transformers."""
