//! One attempt to fetch a file, watched for silence.

use super::Fetched;
use hf_hub::Repo;
use hf_hub::api::Progress;
use hf_hub::api::sync::{Api, ApiError};
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::time::Duration;

/// How an attempt ended.
pub(super) enum Attempt {
    Done(PathBuf),
    /// Asked again, it may go on.
    BrokeOff(String),
    Failed(String),
}

/// What the thread that fetches says.
enum News {
    /// The file, what is there, all of it, in bytes, and whether some of it is new.
    Progress(String, u64, u64, bool),
    End(Result<PathBuf, ApiError>),
}

/// Fetches a file, and gives whether something new came of it as well.
///
/// `hf-hub` knows no limits of time. So it has a thread, which is left alone where it
/// hears nothing for as long as `silence`: it holds the lock of its file until its
/// connection ends, which is why that is not tried again.
pub(super) fn attempt(
    api: &Api,
    repo: &Repo,
    name: &str,
    silence: Duration,
    told: Fetched<'_>,
) -> (bool, Attempt) {
    let (sender, news) = mpsc::channel();
    let (repo, file) = (api.repo(repo.clone()), name.to_string());
    let work = move || {
        let name = String::new();
        let bar = Bar { sender: sender.clone(), name, done: 0, all: 0, updates: 0 };
        let end = repo.download_with_progress(&file, bar);
        // Nobody listens any more where the wait was too long.
        let _ = sender.send(News::End(end));
    };
    if let Err(error) = std::thread::Builder::new().name("wginfer fetch".into()).spawn(work) {
        return (false, Attempt::Failed(format!("no thread: {error}")));
    }
    let mut brought = false;
    let end = loop {
        match news.recv_timeout(silence) {
            Ok(News::Progress(name, done, all, new)) => {
                brought |= new;
                told(&name, done, all);
            }
            Ok(News::End(Ok(path))) => break Attempt::Done(path),
            Ok(News::End(Err(error))) if may_go_on(&error) => {
                break Attempt::BrokeOff(error.to_string());
            }
            Ok(News::End(Err(error))) => break Attempt::Failed(error.to_string()),
            Err(RecvTimeoutError::Timeout) => {
                let seconds = silence.as_secs_f32();
                break Attempt::Failed(format!("nothing came for {seconds} seconds"));
            }
            Err(RecvTimeoutError::Disconnected) => {
                break Attempt::Failed("the thread that fetches it panicked".into());
            }
        }
    };
    (brought, end)
}

/// Whether an error may pass: not one that the hub or the disk would give again.
fn may_go_on(error: &ApiError) -> bool {
    let passes = |kind: ErrorKind| {
        !matches!(
            kind,
            ErrorKind::PermissionDenied
                | ErrorKind::NotFound
                | ErrorKind::ReadOnlyFilesystem
                | ErrorKind::StorageFull
                | ErrorKind::QuotaExceeded
        )
    };
    match error {
        ApiError::IoError(error) => passes(error.kind()),
        ApiError::RequestError(error) => match &**error {
            ureq::Error::StatusCode(status) => matches!(status, 408 | 429 | 500..=599),
            ureq::Error::Io(error) => passes(error.kind()),
            ureq::Error::Timeout(_)
            | ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::Protocol(_) => true,
            _ => false,
        },
        _ => false,
    }
}

/// Passes progress on.
struct Bar {
    sender: Sender<News>,
    name: String,
    done: u64,
    all: u64,
    /// The first one says what an earlier attempt left.
    updates: u64,
}

impl Bar {
    fn tell(&self) {
        let new = self.updates > 1;
        let _ = self.sender.send(News::Progress(self.name.clone(), self.done, self.all, new));
    }
}

impl Progress for Bar {
    fn init(&mut self, size: usize, name: &str) {
        (self.name, self.done, self.all, self.updates) = (name.into(), 0, size as u64, 0);
        self.tell();
    }

    fn update(&mut self, size: usize) {
        self.done += size as u64;
        self.updates += u64::from(size > 0 || self.updates == 0);
        self.tell();
    }

    fn finish(&mut self) {
        self.tell();
    }
}
