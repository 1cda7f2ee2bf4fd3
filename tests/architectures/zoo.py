"""Tiny configs of the families that the anatomy is proved for: plain data, as a config.json would hold it.

Sizes are such that different axes have different sizes wherever a family allows it, so that two axes taken for one are seen.
"""

from typing import Any

Config = dict[str, Any]

TEXT: Config = {
    "vocab_size": 97,
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "num_key_value_heads": 3,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
"""A decoder with grouped queries: 3 heads of keys, 2 heads of queries on each, 8 wide."""

ENCODER: Config = {
    "vocab_size": 97,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "intermediate_size": 80,
    "max_position_embeddings": 64,
}

VISION: Config = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "image_size": 32,
    "patch_size": 8,
}

SPEECH: Config = {
    "vocab_size": 32,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 6,
    "intermediate_size": 80,
    "conv_dim": [24, 28, 32],
    "conv_stride": [5, 2, 2],
    "conv_kernel": [10, 3, 3],
    "num_feat_extract_layers": 3,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 4,
}


def family(model_type: str, model_class: str, *bases: Config, **settings: Any) -> Config:
    """Put a config together; what comes later wins."""
    merged: Config = {}
    for base in (*bases, settings):
        merged.update(base)
    return {"model_type": model_type, "architectures": [model_class], **merged}


