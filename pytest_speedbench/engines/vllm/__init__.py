"""vLLM: the library in a child process, and ``vllm serve``."""
