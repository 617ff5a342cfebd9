from tensorrt_llm.llmapi.llm_args import (
    CudaGraphConfig,
    DFlashDecodingConfig,
    DraftTargetDecodingConfig,
    Eagle3DecodingConfig,
    KvCacheConfig,
    MTPDecodingConfig,
    NGramDecodingConfig,
    SADecodingConfig,
    TorchLlmArgs,
)

__all__ = [
    "CudaGraphConfig",
    "DFlashDecodingConfig",
    "DraftTargetDecodingConfig",
    "Eagle3DecodingConfig",
    "KvCacheConfig",
    "MTPDecodingConfig",
    "NGramDecodingConfig",
    "SADecodingConfig",
    "TorchLlmArgs",
]