LISTED: dict[str, Config] = {
    "Llama": family("llama", "LlamaForCausalLM", TEXT),
    "Llama (tied, biased)": family("llama", "LlamaForCausalLM", TEXT, tie_word_embeddings=True, attention_bias=True),
    "Mistral": family("mistral", "MistralForCausalLM", TEXT, head_dim=10),
    "Qwen2": family("qwen2", "Qwen2ForCausalLM", TEXT),
    "Qwen3": family("qwen3", "Qwen3ForCausalLM", TEXT, head_dim=10),
    "Gemma2": family("gemma2", "Gemma2ForCausalLM", TEXT, head_dim=10),
    "Gemma3": family("gemma3_text", "Gemma3ForCausalLM", TEXT, head_dim=10),
    "Phi-3": family("phi3", "Phi3ForCausalLM", TEXT),
    "OLMo2": family("olmo2", "Olmo2ForCausalLM", TEXT),
    "StarCoder2": family("starcoder2", "Starcoder2ForCausalLM", TEXT),
    "GPT-2": family(
        "gpt2", "GPT2LMHeadModel", vocab_size=97, n_embd=48, n_layer=2, n_head=6, n_positions=64, n_inner=80
    ),
    "GPT-2 (untied)": family(
        "gpt2",
        "GPT2LMHeadModel",
        vocab_size=97,
        n_embd=48,
        n_layer=2,
        n_head=6,
        n_positions=64,
        n_inner=80,
        tie_word_embeddings=False,
    ),
    "GPT-NeoX": family("gpt_neox", "GPTNeoXForCausalLM", ENCODER, num_attention_heads=3),
    "GPT-J": family(
        "gptj",
        "GPTJForCausalLM",
        vocab_size=97,
        n_embd=48,
        n_layer=2,
        n_head=3,
        n_positions=64,
        n_inner=80,
        rotary_dim=8,
    ),
    "OPT": family("opt", "OPTForCausalLM", ENCODER, ffn_dim=80, word_embed_proj_dim=20),
    "BLOOM": family("bloom", "BloomForCausalLM", vocab_size=97, hidden_size=48, n_layer=2, n_head=6),
    "Falcon (multi-query)": family(
        "falcon", "FalconForCausalLM", ENCODER, multi_query=True, new_decoder_architecture=False
    ),
    "Falcon (new decoder)": family(
        "falcon", "FalconForCausalLM", ENCODER, num_kv_heads=3, multi_query=False, new_decoder_architecture=True
    ),
    "Falcon (ALiBi)": family(
        "falcon", "FalconForCausalLM", ENCODER, multi_query=False, new_decoder_architecture=False, alibi=True
    ),
    "MPT": family("mpt", "MptForCausalLM", vocab_size=97, d_model=48, n_layers=2, n_heads=6, max_seq_len=64),
    "Mixtral": family("mixtral", "MixtralForCausalLM", TEXT, num_local_experts=5),
    "Qwen3-MoE": family(
        "qwen3_moe",
        "Qwen3MoeForCausalLM",
        TEXT,
        num_experts=5,
        moe_intermediate_size=40,
        num_experts_per_tok=2,
        head_dim=10,
    ),
    "DeepSeek-V3": family(
        "deepseek_v3",
        "DeepseekV3ForCausalLM",
        TEXT,
        num_key_value_heads=6,
        moe_intermediate_size=40,
        n_routed_experts=8,
        n_group=2,
        topk_group=1,
        num_experts_per_tok=2,
        first_k_dense_replace=1,
        kv_lora_rank=20,
        q_lora_rank=28,
        qk_rope_head_dim=8,
        qk_nope_head_dim=12,
        v_head_dim=14,
    ),
    "Mamba": family(
        "mamba",
        "MambaForCausalLM",
        vocab_size=97,
        hidden_size=48,
        state_size=6,
        num_hidden_layers=2,
        time_step_rank=5,
    ),
    "Mamba2": family(
        "mamba2",
        "Mamba2ForCausalLM",
        vocab_size=97,
        hidden_size=48,
        state_size=10,
        num_hidden_layers=2,
        num_heads=8,
        head_dim=12,
        n_groups=2,
        chunk_size=4,
    ),
    "RecurrentGemma": family(
        "recurrent_gemma",
        "RecurrentGemmaForCausalLM",
        vocab_size=97,
        hidden_size=48,
        intermediate_size=160,
        num_hidden_layers=3,
        num_attention_heads=6,
        lru_width=60,
        attention_window_size=32,
    ),
    "RWKV": family(
        "rwkv",
        "RwkvForCausalLM",
        vocab_size=97,
        hidden_size=48,
        num_hidden_layers=2,
        intermediate_size=80,
        attention_hidden_size=36,
        context_length=32,
    ),
    "BERT": family("bert", "BertModel", ENCODER),
    "RoBERTa": family("roberta", "RobertaForMaskedLM", ENCODER),
    "DistilBERT": family(
        "distilbert",
        "DistilBertForSequenceClassification",
        vocab_size=97,
        dim=48,
        n_layers=2,
        n_heads=6,
        hidden_dim=80,
        max_position_embeddings=64,
    ),
    "ALBERT": family("albert", "AlbertForMaskedLM", ENCODER, embedding_size=20),
    "ELECTRA": family("electra", "ElectraForPreTraining", ENCODER, embedding_size=20),
    "DeBERTa-v2": family(
        "deberta-v2",
        "DebertaV2ForMaskedLM",
        ENCODER,
        relative_attention=True,
        position_buckets=16,
        pos_att_type=["p2c", "c2p"],
        share_att_key=True,
        norm_rel_ebd="layer_norm",
        max_relative_positions=32,
    ),
    "ModernBERT": family(
        "modernbert",
        "ModernBertForMaskedLM",
        ENCODER,
        num_hidden_layers=3,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        cls_token_id=3,
        sep_token_id=4,
    ),
    "T5": family(
        "t5",
        "T5ForConditionalGeneration",
        vocab_size=97,
        d_model=48,
        d_kv=10,
        d_ff=80,
        num_layers=2,
        num_heads=6,
        decoder_start_token_id=0,
    ),
    "BART": family(
        "bart",
        "BartForConditionalGeneration",
        vocab_size=97,
        d_model=48,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=6,
        decoder_attention_heads=4,
        encoder_ffn_dim=80,
        decoder_ffn_dim=72,
        max_position_embeddings=64,
    ),
    "Whisper": family(
        "whisper",
        "WhisperForConditionalGeneration",
        vocab_size=97,
        d_model=48,
        encoder_layers=2,
        decoder_layers=2,
        encoder_attention_heads=6,
        decoder_attention_heads=4,
        encoder_ffn_dim=80,
        decoder_ffn_dim=72,
        max_source_positions=30,
        max_target_positions=20,
        num_mel_bins=16,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
        decoder_start_token_id=1,
    ),
    "CLIP": family(
        "clip",
        "CLIPModel",
        text_config={**ENCODER, "eos_token_id": 2},
        vision_config={**VISION, "hidden_size": 40, "intermediate_size": 72, "num_attention_heads": 5},
        projection_dim=28,
    ),
    "SigLIP": family(
        "siglip",
        "SiglipModel",
        text_config=ENCODER,
        vision_config={**VISION, "intermediate_size": 72, "num_attention_heads": 4},
    ),
    "ViT": family("vit", "ViTForImageClassification", VISION),
    "DeiT": family("deit", "DeiTForImageClassificationWithTeacher", VISION),
    "BEiT": family(
        "beit", "BeitForImageClassification", VISION, use_relative_position_bias=True, vocab_size=97
    ),
    "DINOv2": family(
        "dinov2",
        "Dinov2Model",
        hidden_size=48,
        mlp_ratio=2,
        num_hidden_layers=2,
        num_attention_heads=6,
        image_size=32,
        patch_size=8,
    ),
    "Swin": family(
        "swin",
        "SwinForImageClassification",
        image_size=32,
        patch_size=2,
        embed_dim=12,
        depths=[2, 2],
        num_heads=[2, 4],
        window_size=4,
    ),
    "ConvNeXt": family(
        "convnext",
        "ConvNextForImageClassification",
        hidden_sizes=[12, 20, 28, 36],
        depths=[2, 2, 2, 2],
        image_size=64,
    ),
    "ConvNeXtV2": family(
        "convnextv2",
        "ConvNextV2ForImageClassification",
        hidden_sizes=[12, 20, 28, 36],
        depths=[2, 2, 2, 2],
        image_size=64,
    ),
    "ResNet": family(
        "resnet",
        "ResNetForImageClassification",
        embedding_size=12,
        hidden_sizes=[16, 24, 32, 40],
        depths=[2, 2, 2, 2],
    ),
    "RegNet": family(
        "regnet",
        "RegNetForImageClassification",
        embedding_size=12,
        hidden_sizes=[16, 24, 32, 40],
        depths=[2, 2, 2, 2],
        groups_width=8,
    ),
    "MobileNetV2": family(
        "mobilenet_v2", "MobileNetV2ForImageClassification", image_size=64, depth_multiplier=0.35
    ),
    "SegFormer": family(
        "segformer",
        "SegformerForSemanticSegmentation",
        image_size=64,
        hidden_sizes=[8, 16, 20, 24],
        depths=[2, 1, 1, 1],
        num_attention_heads=[1, 2, 2, 4],
        decoder_hidden_size=28,
    ),
    "wav2vec2": family("wav2vec2", "Wav2Vec2ForCTC", SPEECH),
    "HuBERT": family("hubert", "HubertForCTC", SPEECH),
}
"""The families that the project promises, variants included."""
