//! Look-ups: from strings and numbers to numbers and strings, by tables that the
//! model has.

use crate::error::Result;
use crate::onnx::{Attribute, HostCx, HostResults};
use crate::ops::{RefData, RefTensor};
use crate::tensor::{DType, Tensor};
use std::collections::HashMap;

/// What is looked up. Real numbers by their bits, all that are none alike.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Int(i64),
    Real(u64),
    Text(String),
}

/// The elements of a tensor as keys.
fn keys(tensor: &Tensor) -> Result<Vec<Key>> {
    if tensor.dtype() == DType::String {
        return Ok(tensor.to_strings()?.into_iter().map(|text| Key::Text(text.into())).collect());
    }
    let real = |value: &f64| match value {
        value if value.is_nan() => Key::Real(f64::NAN.to_bits()),
        // Zeros of either sign are equal.
        value => Key::Real((value + 0.0).to_bits()),
    };
    Ok(match RefTensor::from_tensor(tensor)?.data {
        RefData::Int(values) => values.into_iter().map(Key::Int).collect(),
        RefData::Real(values) => values.iter().map(real).collect(),
    })
}

/// A table that an attribute of any of some names gives.
fn table(cx: &HostCx<'_>, names: &[&str]) -> Result<Option<Tensor>> {
    let Some((name, value)) =
        names.iter().find_map(|name| cx.attributes().get(name).map(|value| (name, value)))
    else {
        return Ok(None);
    };
    let table = match value {
        Attribute::Tensor(tensor) => tensor.clone(),
        Attribute::Ints(values) => Tensor::from_i64(&[values.len()], values)?,
        Attribute::Floats(values) => Tensor::from_f32(&[values.len()], values)?,
        Attribute::Int(value) => Tensor::from_i64(&[1], &[*value])?,
        Attribute::Float(value) => Tensor::from_f32(&[1], &[*value])?,
        Attribute::Strings(_) => {
            let words = cx.attributes().strings(name)?.unwrap_or_default();
            Tensor::from_strings(&[words.len()], &words)?
        }
        Attribute::String(_) => Tensor::from_strings(&[1], &[cx.string(name, "")?])?,
        other => return Err(cx.broken(format!("attribute '{name}' of type {}", other.kind()))),
    };
    Ok(Some(table))
}

/// Whatever stands for an element in a table; the default for what is not there.
pub(super) fn label_encoder(cx: &HostCx<'_>) -> Result<HostResults> {
    if let Some(classes) = table(cx, &["classes_strings"])? {
        return by_place(cx, &classes, "default_string", "default_int64");
    }
    const KEYS: [&str; 4] = ["keys_tensor", "keys_int64s", "keys_strings", "keys_floats"];
    const VALUES: [&str; 4] = ["values_tensor", "values_int64s", "values_strings", "values_floats"];
    let missing = |what| cx.broken(format!("no {what}"));
    let from = table(cx, &KEYS)?.ok_or_else(|| missing("keys"))?;
    let to = table(cx, &VALUES)?.ok_or_else(|| missing("values"))?;
    let default = match to.dtype() {
        DType::String => table(cx, &["default_tensor", "default_string"])?
            .map_or_else(|| Tensor::from_strings(&[1], &["_Unused"]), Ok)?,
        DType::F32 => table(cx, &["default_tensor", "default_float"])?
            .map_or_else(|| Tensor::from_f32(&[1], &[-0.0]), Ok)?,
        DType::I64 => table(cx, &["default_tensor", "default_int64"])?
            .map_or_else(|| Tensor::from_i64(&[1], &[-1]), Ok)?,
        _ => table(cx, &["default_tensor"])?.ok_or_else(|| missing("default"))?,
    };
    looked_up(cx, &from, &to, &default)
}

/// `ai.onnx.ml.CategoryMapper`: strings to whole numbers or the other way.
pub(super) fn category_mapper(cx: &HostCx<'_>) -> Result<HostResults> {
    let missing = || cx.broken("no categories");
    let words = table(cx, &["cats_strings"])?.ok_or_else(missing)?;
    let numbers = table(cx, &["cats_int64s"])?.ok_or_else(missing)?;
    if cx.input(0)?.dtype() == DType::String {
        let default = Tensor::from_i64(&[1], &[cx.int("default_int64", -1)?])?;
        return looked_up(cx, &words, &numbers, &default);
    }
    let default = Tensor::from_strings(&[1], &[cx.string("default_string", "_Unused")?])?;
    looked_up(cx, &numbers, &words, &default)
}

