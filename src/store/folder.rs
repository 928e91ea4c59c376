//! A store in a folder: one file for each key.

use super::{Store, Trial, fingerprint};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Stands before every value. A change of what files look like changes it, and
/// files with another one count as absent.
const HEADER: &str = "wginfer-store 1";

/// Where names of trials are, inside the folder.
const TRIALS: &str = "trials";

/// The user's cache directory of this crate, as `cache_dir` in `scripts/lib.sh` has
/// it: `WGINFER_CACHE`, else a folder in `XDG_CACHE_HOME`, `HOME` or, on Windows,
/// `LOCALAPPDATA`. Variables that are empty count as not set. `None` if none is set.
pub fn user_cache() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    variable("WGINFER_CACHE")
        .or_else(|| variable("XDG_CACHE_HOME").map(|dir| dir.join("wginfer")))
        .or_else(|| variable("HOME").map(|dir| dir.join(".cache/wginfer")))
        .or_else(|| variable("LOCALAPPDATA").map(|dir| dir.join("wginfer")))
}

/// A folder with a file for each key. Files are written beside their place and
/// renamed into it, so no reader sees half of one; changes wait for each other
/// under a lock that the system frees when a process ends.
#[derive(Debug, Clone)]
pub struct Folder {
    dir: PathBuf,
}

impl Folder {
    /// The store in this folder, which is made at the first write.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Folder { dir: dir.into() }
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    fn file(&self, key: &str) -> PathBuf {
        self.dir.join(safe(key))
    }

    fn lock(&self) -> io::Result<File> {
        fs::create_dir_all(&self.dir)?;
        let options = OpenOptions::new().create(true).truncate(false).write(true).clone();
        let file = options.open(self.dir.join(".lock"))?;
        file.lock()?;
        Ok(file)
    }

    fn write(&self, key: &str, value: &[u8]) -> io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(&self.dir)?;
        writeln!(file, "{HEADER} {}", fingerprint(&[value]))?;
        file.write_all(value)?;
        file.persist(self.file(key)).map_err(|error| error.error)?;
        Ok(())
    }

    fn change(
        &self,
        key: &str,
        change: &mut dyn FnMut(Option<Vec<u8>>) -> Option<Vec<u8>>,
    ) -> io::Result<()> {
        let _lock = self.lock()?;
        match change(self.load(key)) {
            Some(value) => self.write(key, &value),
            None => remove(&self.file(key)),
        }
    }

    fn begun(&self, key: &str) -> io::Result<Begun> {
        let dir = self.dir.join(TRIALS);
        fs::create_dir_all(&dir)?;
        // Nobody looks for what broke off until the new file is locked.
        let _lock = self.lock()?;
        let path = dir.join(safe(key));
        let options = OpenOptions::new().create(true).truncate(false).write(true).clone();
        let file = options.open(&path)?;
        // Another process may be trying the same; then its lock tells of both.
        let held = file.try_lock().is_ok();
        Ok(Begun { path, held: held.then_some(file) })
    }
}

/// Letters and digits stay, the rest would mean something to file systems.
fn safe(key: &str) -> String {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    key.chars().map(|c| if good(c) { c } else { '_' }).collect()
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// The value in a file's bytes, if the file is whole.
fn value(bytes: &[u8]) -> Option<&[u8]> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    let (header, value) = (std::str::from_utf8(&bytes[..end]).ok()?, &bytes[end + 1..]);
    let hash = header.strip_prefix(HEADER)?.trim();
    (hash == fingerprint(&[value])).then_some(value)
}

/// A trial whose file is locked while it lasts.
#[derive(Debug)]
struct Begun {
    path: PathBuf,
    held: Option<File>,
}

impl Trial for Begun {}

impl Drop for Begun {
    fn drop(&mut self) {
        // Removed while it is locked: unlocked it would look like one that broke off.
        if self.held.is_some() {
            let _ = remove(&self.path);
        }
    }
}

#[derive(Debug)]
struct Unnoted;

impl Trial for Unnoted {}

