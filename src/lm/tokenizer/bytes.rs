//! The alphabet of byte-level vocabularies: one visible character a byte.
//!
//! GPT-2's `bytes_to_unicode`: bytes that print in Latin-1 stand for
//! themselves, the other 68 are the characters from U+0100 on, in order.

const fn prints(byte: u8) -> bool {
    matches!(byte, b'!'..=b'~' | 0xa1..=0xac | 0xae..=0xff)
}

const TO_CHAR: [char; 256] = {
    let mut table = ['\0'; 256];
    let (mut byte, mut next) = (0usize, 0x100u32);
    while byte < 256 {
        let code = if prints(byte as u8) { byte as u32 } else { next };
        if !prints(byte as u8) {
            next += 1;
        }
        // Codes stay below U+0144, far from the surrogates.
        table[byte] = match char::from_u32(code) {
            Some(c) => c,
            None => '\0',
        };
        byte += 1;
    }
    table
};

/// Codes run from U+0021 to U+0143.
const TO_BYTE: [Option<u8>; 0x144] = {
    let mut table = [None; 0x144];
    let mut byte = 0usize;
    while byte < 256 {
        table[TO_CHAR[byte] as usize] = Some(byte as u8);
        byte += 1;
    }
    table
};

/// Appends the characters of `bytes`.
pub(super) fn encode(bytes: &[u8], out: &mut String) {
    out.extend(bytes.iter().map(|&byte| TO_CHAR[usize::from(byte)]));
}

/// Appends the bytes that `text` stands for; text with other characters
/// stands for its own UTF-8.
pub(super) fn decode(text: &str, out: &mut Vec<u8>) {
    let start = out.len();
    for c in text.chars() {
        match TO_BYTE.get(c as usize).copied().flatten() {
            Some(byte) => out.push(byte),
            None => {
                out.truncate(start);
                out.extend_from_slice(text.as_bytes());
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_has_one_character_and_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        let mut text = String::new();
        encode(&all, &mut text);
        let mut distinct: Vec<char> = text.chars().collect();
        distinct.sort_unstable();
        distinct.dedup();
        assert_eq!(distinct.len(), 256);
        let mut back = Vec::new();
        decode(&text, &mut back);
        assert_eq!(back, all);
    }

    #[test]
    fn the_known_characters_are_right() {
        let mut text = String::new();
        encode(b" \n\tA~\x7f\xad", &mut text);
        assert_eq!(text, "ĠĊĉA~ġŃ");
    }

    #[test]
    fn foreign_text_is_itself() {
        let mut out = vec![1];
        decode("Ġ日", &mut out);
        assert_eq!(out, ["\u{1}Ġ日".as_bytes()].concat());
    }
}