/// Strings to their places in a list, or places to strings.
fn by_place(cx: &HostCx<'_>, words: &Tensor, text: &str, number: &str) -> Result<HostResults> {
    let places: Vec<i64> = (0..words.len() as i64).collect();
    let places = Tensor::from_i64(words.extents(), &places)?;
    if cx.input(0)?.dtype() == DType::String {
        let default = Tensor::from_i64(&[1], &[cx.int(number, -1)?])?;
        return looked_up(cx, words, &places, &default);
    }
    let default = Tensor::from_strings(&[1], &[cx.string(text, "_Unused")?])?;
    looked_up(cx, &places, words, &default)
}

fn looked_up(cx: &HostCx<'_>, from: &Tensor, to: &Tensor, default: &Tensor) -> Result<HostResults> {
    let x = cx.input(0)?;
    if from.len() != to.len() || default.len() != 1 || default.dtype() != to.dtype() {
        let what = format!("{} keys, {} values, {} defaults", from.len(), to.len(), default.len());
        return Err(cx.broken(what));
    }
    if x.dtype() != from.dtype() {
        return Err(cx.broken(format!("an input of {}, keys of {}", x.dtype(), from.dtype())));
    }
    let mut places: HashMap<Key, usize> = HashMap::new();
    for (place, key) in keys(from)?.into_iter().enumerate() {
        // Of keys given twice the first holds.
        places.entry(key).or_insert(place);
    }
    let found = keys(x)?.into_iter().map(|key| places.get(&key).copied().unwrap_or(to.len()));
    let found: Vec<usize> = found.collect();
    if to.dtype() == DType::String {
        let words = [to.to_strings()?, default.to_strings()?].concat();
        let words: Vec<&str> = found.iter().map(|&at| words[at]).collect();
        return Ok(vec![Some(Tensor::from_strings(x.extents(), &words)?)]);
    }
    let all = [&to.bytes()[..], &default.bytes()[..]].concat();
    let size = to.dtype().block_bytes();
    let bytes: Vec<u8> =
        found.iter().flat_map(|at| all[at * size..(at + 1) * size].iter().copied()).collect();
    Ok(vec![Some(Tensor::new(to.dtype(), x.extents(), bytes)?)])
}

/// `ai.onnx.ml.OneHotEncoder`: 1 at the category's place along a new last axis.
pub(super) fn one_hot(cx: &HostCx<'_>) -> Result<HostResults> {
    let x = cx.input(0)?;
    let categories = table(cx, &["cats_strings", "cats_int64s"])?;
    let categories = categories.ok_or_else(|| cx.broken("no categories"))?;
    let given = match x.dtype() {
        DType::String | DType::I64 => keys(x)?,
        // Whole numbers, whatever type they have.
        _ => match RefTensor::from_tensor(x)?.data {
            RefData::Int(values) => values.into_iter().map(Key::Int).collect(),
            RefData::Real(values) => values.into_iter().map(|v| Key::Int(v as i64)).collect(),
        },
    };
    let places: HashMap<Key, usize> =
        keys(&categories)?.into_iter().enumerate().map(|(at, key)| (key, at)).collect();
    let width = categories.len();
    let mut values = vec![0f32; given.len() * width];
    for (row, key) in given.iter().enumerate() {
        match places.get(key) {
            Some(&at) => values[row * width + at] = 1.0,
            None if cx.int("zeros", 1)? != 0 => {}
            None => return Err(cx.broken(format!("{key:?} is none of the categories"))),
        }
    }
    let extents = [x.extents(), &[width]].concat();
    Ok(vec![Some(Tensor::from_f32(&extents, &values)?)])
}

/// How often the n-grams of a list occur in each row.
pub(super) fn tf_idf(cx: &HostCx<'_>) -> Result<HostResults> {
    let x = cx.input(0)?;
    let (rows, length) = match *x.extents() {
        [] => (1, 1),
        [length] => (1, length),
        [rows, length] => (rows, length),
        _ => return Err(cx.broken(format!("extents {:?}", x.extents()))),
    };
    let grams = Grams::new(cx)?;
    let given = keys(x)?;
    let mut counts = vec![0f32; rows * grams.width];
    for (row, counts) in counts.chunks_mut(grams.width.max(1)).enumerate().take(rows) {
        grams.count(&given[row * length..(row + 1) * length], counts);
    }
    grams.weigh(cx, &mut counts)?;
    let leading = &x.extents()[..x.extents().len().saturating_sub(1)];
    let extents = [leading, &[grams.width]].concat();
    Ok(vec![Some(Tensor::from_f32(&extents, &counts)?)])
}

