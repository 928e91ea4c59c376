//! Keys of a file under its architecture's prefix.

use crate::error::{Error, Result};
use crate::formats::gguf::{Metadata, Value};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Debug;

/// Metadata under the architecture's prefix.
pub(super) struct Keys<'a> {
    pub(super) meta: Metadata<'a>,
    pub(super) architecture: &'a str,
    /// Whether blocks of arrays may have 0 of something.
    pub(super) zeros_allowed: bool,
    /// Keys whose defaults were logged.
    logged: RefCell<BTreeSet<String>>,
}

impl<'a> Keys<'a> {
    pub(super) fn new(meta: Metadata<'a>, architecture: &'a str, zeros_allowed: bool) -> Self {
        Keys { meta, architecture, zeros_allowed, logged: RefCell::default() }
    }

    /// What holds where a file says nothing; whoever reads the log finds it there, once.
    pub(super) fn default<T: Debug>(&self, name: &str, value: T) -> T {
        let key = self.key(name);
        if self.logged.borrow_mut().insert(key.clone()) {
            log::info!("{key} is not given: {value:?}");
        }
        value
    }

    pub(super) fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    pub(super) fn wrong(&self, name: &str, what: impl std::fmt::Display) -> Error {
        self.meta.error(&self.key(name), what)
    }

    pub(super) fn size(&self, name: &str, most: u64) -> Result<usize> {
        match self.number(name)? {
            Some(value) => self.in_range(name, value, most),
            None => Err(self.wrong(name, "missing")),
        }
    }

    pub(super) fn size_or(&self, name: &str, most: u64, default: usize) -> Result<usize> {
        match self.number(name)? {
            Some(value) => self.in_range(name, value, most),
            None => Ok(self.default(name, default)),
        }
    }

    /// A size that a file may lack.
    pub(super) fn size_if_there(&self, name: &str, most: u64) -> Result<Option<usize>> {
        match self.number(name)? {
            Some(value) => self.in_range(name, value, most).map(Some),
            None => Ok(None),
        }
    }

    /// A number for each block: one for all, which is not 0, or an array, which may go
    /// on behind the last block that is used.
    pub(super) fn of_blocks(
        &self,
        name: &str,
        most: u64,
        blocks: usize,
        default: Option<&[usize]>,
    ) -> Result<Vec<usize>> {
        let key = self.key(name);
        if matches!(self.meta.get(&key), Some(Value::Array(_))) {
            let numbers = self.meta.i64s_of(&key)?.take(blocks);
            let known = |number: i64| usize::try_from(number).ok().filter(|&n| n as u64 <= most);
            let numbers: Option<Vec<usize>> = numbers.map(known).collect();
            return numbers.filter(|numbers| numbers.len() == blocks).ok_or_else(|| {
                self.wrong(name, format!("not {blocks} numbers between 0 and {most}"))
            });
        }
        if let (None, Some(default)) = (self.meta.get(&key), default) {
            return Ok(self.default(name, default).to_vec());
        }
        Ok(vec![self.size(name, most)?; blocks])
    }

    /// The largest of the numbers that blocks have, which may differ.
    pub(super) fn largest_or(&self, name: &str, most: u64, default: usize) -> Result<usize> {
        let key = self.key(name);
        if !matches!(self.meta.get(&key), Some(Value::Array(_))) {
            return self.size_or(name, most, default);
        }
        let largest = self.meta.i64s_of(&key)?.max().unwrap_or(0);
        self.in_range(name, u64::try_from(largest).unwrap_or(0), most)
    }

    /// A whole number, or an array that gives all blocks that have some the same.
    fn number(&self, name: &str) -> Result<Option<u64>> {
        let key = self.key(name);
        if !matches!(self.meta.get(&key), Some(Value::Array(_))) {
            return self.meta.opt_u64(&key);
        }
        let zeros = self.zeros_allowed;
        let mut numbers = self.meta.i64s_of(&key)?.filter(|&number| !zeros || number != 0);
        let first = numbers.next();
        if numbers.any(|number| Some(number) != first) {
            return Err(Error::unsupported(&key, "blocks of different sizes"));
        }
        let number = first.and_then(|number| u64::try_from(number).ok());
        number.map(Some).ok_or_else(|| self.wrong(name, "no number from 0"))
    }

    pub(super) fn in_range(&self, name: &str, value: u64, most: u64) -> Result<usize> {
        if (1..=most).contains(&value) {
            return Ok(value as usize);
        }
        Err(self.wrong(name, format!("{value} is not between 1 and {most}")))
    }

    pub(super) fn number_or(&self, name: &str, default: f64) -> Result<f64> {
        let given = self.meta.opt_f32(&self.key(name))?;
        Ok(given.map_or_else(|| self.default(name, default), f64::from))
    }

    pub(super) fn positive(&self, name: &str) -> Result<f32> {
        let value = self.meta.f32_of(&self.key(name))?;
        self.above_zero(name, f64::from(value)).map(|_| value)
    }

    pub(super) fn positive_or(&self, name: &str, default: f64) -> Result<f64> {
        self.above_zero(name, self.number_or(name, default)?)
    }

    /// A factor; a file says 0 or 1 for none.
    pub(super) fn scale(&self, name: &str) -> Result<Option<f32>> {
        match self.meta.opt_f32(&self.key(name))? {
            None => Ok(None),
            Some(scale) if scale == 0.0 || scale == 1.0 => Ok(None),
            Some(scale) => self.above_zero(name, scale.into()).map(|_| Some(scale)),
        }
    }

    /// A factor, which has a default.
    pub(super) fn scale_or(&self, name: &str, default: Option<f32>) -> Result<Option<f32>> {
        if let (None, Some(default)) = (self.meta.get(&self.key(name)), default) {
            return Ok(Some(self.default(name, default)));
        }
        self.scale(name)
    }

    /// A positive number; a file says 0 for none.
    pub(super) fn scale_of(&self, name: &str) -> Result<Option<f32>> {
        match self.meta.opt_f32(&self.key(name))? {
            None | Some(0.0) => Ok(None),
            Some(scale) => self.above_zero(name, scale.into()).map(|_| Some(scale)),
        }
    }

    /// A bound of scores or logits; a file says 0 for none.
    pub(super) fn softcap(&self, name: &str, default: Option<f64>) -> Result<Option<f32>> {
        let given = self.meta.opt_f32(&self.key(name))?.map(f64::from);
        match given.or_else(|| default.map(|default| self.default(name, default))) {
            None | Some(0.0) => Ok(None),
            Some(cap) => self.above_zero(name, cap).map(|cap| Some(cap as f32)),
        }
    }

    pub(super) fn above_zero(&self, name: &str, value: f64) -> Result<f64> {
        if value.is_finite() && value > 0.0 {
            return Ok(value);
        }
        Err(self.wrong(name, format!("{value} is not a positive number")))
    }
}
