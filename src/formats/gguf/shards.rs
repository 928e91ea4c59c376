//! Models in several files: `NAME-00001-of-0000N.gguf`, as llama.cpp's
//! `gguf-split` writes them. The first has the metadata, each has some tensors.

use super::GgufFile;
use crate::error::{Error, Result};
use std::path::{Path, PathBuf};

const NUMBER: &str = "split.no";
const COUNT: &str = "split.count";
const TENSORS: &str = "split.tensors.count";

/// The most files of a model; the largest in use have some forty.
const MOST: u64 = 9999;

/// The files of a model of which one was opened.
pub(super) fn complete(path: &Path, file: GgufFile) -> Result<GgufFile> {
    let Some(count) = count(&file)? else { return Ok(file) };
    let number = number(&file, count)?;
    let mut all: Vec<Option<GgufFile>> = (0..count).map(|_| None).collect();
    let Some(stem) = stem(path, number, count) else {
        let what = format!(
            "part {} of {count}, so its name must end with '{}'",
            number + 1,
            ending(number, count)
        );
        return Err(file.metadata().error(COUNT, what));
    };
    let tensors = file.metadata().opt_u64(TENSORS)?;
    all[number as usize] = Some(file);
    for (other, place) in all.iter_mut().enumerate() {
        if place.is_none() {
            *place = Some(part(&stem, other as u64, count)?);
        }
    }
    join(all.into_iter().flatten().collect(), tensors)
}

/// The paths of all files of a model, of which one is named so; `None` for a name
/// that is none of several.
pub fn shard_names(name: &str) -> Option<Vec<String>> {
    let stem = name.strip_suffix(".gguf")?;
    let (rest, count) = stem.rsplit_once("-of-")?;
    let (stem, number) = rest.rsplit_once('-')?;
    let parsed = |digits: &str| {
        let plain = digits.len() == 5 && digits.bytes().all(|byte| byte.is_ascii_digit());
        plain.then(|| digits.parse::<u64>().ok()).flatten()
    };
    let (number, count) = (parsed(number)?, parsed(count)?);
    let whole = (1..=MOST).contains(&count) && (1..=count).contains(&number);
    whole.then(|| (0..count).map(|number| format!("{stem}{}", ending(number, count))).collect())
}

fn ending(number: u64, count: u64) -> String {
    format!("-{:05}-of-{count:05}.gguf", number + 1)
}

/// The number of files that one belongs to, if there are others.
fn count(file: &GgufFile) -> Result<Option<u64>> {
    match file.metadata().opt_u64(COUNT)? {
        None | Some(0 | 1) => Ok(None),
        Some(count @ 2..=MOST) => Ok(Some(count)),
        Some(count) => Err(file.metadata().error(COUNT, format!("{count}, at most {MOST}"))),
    }
}

fn number(file: &GgufFile, count: u64) -> Result<u64> {
    let meta = file.metadata();
    match meta.opt_u64(NUMBER)? {
        Some(number) if number < count => Ok(number),
        Some(number) => Err(meta.error(NUMBER, format!("{number} of {count} from 0"))),
        None => Err(meta.error(NUMBER, "missing")),
    }
}

/// What the paths of all parts begin with.
fn stem(path: &Path, number: u64, count: u64) -> Option<PathBuf> {
    let name = path.file_name()?.to_str()?;
    let stem = name.strip_suffix(&ending(number, count))?;
    Some(path.with_file_name(stem))
}

fn part(stem: &Path, number: u64, count: u64) -> Result<GgufFile> {
    let mut path = stem.as_os_str().to_owned();
    path.push(ending(number, count));
    let file = super::open_one(Path::new(&path))?;
    let meta = file.metadata();
    let told = (meta.opt_u64(NUMBER)?, meta.opt_u64(COUNT)?);
    if told != (Some(number), Some(count)) {
        let shown = |value: Option<u64>| value.map_or("nothing".into(), |value| value.to_string());
        let what =
            format!("{} of {}, by its name {number} of {count}", shown(told.0), shown(told.1));
        return Err(meta.error(NUMBER, what));
    }
    Ok(file)
}

/// One file of all parts; `tensors` is how many there must be.
fn join(parts: Vec<GgufFile>, tensors: Option<u64>) -> Result<GgufFile> {
    let found: u64 = parts.iter().map(|part| part.tensors().len() as u64).sum();
    let mut parts = parts.into_iter();
    let mut first = parts.next().ok_or_else(|| Error::internal("a model of no files"))?;
    if let Some(tensors) = tensors.filter(|&tensors| tensors != found) {
        let what = format!("{tensors}, but all parts together have {found}");
        return Err(first.metadata().error(TENSORS, what));
    }
    for part in parts {
        if let Some(twice) = part.tensors().find(|own| first.tensor_info(own.name()).is_some()) {
            let at = format!("tensor '{}'", twice.name().escape_debug());
            return Err(Error::format(part.name(), at, "in another part as well"));
        }
        first.push_part(part);
    }
    Ok(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_parts() {
        let names = shard_names("sub/m-00002-of-00003.gguf").unwrap();
        assert_eq!(names[0], "sub/m-00001-of-00003.gguf");
        assert_eq!((names.len(), &*names[2]), (3, "sub/m-00003-of-00003.gguf"));
        for name in ["m.gguf", "m-00004-of-00003.gguf", "m-1-of-3.gguf", "m-00000-of-00003.gguf"] {
            assert_eq!(shard_names(name), None, "{name}");
        }
    }
}
