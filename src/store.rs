//! What outlives a process: small values by key.
//!
//! The core only knows the trait, so a browser can bring a place of its own. On
//! native the default is a folder in the user's cache directory.

#[cfg(not(target_arch = "wasm32"))]
mod folder;

#[cfg(not(target_arch = "wasm32"))]
pub use folder::{Folder, user_cache};

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};

/// Where small values are kept under names made of letters, digits, `-` and `_`.
///
/// Nothing that is kept is needed: a store that cannot be read or written loads
/// nothing and drops what it is given, with a line in the log.
pub trait Store: Debug + Send + Sync {
    /// The value of a key, if there is one and it is whole.
    fn load(&self, key: &str) -> Option<Vec<u8>>;

    /// Replaces the value of a key by what `change` makes of it; `None` removes it.
    /// No other process changes it in between.
    fn update(&self, key: &str, change: &mut dyn FnMut(Option<Vec<u8>>) -> Option<Vec<u8>>);

    /// Notes that something which may end this process has begun. Dropping the
    /// result notes that it has not.
    fn begin(&self, key: &str) -> Box<dyn Trial>;

    /// The keys of [`Store::begin`] that begin with `prefix` and whose process ended
    /// before they did. They are forgotten.
    fn broken_off(&self, prefix: &str) -> Vec<String>;

    /// The keys of values, as far as they begin with `prefix`, sorted.
    fn keys(&self, prefix: &str) -> Vec<String>;

    /// Removes the values whose keys begin with `prefix`: how many.
    fn clear(&self, prefix: &str) -> usize;
}

/// Something that is being tried; see [`Store::begin`].
pub trait Trial: Debug + Send {}

/// Which store a device uses.
#[derive(Debug, Clone, Default)]
pub enum StoreChoice {
    /// The user's cache directory; nothing where there is none, as in a browser.
    #[default]
    User,
    /// Nothing is kept.
    Nowhere,
    /// One that an application brings.
    Own(Arc<dyn Store>),
}

impl StoreChoice {
    /// The store, if there is one.
    pub fn open(&self) -> Option<Arc<dyn Store>> {
        match self {
            StoreChoice::Nowhere => None,
            StoreChoice::Own(store) => Some(store.clone()),
            #[cfg(target_arch = "wasm32")]
            StoreChoice::User => None,
            #[cfg(not(target_arch = "wasm32"))]
            StoreChoice::User => {
                let folder = user_cache()?.join("devices");
                Some(Arc::new(Folder::new(folder)))
            }
        }
    }
}

/// A store that lasts as long as the process.
#[derive(Debug, Default)]
pub struct InMemory(Mutex<HashMap<String, Vec<u8>>>);

#[derive(Debug)]
struct Untold;

impl Trial for Untold {}

impl Store for InMemory {
    fn load(&self, key: &str) -> Option<Vec<u8>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned()
    }

    fn update(&self, key: &str, change: &mut dyn FnMut(Option<Vec<u8>>) -> Option<Vec<u8>>) {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let old = values.remove(key);
        if let Some(new) = change(old) {
            values.insert(key.into(), new);
        }
    }

    fn begin(&self, _key: &str) -> Box<dyn Trial> {
        Box::new(Untold)
    }

    fn broken_off(&self, _prefix: &str) -> Vec<String> {
        Vec::new()
    }

    fn keys(&self, prefix: &str) -> Vec<String> {
        let values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut keys: Vec<String> =
            values.keys().filter(|key| key.starts_with(prefix)).cloned().collect();
        keys.sort();
        keys
    }

    fn clear(&self, prefix: &str) -> usize {
        let mut values = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = values.len();
        values.retain(|key, _| !key.starts_with(prefix));
        before - values.len()
    }
}

/// A hash that stays the same from build to build and machine to machine, as 32
/// letters and digits: what keys and names of shaders are made of.
pub fn fingerprint(parts: &[&[u8]]) -> String {
    use siphasher::sip128::{Hasher128, SipHasher13};
    use std::hash::Hasher;
    let mut hasher = SipHasher13::new();
    for part in parts {
        // Where one part ends is part of what is hashed.
        hasher.write(&(part.len() as u64).to_le_bytes());
        hasher.write(part);
    }
    let hash = hasher.finish128();
    format!("{:016x}{:016x}", hash.h1, hash.h2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_do_not_change_and_tell_parts_apart() {
        assert_eq!(fingerprint(&[b"ab", b"c"]), fingerprint(&[b"ab", b"c"]));
        assert_ne!(fingerprint(&[b"ab", b"c"]), fingerprint(&[b"a", b"bc"]));
        assert_eq!(fingerprint(&[]).len(), 32);
    }

    #[test]
    fn values_in_memory_are_replaced_and_removed() {
        let store = InMemory::default();
        store.update("a-1", &mut |old| {
            assert!(old.is_none());
            Some(vec![1])
        });
        store.update("a-2", &mut |_| Some(vec![2]));
        store.update("a-1", &mut |old| {
            old.map(|mut old| {
                old.push(3);
                old
            })
        });
        assert_eq!(store.load("a-1"), Some(vec![1, 3]));
        store.update("a-1", &mut |_| None);
        assert_eq!((store.load("a-1"), store.clear("a-")), (None, 1));
    }
}
