//! Where the prompt comes from.

use crate::failure::Failure;
use crate::input_text;
use std::fs::File;
use std::io::{self, IsTerminal, Read};
use std::path::Path;

/// The prompt's text: the argument's, the file's, or what is piped in.
pub(super) fn read(text: Option<&str>, file: Option<&Path>) -> Result<String, Failure> {
    match (text, file) {
        (Some(text), _) => Ok(text.into()),
        (None, Some(path)) if path != Path::new("-") => {
            let file = File::open(path).map_err(|source| input_text::io_error(path, source))?;
            from(file, path)
        }
        (None, None) if io::stdin().is_terminal() => Err(Failure::Usage(
            "no prompt: give a text behind the model, or --prompt-file FILE, or pipe one in".into(),
        )),
        (None, _) => from(io::stdin().lock(), Path::new("standard input")),
    }
}

/// Files and pipes usually end with a newline that is no part of the prompt.
fn from(source: impl Read, name: &Path) -> Result<String, Failure> {
    let what = format!("prompt from {}", name.display());
    let text = input_text::read(source, name, &what)?;
    let text = text.strip_suffix('\n').map_or(text.as_str(), |t| t.strip_suffix('\r').unwrap_or(t));
    if text.is_empty() {
        return Err(input_text::unusable(&what, "some text", "nothing"));
    }
    Ok(text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wginfer::Error;

    fn read_bytes(bytes: &[u8]) -> Result<String, String> {
        from(bytes, Path::new("p.txt")).map_err(|failure| match failure {
            Failure::Library(error) => error.to_string(),
            other => panic!("{other:?}"),
        })
    }

    #[test]
    fn one_newline_at_the_end_is_dropped() {
        assert_eq!(read_bytes(b"a\nb\n").unwrap(), "a\nb");
        assert_eq!(read_bytes(b"a\r\n").unwrap(), "a");
        assert_eq!(read_bytes(b"a\n\n").unwrap(), "a\n");
    }

    #[test]
    fn unusable_prompts_are_explained() {
        let error = read_bytes(b"").unwrap_err();
        assert_eq!(error, "prompt from p.txt: expected some text, got nothing");
        assert_eq!(read_bytes(b"\n").unwrap_err(), error);
        let error = read_bytes(b"ab\xffc").unwrap_err();
        assert_eq!(error, "prompt from p.txt: expected UTF-8 text, got byte 0xff at offset 2");
    }

    #[test]
    fn endless_prompts_end() {
        let failure = from(io::repeat(b'x'), Path::new("zeros")).unwrap_err();
        assert!(matches!(failure, Failure::Library(Error::Limit { .. })), "{failure:?}");
    }
}