impl Store for Folder {
    fn load(&self, key: &str) -> Option<Vec<u8>> {
        let path = self.file(key);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
            Err(error) => {
                log::warn!("{}: {error}", path.display());
                return None;
            }
        };
        let whole = value(&bytes).map(<[u8]>::to_vec);
        if whole.is_none() {
            log::warn!("{} is damaged or of another version, and not used", path.display());
        }
        whole
    }

    fn update(&self, key: &str, change: &mut dyn FnMut(Option<Vec<u8>>) -> Option<Vec<u8>>) {
        if let Err(error) = self.change(key, change) {
            log::warn!("{} is not kept: {error}", self.file(key).display());
        }
    }

    fn begin(&self, key: &str) -> Box<dyn Trial> {
        match self.begun(key) {
            Ok(begun) => Box::new(begun),
            Err(error) => {
                log::debug!("a trial is not noted in {}: {error}", self.dir.display());
                Box::new(Unnoted)
            }
        }
    }

    fn broken_off(&self, prefix: &str) -> Vec<String> {
        let mut keys = Vec::new();
        let Ok(entries) = fs::read_dir(self.dir.join(TRIALS)) else { return keys };
        let Ok(_lock) = self.lock() else { return keys };
        for entry in entries.flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if !name.starts_with(&safe(prefix)) {
                continue;
            }
            // A process that lives holds the lock.
            let free = File::open(&path).is_ok_and(|file| file.try_lock().is_ok());
            if free && remove(&path).is_ok() {
                keys.push(name);
            }
        }
        keys
    }

    fn keys(&self, prefix: &str) -> Vec<String> {
        let entries = fs::read_dir(&self.dir).into_iter().flatten().flatten();
        let files = entries.filter(|entry| entry.path().is_file());
        let names = files.map(|file| file.file_name().to_string_lossy().into_owned());
        let known = |name: &String| name.starts_with(&safe(prefix)) && !name.starts_with('.');
        let mut keys: Vec<String> = names.filter(known).collect();
        keys.sort();
        keys
    }

    fn clear(&self, prefix: &str) -> usize {
        let Ok(_lock) = self.lock() else { return 0 };
        let keys = self.keys(prefix);
        keys.iter().filter(|key| remove(&self.file(key)).is_ok()).count()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests may panic")]
mod tests {
    use super::*;

    fn folder() -> (tempfile::TempDir, Folder) {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path().join("below/it"));
        (dir, folder)
    }

    #[test]
    fn values_come_back_and_damaged_ones_do_not() {
        let (_dir, store) = folder();
        assert_eq!(store.load("ledger-a"), None);
        store.update("ledger-a", &mut |_| Some(b"one\ntwo".to_vec()));
        assert_eq!(store.load("ledger-a"), Some(b"one\ntwo".to_vec()));
        let path = store.file("ledger-a");
        let whole = fs::read(&path).unwrap();
        for cut in [0, 5, whole.len() - 1] {
            fs::write(&path, &whole[..cut]).unwrap();
            assert_eq!(store.load("ledger-a"), None, "cut at {cut}");
        }
        let mut flipped = whole.clone();
        *flipped.last_mut().unwrap() ^= 1;
        fs::write(&path, &flipped).unwrap();
        assert_eq!(store.load("ledger-a"), None);
        // And it is replaced.
        store.update("ledger-a", &mut |old| Some(old.unwrap_or_else(|| b"new".to_vec())));
        assert_eq!(store.load("ledger-a"), Some(b"new".to_vec()));
        assert_eq!((store.clear("pipelines"), store.clear("ledger")), (0, 1));
    }

    #[test]
    fn changes_at_once_are_all_kept() {
        let (_dir, store) = folder();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..25 {
                        store.update("count", &mut |old| {
                            let mut old = old.unwrap_or_default();
                            old.push(1);
                            Some(old)
                        });
                    }
                });
            }
        });
        assert_eq!(store.load("count").map(|value| value.len()), Some(100));
    }

    #[test]
    fn what_was_broken_off_is_told_once() {
        let (_dir, store) = folder();
        let trial = store.begin("gpu-1-abc");
        // It is going on.
        assert!(store.broken_off("gpu-1-").is_empty());
        drop(trial);
        assert!(store.broken_off("gpu-1-").is_empty());
        // As a process that was killed leaves it.
        fs::write(store.dir.join(TRIALS).join("gpu-1-abc"), "").unwrap();
        assert!(store.broken_off("gpu-2-").is_empty());
        assert_eq!(store.broken_off("gpu-1-"), ["gpu-1-abc"]);
        assert!(store.broken_off("gpu-1-").is_empty());
    }
}
