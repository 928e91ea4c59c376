//! What files are that no language model here can be made of, and what to do about it.

/// What files of other architectures are.
const OTHERS: &[(&[&str], &str)] = &[
    (
        &["clip"],
        "the part of a model that sees or hears (mmproj), not the language model itself: name \
         the file of that",
    ),
    (&["dream", "llada", "llada-moe", "rnd1"], "a model that denoises texts, not one that goes on"),
    (&["deepseek32", "deepseek4", "glm-dsa"], "attention to keys that an index chooses"),
    (
        &["eagle3", "dflash", "gemma4-assistant"],
        "a part that runs ahead of another model and reads its states",
    ),
    (&["wavtokenizer-dec", "qwen3tts", "pockettts"], "a model of speech"),
    (
        &["flux", "sd1", "sdxl", "sd3", "qwen_image", "lumina2", "wan", "ltxv", "hidream", "aura"],
        "a model of pictures",
    ),
];

/// What files with another `general.type` than a model's are.
const TYPES: &[(&str, &str)] = &[
    ("adapter", "an adapter (LoRA) of a model, to be named with `--lora` beside the model"),
    ("wginfer.snapshot", "what was kept of a text (`--prompt-cache`, `--session`), not a model"),
    ("imatrix", "what was measured of a model's activations, not a model"),
    ("mmproj", OTHERS[0].1),
];

/// Why a file is no language model that is known, from its `general.type` and its
/// `general.architecture`, where that can be said.
pub(in crate::lm) fn why_refused(kind: Option<&str>, name: Option<&str>) -> Option<&'static str> {
    let by_type = TYPES.iter().find(|(of, _)| kind == Some(*of)).map(|(_, why)| *why);
    let of_name = |(names, _): &&(&[&str], &str)| name.is_some_and(|name| names.contains(&name));
    by_type.or_else(|| OTHERS.iter().find(of_name).map(|(_, why)| *why))
}
