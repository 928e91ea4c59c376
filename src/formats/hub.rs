//! Models by their names on the Hugging Face hub (feature `hub`): fetched once, into
//! the cache that `huggingface_hub` has as well. A download that broke off goes on
//! where it was.

mod attempt;

use super::gguf::shard_names;
use crate::error::{Error, Result};
use attempt::{Attempt, attempt};
use hf_hub::api::sync::{Api, ApiBuilder};
use hf_hub::{Cache, Repo, RepoType};
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

/// What such names begin with.
const PREFIX: &str = "hf:";

/// A file of a repository: `hf:OWNER/REPOSITORY/FILE`, or
/// `hf:OWNER/REPOSITORY@REVISION/FILE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubFile {
    repository: String,
    revision: String,
    file: String,
}

/// Where the hub is, and where files are kept.
#[derive(Debug, Clone)]
pub struct HubOptions {
    /// The hub's address; else `HF_ENDPOINT`, else `https://huggingface.co`.
    pub endpoint: Option<String>,
    /// The folder of the cache; else `hub` in `HF_HOME`, else
    /// `~/.cache/huggingface/hub`.
    pub cache: Option<PathBuf>,
    /// For repositories that are not open to all; else `HF_TOKEN`, else what
    /// `hf auth login` left.
    pub token: Option<String>,
    /// How often in a row a download may break off without having brought anything.
    pub attempts: usize,
    /// How long to wait before a download that broke off goes on; each time in a row
    /// twice as long.
    pub pause: Duration,
    /// How long the hub may say nothing before it is given up.
    pub silence: Duration,
}

impl Default for HubOptions {
    fn default() -> Self {
        HubOptions {
            endpoint: None,
            cache: None,
            token: None,
            attempts: 4,
            pause: Duration::from_millis(500),
            silence: Duration::from_secs(60),
        }
    }
}

/// Told of a download: the file, the bytes that are there, and all of them.
pub type Fetched<'a> = &'a mut dyn FnMut(&str, u64, u64);

impl HubFile {
    /// What a name means; `None` if it does not begin with `hf:`.
    ///
    /// # Errors
    /// [`Error::Input`] for a name that is not in that form.
    pub fn parse(name: &str) -> Result<Option<Self>> {
        let Some(rest) = name.strip_prefix(PREFIX) else { return Ok(None) };
        let wrong = || {
            let form = "hf:OWNER/REPOSITORY/FILE or hf:OWNER/REPOSITORY@REVISION/FILE";
            Error::input("model", form, name)
        };
        let mut parts = rest.splitn(3, '/');
        let (Some(owner), Some(repository), Some(file)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err(wrong());
        };
        let (repository, revision) = repository.split_once('@').unwrap_or((repository, "main"));
        // They become parts of paths.
        let plain = |text: &str| {
            let all = Path::new(text).components();
            let named = all.clone().count() > 0 && !text.contains('\\');
            named && all.into_iter().all(|part| matches!(part, Component::Normal(_)))
        };
        if ![owner, repository, revision, file].into_iter().all(plain) {
            return Err(wrong());
        }
        Ok(Some(HubFile {
            repository: format!("{owner}/{repository}"),
            revision: revision.into(),
            file: file.into(),
        }))
    }

    /// The file in the cache, fetched if it is not there; all files of a model in
    /// several. Waits for them; what breaks off is asked for again.
    ///
    /// # Errors
    /// [`Error::Io`] if the hub cannot be reached, has no such file or gives it only
    /// to others, says nothing for too long, or the cache cannot be written.
    pub fn fetch(&self, options: &HubOptions, told: Fetched<'_>) -> Result<PathBuf> {
        let cache = cache(options)?;
        let mut builder = match &options.endpoint {
            Some(endpoint) => ApiBuilder::from_cache(cache.clone()).with_endpoint(endpoint.clone()),
            None => match std::env::var("HF_ENDPOINT") {
                Ok(endpoint) => ApiBuilder::from_cache(cache.clone()).with_endpoint(endpoint),
                Err(_) => ApiBuilder::from_cache(cache.clone()),
            },
        };
        let given = options.token.clone().or_else(|| std::env::var("HF_TOKEN").ok());
        if let Some(token) = given.filter(|token| !token.is_empty()) {
            builder = builder.with_token(Some(token));
        }
        let api = builder
            .with_progress(false)
            .with_user_agent("wginfer", env!("CARGO_PKG_VERSION"))
            .build()
            .map_err(|error| self.failed(&self.file, error))?;
        let revision = self.revision.clone();
        let repo = Repo::with_revision(self.repository.clone(), RepoType::Model, revision);
        let there = cache.repo(repo.clone());
        let names = shard_names(&self.file).unwrap_or_else(|| vec![self.file.clone()]);
        let mut found = None;
        for name in names {
            let path = match there.get(&name) {
                Some(path) => path,
                None => self.download((&api, &repo), &name, options, told)?,
            };
            if name == self.file {
                found = Some(path);
            }
        }
        found.ok_or_else(|| Error::internal("a file that is none of its parts"))
    }

    fn download(
        &self,
        (api, repo): (&Api, &Repo),
        name: &str,
        options: &HubOptions,
        told: Fetched<'_>,
    ) -> Result<PathBuf> {
        let mut in_vain = 0u32;
        loop {
            let (brought, end) = attempt(api, repo, name, options.silence, told);
            in_vain = if brought { 1 } else { in_vain + 1 };
            match end {
                Attempt::Done(path) => return Ok(path),
                Attempt::BrokeOff(error) if (in_vain as usize) < options.attempts => {
                    log::warn!("{name} broke off and goes on: {error}");
                    std::thread::sleep(options.pause * (1 << (in_vain - 1).min(6)));
                }
                Attempt::BrokeOff(error) | Attempt::Failed(error) => {
                    return Err(self.failed(name, error));
                }
            }
        }
    }

    fn failed(&self, name: &str, error: impl std::fmt::Display) -> Error {
        let path = format!("{PREFIX}{}@{}/{name}", self.repository, self.revision);
        Error::Io { path: path.into(), source: std::io::Error::other(error.to_string()) }
    }
}

fn cache(options: &HubOptions) -> Result<Cache> {
    if let Some(folder) = &options.cache {
        return Ok(Cache::new(folder.clone()));
    }
    if std::env::var_os("HF_HOME").is_none() && std::env::home_dir().is_none() {
        let source = std::io::Error::other("no home folder; HF_HOME can name one");
        return Err(Error::Io { path: "the cache of models".into(), source });
    }
    Ok(Cache::from_env())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_apart() {
        let parse = |name| HubFile::parse(name);
        let file = parse("hf:a/b/sub/c.gguf").unwrap().unwrap();
        assert_eq!(
            (&*file.repository, &*file.revision, &*file.file),
            ("a/b", "main", "sub/c.gguf")
        );
        let file = parse("hf:a/b@v1/c.gguf").unwrap().unwrap();
        assert_eq!((&*file.repository, &*file.revision), ("a/b", "v1"));
        assert_eq!(parse("models/a.gguf").unwrap(), None);
        for name in
            ["hf:", "hf:a/b", "hf:a/b/", "hf:a//c", "hf:../b/c", "hf:a/b/../../c", "hf:a/b@/c"]
        {
            assert!(parse(name).is_err(), "{name}");
        }
    }
}
