"""Terminal, Markdown and HTML: takes data, computes no number."""