/// The n-grams that are looked for.
struct Grams {
    /// The number of each in the list.
    list: HashMap<Vec<Key>, usize>,
    /// The column that each number is counted in.
    columns: Vec<usize>,
    width: usize,
    lengths: std::ops::RangeInclusive<usize>,
    most_skipped: usize,
}

impl Grams {
    fn new(cx: &HostCx<'_>) -> Result<Self> {
        let number = |name: &str| -> Result<usize> {
            let value = cx.attributes().int(name)?;
            let value = value.and_then(|value| usize::try_from(value).ok());
            value.ok_or_else(|| cx.broken(format!("attribute '{name}'")))
        };
        let whole = |name: &str| -> Result<Vec<usize>> {
            let values = cx.attributes().ints(name)?.unwrap_or_default();
            let values = values.iter().map(|&value| usize::try_from(value)).collect::<Vec<_>>();
            let values = values.into_iter().collect::<std::result::Result<_, _>>();
            values.map_err(|_| cx.broken(format!("attribute '{name}'")))
        };
        let pool = table(cx, &["pool_strings", "pool_int64s"])?;
        let pool = keys(&pool.ok_or_else(|| cx.broken("no pool"))?)?;
        let (starts, columns) = (whole("ngram_counts")?, whole("ngram_indexes")?);
        let mut list = HashMap::new();
        for (index, &start) in starts.iter().enumerate() {
            let end = starts.get(index + 1).copied().unwrap_or(pool.len());
            let part = pool.get(start..end);
            let part = part.ok_or_else(|| cx.broken("ngram_counts do not fit the pool"))?;
            for gram in part.chunks_exact(index + 1) {
                let number = list.len();
                list.entry(gram.to_vec()).or_insert(number);
            }
        }
        if columns.len() != list.len() {
            return Err(cx.broken(format!("{} n-grams, {} columns", list.len(), columns.len())));
        }
        const MOST: usize = 1 << 28;
        let width = columns.iter().max().map_or(0, |&last| last.saturating_add(1));
        if width > MOST {
            return Err(cx.broken(format!("{width} columns")));
        }
        let lengths = number("min_gram_length")?..=number("max_gram_length")?;
        let most_skipped = number("max_skip_count")?;
        Ok(Grams { list, columns, width, lengths, most_skipped })
    }

    fn count(&self, words: &[Key], counts: &mut [f32]) {
        for n in self.lengths.clone().filter(|&n| n > 0) {
            // A single word skips nothing.
            let skips = if n == 1 { 0 } else { self.most_skipped };
            for step in
                (1..=skips.saturating_add(1)).take_while(|step| step * (n - 1) < words.len())
            {
                for start in 0..words.len() - step * (n - 1) {
                    let gram: Vec<Key> =
                        (0..n).map(|at| words[start + at * step].clone()).collect();
                    if let Some(&number) = self.list.get(&gram) {
                        counts[self.columns[number]] += 1.0;
                    }
                }
            }
        }
    }

    fn weigh(&self, cx: &HostCx<'_>, counts: &mut [f32]) -> Result<()> {
        let mode = cx.string("mode", "")?;
        let weights = cx.attributes().floats("weights")?.unwrap_or_default();
        if !weights.is_empty() && weights.len() != self.columns.len() {
            return Err(cx.broken(format!("{} weights", weights.len())));
        }
        let mut by_column = vec![1f32; self.width];
        for (&column, &weight) in self.columns.iter().zip(weights) {
            by_column[column] = weight;
        }
        let weighed: fn(f32, f32) -> f32 = match mode {
            "TF" => return Ok(()),
            "IDF" => |count, weight| if count > 0.0 { weight } else { 0.0 },
            "TFIDF" => |count, weight| count * weight,
            other => return Err(cx.broken(format!("mode '{other}'"))),
        };
        for row in counts.chunks_mut(self.width.max(1)) {
            for (count, &weight) in row.iter_mut().zip(&by_column) {
                *count = weighed(*count, weight);
            }
        }
        Ok(())
    }
}
