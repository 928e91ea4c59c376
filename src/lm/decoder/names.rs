//! Names of the graph's inputs, outputs and symbols.

/// I32 `[batch, query]`: token ids.
pub const TOKENS: &str = "tokens";
/// I32 `[batch, query]`: the position of each token in its sequence.
pub const POSITIONS: &str = "positions";
/// I32 `[batch]`: how many tokens of each sequence are in the cache.
pub const PAST: &str = "past";
/// I32 `[rows]`: which of the `batch * query` tokens get logits.
pub const ROWS: &str = "rows";
/// F32 `[rows, vocabulary]`.
pub const LOGITS: &str = "logits";
/// I32 `[best]`: which of the tokens get the most likely next one. This and what is
/// called after `best` or `top`: only with `DecoderOptions::chooses`.
pub const BEST_ROWS: &str = "best_rows";
/// I32 `[best]`: the most likely token, the lowest id among equals.
pub const BEST: &str = "best";
/// F32 `[best, 1]`: its logit.
pub const BEST_LOGIT: &str = "best_logit";
/// F32 `[best]`: the sum of all logits; no finite number if one is none.
pub const BEST_SUM: &str = "best_sum";
/// I32 `[top]`: which of the tokens get the most likely next ones.
pub const TOP_ROWS: &str = "top_rows";
/// I32 `[top, most]`: those in order, of equal ones the lowest id first; as many as
/// [`MOST`](super::MOST) or as there are.
pub const TOP: &str = "top";
/// F32 `[top, most]`: their logits.
pub const TOP_LOGITS: &str = "top_logits";
/// F32 `[top]`: the sum of all logits; no finite number if one is none.
pub const TOP_SUM: &str = "top_sum";
/// I32 `[batch, padded]`: which of the tokens are new in each slot, padded
/// at the end. This and what follows: only with [`Layout::Slots`].
///
/// [`Layout::Slots`]: super::Layout::Slots
pub const NEW: &str = "new";
/// I32 `[batch, padded]`: the same, padded at the front.
pub const QUERIES: &str = "queries";
/// I32 `[1, query]`: where each token stands in `queries`, counted through.
pub const BACK: &str = "back";
/// I32 `[batch]`: the place in its cache that the first of `new` takes.
pub const WRITE: &str = "write";
/// I32 `[state_rows]`: which of the tokens get a hidden state.
pub const STATE_ROWS: &str = "state_rows";
/// F32 `[state_rows, width]`: what the head would read.
pub const HIDDEN: &str = "hidden";
/// F32 `[batch, 1, 1, query]`: what is added to the scores of keys. This and what
/// follows: only in graphs over whole texts.
pub const MASK: &str = "mask";
/// F32 `[batch, query, width]`: the tokens' vectors.
pub const VECTORS: &str = "vectors";
/// F32 `[1, read_count, width]`: the vectors of a source that was read. This and what
/// follows: only for models with a part that reads.
pub const READ: &str = "read";
/// I32 `[batch]`: where these go in the caches of each sequence; behind them for all
/// but the one whose source it is.
pub const READ_PLACE: &str = "read_place";
/// I32 `[batch]`: the tokens of the source of each sequence, less the queries of the
/// step.
pub const SEEN: &str = "seen";
/// The symbol of the number of vectors of a source that a step brings.
pub const READ_COUNT: &str = "read_count";
/// The symbol of the number of tokens of a slot, padded.
pub const PADDED: &str = "padded";
/// The symbol of the number of rows that get a hidden state.
pub const STATE_COUNT: &str = "state_count";
/// The symbol of the number of sequences.
pub const BATCH: &str = "batch";
/// The symbol of the number of tokens of a step.
pub const QUERY: &str = "query";
/// The symbol of the number of tokens a cache has room for.
pub const CAPACITY: &str = "capacity";
/// The symbol of the number of rows that get logits.
pub const ROW_COUNT: &str = "row_count";
/// The symbol of the number of rows that get the most likely token.
pub const BEST_COUNT: &str = "best_count";
/// The symbol of the number of rows that get the most likely tokens.
pub const TOP_COUNT: &str = "top_count";
