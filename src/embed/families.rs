//! The architectures, as data: what a family calls its sizes and weights, and
//! the few things in which families differ.

/// Where a family's positions begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FirstPosition {
    /// At 0.
    Zero,
    /// Behind the padding token's number, which has a position of its own.
    AfterPadding,
}

impl FirstPosition {
    /// The first token's position, given the number of the padding token.
    pub(super) fn number(self, pad: usize) -> usize {
        match self {
            FirstPosition::Zero => 0,
            FirstPosition::AfterPadding => pad + 1,
        }
    }
}

/// The keys of `config.json` that have sizes.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) width: &'static str,
    pub(super) inner: &'static str,
    pub(super) heads: &'static str,
    pub(super) blocks: &'static str,
    pub(super) activation: &'static str,
    /// `None` where it is always 1e-12.
    pub(super) epsilon: Option<&'static str>,
    /// The number of buckets of relative positions.
    pub(super) buckets: Option<&'static str>,
}

/// The names of weights. `{}` is the number of the block; `.weight` and `.bias`
/// are left out, except where a name is a whole one.
#[derive(Debug)]
pub(super) struct Names {
    /// What all names may begin with, in the order tried.
    pub(super) prefixes: &'static [&'static str],
    pub(super) word: &'static str,
    pub(super) position: &'static str,
    pub(super) token_type: Option<&'static str>,
    pub(super) embedding_norm: &'static str,
    /// `[buckets, heads]`: what is added to scores for relative positions.
    pub(super) relative: Option<&'static str>,
    pub(super) query: &'static str,
    pub(super) key: &'static str,
    pub(super) value: &'static str,
    pub(super) mixed: &'static str,
    pub(super) attention_norm: &'static str,
    pub(super) up: &'static str,
    pub(super) down: &'static str,
    pub(super) output_norm: &'static str,
}

/// A family of encoders: attention and feed-forward blocks with the
/// normalisation behind the residual.
#[derive(Debug)]
pub(super) struct Family {
    /// What `model_type` in `config.json` may be.
    pub(super) model_types: &'static [&'static str],
    pub(super) first_position: FirstPosition,
    pub(super) keys: Keys,
    pub(super) names: Names,
}

const BERT_KEYS: Keys = Keys {
    width: "hidden_size",
    inner: "intermediate_size",
    heads: "num_attention_heads",
    blocks: "num_hidden_layers",
    activation: "hidden_act",
    epsilon: Some("layer_norm_eps"),
    buckets: None,
};

const BERT_NAMES: Names = Names {
    prefixes: &["", "bert."],
    word: "embeddings.word_embeddings",
    position: "embeddings.position_embeddings",
    token_type: Some("embeddings.token_type_embeddings"),
    embedding_norm: "embeddings.LayerNorm",
    relative: None,
    query: "encoder.layer.{}.attention.self.query",
    key: "encoder.layer.{}.attention.self.key",
    value: "encoder.layer.{}.attention.self.value",
    mixed: "encoder.layer.{}.attention.output.dense",
    attention_norm: "encoder.layer.{}.attention.output.LayerNorm",
    up: "encoder.layer.{}.intermediate.dense",
    down: "encoder.layer.{}.output.dense",
    output_norm: "encoder.layer.{}.output.LayerNorm",
};

/// All there are.
pub(super) const FAMILIES: &[Family] = &[
    Family {
        model_types: &["bert"],
        first_position: FirstPosition::Zero,
        keys: BERT_KEYS,
        names: BERT_NAMES,
    },
    Family {
        model_types: &["roberta", "xlm-roberta", "camembert"],
        first_position: FirstPosition::AfterPadding,
        keys: BERT_KEYS,
        names: Names { prefixes: &["", "roberta.", "camembert."], ..BERT_NAMES },
    },
    Family {
        model_types: &["distilbert"],
        first_position: FirstPosition::Zero,
        keys: Keys {
            width: "dim",
            inner: "hidden_dim",
            heads: "n_heads",
            blocks: "n_layers",
            activation: "activation",
            epsilon: None,
            buckets: None,
        },
        names: Names {
            prefixes: &["", "distilbert."],
            token_type: None,
            query: "transformer.layer.{}.attention.q_lin",
            key: "transformer.layer.{}.attention.k_lin",
            value: "transformer.layer.{}.attention.v_lin",
            mixed: "transformer.layer.{}.attention.out_lin",
            attention_norm: "transformer.layer.{}.sa_layer_norm",
            up: "transformer.layer.{}.ffn.lin1",
            down: "transformer.layer.{}.ffn.lin2",
            output_norm: "transformer.layer.{}.output_layer_norm",
            ..BERT_NAMES
        },
    },
    Family {
        model_types: &["mpnet"],
        first_position: FirstPosition::AfterPadding,
        keys: Keys { buckets: Some("relative_attention_num_buckets"), ..BERT_KEYS },
        names: Names {
            prefixes: &["", "mpnet."],
            token_type: None,
            relative: Some("encoder.relative_attention_bias"),
            query: "encoder.layer.{}.attention.attn.q",
            key: "encoder.layer.{}.attention.attn.k",
            value: "encoder.layer.{}.attention.attn.v",
            mixed: "encoder.layer.{}.attention.attn.o",
            attention_norm: "encoder.layer.{}.attention.LayerNorm",
            ..BERT_NAMES
        },
    },
];

/// The family of a `model_type`.
pub(super) fn find(model_type: &str) -> Option<&'static Family> {
    FAMILIES.iter().find(|family| family.model_types.contains(&model_type))
}

/// Every `model_type` there is a family for.
pub(super) fn known() -> Vec<&'static str> {
    FAMILIES.iter().flat_map(|family| family.model_types).copied().collect()
}
