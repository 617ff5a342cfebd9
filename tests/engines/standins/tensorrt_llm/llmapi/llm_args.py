"""The argument classes in the shape of TensorRT-LLM's: strict, with the checks that matter here.

Of the messages that the adapter looks for in the real source, this one is true of it, too:
'num_nextn_predict_layers' is deprecated.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator


class StrictBaseModel(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class DecodingBaseConfig(StrictBaseModel):
    max_draft_len: int | None = None
    max_total_draft_tokens: int | None = None
    speculative_model: str | None = Field(
        default=None, validation_alias=AliasChoices("speculative_model", "speculative_model_dir")
    )
    use_rejection_sampling: bool = False

    @model_validator(mode="after")
    def _positive(self) -> DecodingBaseConfig:
        if not self.max_draft_len:
            raise ValueError("max_draft_len must be > 0")
        self.max_total_draft_tokens = self.max_total_draft_tokens or self.max_draft_len
        return self


class _WithModel(DecodingBaseConfig):
    @model_validator(mode="after")
    def _has_model(self) -> _WithModel:
        if self.speculative_model is None:
            raise ValueError("Draft model must be provided")
        return self


class Eagle3DecodingConfig(_WithModel):
    decoding_type: Literal["Eagle3"] = "Eagle3"
    use_dynamic_tree: bool = False
    dynamic_tree_max_topK: int | None = None


class DraftTargetDecodingConfig(_WithModel):
    decoding_type: Literal["Draft_Target"] = "Draft_Target"


class DFlashDecodingConfig(_WithModel):
    decoding_type: Literal["DFlash"] = "DFlash"


class NGramDecodingConfig(DecodingBaseConfig):
    decoding_type: Literal["NGram"] = "NGram"
    max_matching_ngram_size: int = 2
    is_public_pool: bool = True


class SADecodingConfig(DecodingBaseConfig):
    decoding_type: Literal["SA"] = "SA"
    max_matching_ngram_size: int = -1


class MTPDecodingConfig(DecodingBaseConfig):
    decoding_type: Literal["MTP"] = "MTP"
    relaxed_topk: int = 1


class KvCacheConfig(StrictBaseModel):
    enable_block_reuse: bool = True
    free_gpu_memory_fraction: float = 0.9


class CudaGraphConfig(StrictBaseModel):
    max_batch_size: int = 0
    enable_padding: bool = False


class TorchLlmArgs(StrictBaseModel):
    model: str
    skip_tokenizer_init: bool = False
    dtype: str = "auto"
    backend: str = "pytorch"
    attn_backend: str = "TRTLLM"
    tensor_parallel_size: int = 1
    max_batch_size: int = 2048
    disable_overlap_scheduler: bool = False
    enable_iter_perf_stats: bool = False
    return_perf_metrics: bool = False
    per_request_spec_decode_stats: bool = False
    kv_cache_config: KvCacheConfig = KvCacheConfig()
    cuda_graph_config: CudaGraphConfig | None = None
    speculative_config: Any = None
